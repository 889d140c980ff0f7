"""A tap gets another domain: connections of the old one end, and never show the new one's data."""

from __future__ import annotations

import contextlib
import json
import statistics
import time
from collections.abc import Iterator
from typing import Any

import pytest

from harness.guests import Guest
from tests.guest.scene import META_DATA, USER_DATA, Identity, KeepAlive, Scene, domain, eventually, scene

TAP = "vnet0"
OLD, NEW = 1, 2

AT_ONCE = 1.0
"""Seconds within which a changed domain file takes effect."""

REUSES = 150
"""The number of times that one name is given to a new tap of another domain."""


@pytest.fixture(scope="module")
def module_scene() -> Iterator[Scene]:
    with scene("emg-change", {}) as stage:
        yield stage


@pytest.fixture
def stage(module_scene: Scene) -> Iterator[Scene]:
    """The tap has the old domain."""
    module_scene.daemon.write_domain("old", domain(OLD, TAP))
    yield module_scene
    for guest in list(module_scene.lab.guests.values()):
        module_scene.lab.remove(guest)
    for file in module_scene.daemon.domains.iterdir():
        file.unlink()


def plugged(stage: Scene, name: str, number: int) -> Guest:
    guest = stage.lab.guest(name, tap=TAP, bridge="br0")
    stage.wait_until_known(**{TAP: number})
    return guest


def hand_over(stage: Scene) -> None:
    """Assign the new domain to the tap."""
    (stage.daemon.domains / "old.yaml").unlink()
    stage.daemon.write_domain("new", domain(NEW, TAP))


def test_a_tap_made_anew_for_another_domain_brings_it_its_own(stage: Scene) -> None:
    old = plugged(stage, "old", OLD)
    with KeepAlive(old, source_port=40000) as connection:
        assert Identity.read(connection.get(META_DATA), connection.get(USER_DATA)) == Identity.of(OLD)
        tag = stage.status_of(TAP)["tag"]
        old.unplug()
        hand_over(stage)
        new = plugged(stage, "new", NEW)
        assert stage.status_of(TAP)["tag"] != tag
        # The same address and source port, while the old guest still takes its connection for open.
        with KeepAlive(new, source_port=40000) as another:
            assert Identity.read(another.get(META_DATA), another.get(USER_DATA)) == Identity.of(NEW)


def test_an_old_connection_that_goes_on_through_the_new_tap_is_reset(stage: Scene) -> None:
    """The worst case: the old guest's segments, with the right sequence numbers, come out of the new domain's NIC."""
    guest = plugged(stage, "old", OLD)
    with KeepAlive(guest, source_port=40001) as connection:
        assert connection.get(META_DATA).status == 200
        guest.unplug()
        hand_over(stage)
        guest.plug(TAP)
        stage.wait_until_known(**{TAP: NEW})
        connection.ask(META_DATA)
        assert connection.rest() == b""
        assert Identity.asked_by(guest) == Identity.of(NEW)


def test_a_connection_of_a_tap_that_was_away_for_a_moment_is_reset(stage: Scene) -> None:
    """It is deleted and made again at once, with nothing else in between, and still gets another tag."""
    guest = plugged(stage, "old", OLD)
    with KeepAlive(guest) as connection:
        assert connection.get(META_DATA).status == 200
        guest.unplug()
        guest.plug(TAP)
        stage.wait_until_known(**{TAP: OLD})
        connection.ask(META_DATA)
        assert connection.rest() == b""


def test_a_domain_file_that_takes_the_tap_closes_what_is_open(stage: Scene) -> None:
    guest = plugged(stage, "guest", OLD)
    with KeepAlive(guest) as idle, KeepAlive(guest) as begun, KeepAlive(guest) as mute:
        assert Identity.read(idle.get(META_DATA), idle.get(USER_DATA)) == Identity.of(OLD)
        begun.socket.sendall(b"G")
        hand_over(stage)
        # The guest need not ask again to be cut, and a connection without any request is cut too.
        assert (idle.rest(AT_ONCE), begun.rest(AT_ONCE)) == (b"", b"")
        # A connection that no worker knows of yet counts as new when its request comes.
        eventually(lambda: guest.get(META_DATA).status == 200, AT_ONCE)
        assert Identity.read(mute.get(META_DATA), mute.get(USER_DATA)) == Identity.of(NEW)
    assert Identity.asked_by(guest) == Identity.of(NEW)


def test_an_answer_that_was_begun_is_not_finished_after_the_tap_changed_hands(stage: Scene) -> None:
    secret = "A" * 1_000_000
    stage.daemon.write_domain("old", domain(OLD, TAP, user_data=secret))
    guest = plugged(stage, "guest", OLD)
    eventually(lambda: len(guest.get(USER_DATA).body) == len(secret), AT_ONCE)
    with KeepAlive(guest) as connection:
        connection.ask(USER_DATA)
        assert connection.socket.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
        hand_over(stage)
        eventually(lambda: stage.domain_is(TAP, NEW), AT_ONCE)
        # The guest gets what had left the host already, and not the rest.
        assert len(connection.rest()) < len(secret) / 2
    assert Identity.asked_by(guest) == Identity.of(NEW)


def test_a_change_of_the_same_domain_keeps_the_connection(stage: Scene) -> None:
    guest = plugged(stage, "guest", OLD)
    with KeepAlive(guest) as connection:
        assert connection.get(USER_DATA).body == Identity.of(OLD).user_data
        stage.daemon.write_domain("old", domain(OLD, TAP, user_data="changed"))
        eventually(lambda: connection.get(USER_DATA).body == b"changed", AT_ONCE)


def test_two_files_that_exchange_their_taps_exchange_their_guests(stage: Scene) -> None:
    stage.daemon.write_domain("new", domain(NEW, "vnet1"))
    one = plugged(stage, "one", OLD)
    other = stage.lab.guest("other", tap="vnet1", bridge="br0")
    stage.wait_until_known(vnet1=NEW)
    stage.daemon.write_domain("old", domain(OLD, "vnet1"))
    stage.daemon.write_domain("new", domain(NEW, TAP))
    stage.wait_until_known(vnet0=NEW, vnet1=OLD)
    assert (Identity.asked_by(one), Identity.asked_by(other)) == (Identity.of(NEW), Identity.of(OLD))


def first_answer(guest: Guest, path: str) -> Any:
    """Return the first JSON document at *path* that *guest* gets; until then it may get 503, or be cut."""
    deadline = time.monotonic() + 5
    while True:
        assert time.monotonic() < deadline
        # Its first segment may come before the filter is attached, and its retransmission only a second later. And when
        # the link comes up, the daemon looks for the owner anew, and cuts open connections.
        with contextlib.suppress(OSError):
            answer = guest.get(path, timeout=0.1)
            if answer.status == 200:
                return json.loads(answer.body)
            assert answer.status == 503, answer


def test_a_name_that_is_used_again_at_once_never_shows_the_domain_before(stage: Scene) -> None:
    """The guest asks as soon as its tap exists, when the file that names the tap may not have been read yet."""
    guest = plugged(stage, "guest", OLD)
    waited = []
    for number in range(NEW, NEW + REUSES):
        nic = {"tap": TAP, "mac": f"fa:16:3e:00:00:{number % 256:02x}", "subnets": [{"type": "ipv4_dhcp"}]}
        plain = domain(number, None, nics=[nic])
        if number % 2:
            stage.daemon.write_domain("old", plain)
            guest.unplug()
        else:
            guest.unplug()
            stage.daemon.write_domain("old", plain)
        guest.plug(TAP)
        began = time.monotonic()
        assert first_answer(guest, META_DATA)["hostname"] == plain["hostname"]
        waited.append(time.monotonic() - began)
        (link,) = first_answer(guest, "/openstack/latest/network_data.json")["links"]
        assert link["ethernet_mac_address"] == nic["mac"]
    print(
        f"\nfrom the new tap to its own answer, {REUSES} times: median {statistics.median(waited) * 1000:.0f} ms, "
        f"most {max(waited) * 1000:.0f}"
    )
