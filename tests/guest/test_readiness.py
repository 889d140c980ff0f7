"""What a guest reads before, while and after its domain is known, and when the domain's file is broken."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from harness.guests import Guest
from tests.guest.scene import META_DATA, USER_DATA, Identity, KeepAlive, Scene, domain, eventually, scene

AT_ONCE = 1.0
"""Seconds within which a new domain file takes effect."""

WAIT = 2
"""Seconds for which the daemon of these tests waits for a domain ([web] domain_wait)."""


@pytest.fixture(scope="module")
def module_scene() -> Iterator[Scene]:
    with scene("emg-ready", {}, settings=f"[web]\ndomain_wait = {WAIT}\n") as stage:
        yield stage


@pytest.fixture
def stage(module_scene: Scene) -> Iterator[Scene]:
    yield module_scene
    for file in module_scene.daemon.domains.iterdir():
        file.unlink()
    eventually(lambda: module_scene.daemon.status()["domains"] == 0, AT_ONCE)


@pytest.fixture
def guest(stage: Scene) -> Iterator[Guest]:
    """A guest behind a new tap that no file names."""
    guest = stage.lab.guest("new", tap="vnet0", bridge="br0")
    eventually(lambda: stage.filters("vnet0") and stage.domain_is("vnet0", None), 5)
    yield guest
    stage.lab.remove(guest)
    eventually(lambda: not stage.status_of("vnet0"), 2)


def test_a_guest_gets_503_until_its_domain_is_known(stage: Scene, guest: Guest) -> None:
    with KeepAlive(guest) as connection:
        for path in ("/openstack", META_DATA):
            answer = connection.get(path)
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        # Clients that only look for a service must not be delayed.
        assert connection.get("/latest/meta-data/").status == 404
        stage.daemon.write_domain("new", domain(1, "vnet0"))
        written = time.monotonic()
        eventually(lambda: connection.get("/openstack").status == 200, AT_ONCE)
        print(f"\nanswered {time.monotonic() - written:.3f} s after the domain file was written")
        # As soon as /openstack answers, everything does.
        assert Identity.read(connection.get(META_DATA), connection.get(USER_DATA)) == Identity.of(1)


def test_a_domain_that_never_becomes_known_is_404_in_the_end(stage: Scene, guest: Guest) -> None:
    assert guest.get("/openstack").status == 503
    began = time.monotonic()
    eventually(lambda: guest.get("/openstack").status == 404, WAIT + 1)
    assert time.monotonic() - began > WAIT - 1
    # It may still become known.
    stage.daemon.write_domain("late", domain(1, "vnet0"))
    eventually(lambda: guest.get("/openstack").status == 200, AT_ONCE)


def test_a_file_that_goes_takes_the_answers_along(stage: Scene, guest: Guest) -> None:
    file = stage.daemon.write_domain("new", domain(1, "vnet0"))
    eventually(lambda: guest.get("/openstack").status == 200, AT_ONCE)
    with KeepAlive(guest) as connection:
        assert connection.get(META_DATA).status == 200
        file.unlink()
        assert connection.rest(AT_ONCE) == b""
    assert guest.get(META_DATA).status in (404, 503)


BROKEN = {
    "not YAML": ("name: [vm1\n", "YAML"),
    "unknown key": ("name: vm1\nhostnam: vm1.example.org\n", "hostnam"),
    "wrong value": ("name: vm1\nuuid: not-a-uuid\n", "uuid"),
    "empty": ("", ""),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_file_leaves_its_domain_as_it_was_and_is_reported(stage: Scene, guest: Guest, broken: str) -> None:
    text, where = BROKEN[broken]
    file = stage.daemon.write_domain("new", domain(1, "vnet0"))
    stage.daemon.write_domain("other", domain(2, "vnet9"))
    eventually(lambda: guest.get("/openstack").status == 200, AT_ONCE)
    with contextlib.suppress(ConnectionError), KeepAlive(guest) as connection:
        file.write_text(text)  # in place, as some editors do
        problems = eventually(stage.daemon.problems, AT_ONCE)
        assert any(str(file) in problem and where in problem for problem in problems), problems
        assert connection.get(META_DATA).status == 200
    assert Identity.asked_by(guest) == Identity.of(1)
    shown = stage.lab.host.run(*stage.daemon.command("status")).stdout
    assert [line for line in shown.splitlines() if line.startswith("problem: ") and str(file) in line]
    # Another file is read as usual, and the broken one when it is repaired.
    stage.daemon.write_domain("other", domain(2, "vnet0-not"))
    stage.daemon.write_domain("new", domain(1, "vnet0", user_data="repaired"))
    eventually(lambda: guest.get(USER_DATA).body == b"repaired", AT_ONCE)
    eventually(lambda: stage.daemon.problems() == [], AT_ONCE)
