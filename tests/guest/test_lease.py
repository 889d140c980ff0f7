"""A supervisor that is stopped or busy: for two seconds nobody notices, and then no guest reads what may be another's.

The tap is persistent, and changes hands during that time: its next holder is another domain's process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from eve_meta.wire.messages import LEASE_TIME
from harness.guests import Guest
from tests.guest.compromised import compromised_scene
from tests.guest.compromised_process import BLOCKED_TIME
from tests.guest.scene import META_DATA, SERVICE, USER_DATA, KeepAlive, Scene, domain, eventually, is_alive

pytestmark = pytest.mark.alone

TAP = "vnet0"
OLD = 1
OTHER = 2
LARGE = "A" * (16 * 1024 * 1024)

PAUSE = 0.05
"""Seconds between two requests, so that they are no flood."""

MARGIN = 0.3
"""Seconds by which a busy machine may delay an answer."""


@pytest.fixture
def stage() -> Iterator[Scene]:
    """A persistent tap that the old domain's guest holds, and a guest with a tap of its own."""
    domains = {"old": domain(OLD, TAP), "other": domain(OTHER, "vnet1", user_data=LARGE)}
    with compromised_scene("emg-lease", domains) as stage:
        stage.lab.host.ip(f"tuntap add {TAP} mode tap vnet_hdr")
        stage.lab.guest("old", tap=TAP, bridge="br0")
        stage.lab.guest("other", tap="vnet1", bridge="br0")
        stage.wait_until_known(**{TAP: OLD, "vnet1": OTHER})
        yield stage


def supervisor(stage: Scene) -> int:
    assert stage.daemon.process is not None
    return stage.daemon.process.pid


@contextlib.contextmanager
def stopped(stage: Scene) -> Iterator[float]:
    """Stop the supervisor for as long as the context lasts; the value is when."""
    os.kill(supervisor(stage), signal.SIGSTOP)
    try:
        yield time.monotonic()
    finally:
        os.kill(supervisor(stage), signal.SIGCONT)


def change_hands(stage: Scene) -> Guest:
    """Let the old guest's process end, and another guest's process open the tap; return that guest."""
    stage.lab.guests["old"].unplug()
    return stage.lab.guest("new", tap=TAP, bridge="br0", address="10.0.0.6/24")


def status_of(guest: Guest, path: str = META_DATA) -> int:
    """Return the status of the answer; 0 where the connection ended without one."""
    time.sleep(PAUSE)
    try:
        return guest.get(path, timeout=1).status
    except OSError:
        return 0


def test_a_tap_that_changes_hands_while_the_supervisor_is_stopped_shows_the_old_domain_for_two_seconds(
    stage: Scene,
) -> None:
    with stopped(stage) as since:
        new = change_hands(stage)
        while time.monotonic() < since + LEASE_TIME + MARGIN:
            status_of(new)
        for path in (META_DATA, USER_DATA, "/latest/meta-data/instance-id", "/openstack", "/nocloud/meta-data"):
            answer = new.get(path)
            assert (answer.status, answer.headers.get("retry-after")) == (503, "1"), (path, answer)
        assert status_of(stage.lab.guests["other"]) == 503
        time.sleep(1)
        assert status_of(new) == 503
    # The supervisor first reads what the kernel reported, and so the old domain is gone before anybody is answered.
    seen = set()
    deadline = time.monotonic() + 5
    while (status := status_of(stage.lab.guests["other"])) != 200:
        seen.add(status_of(new))
        assert status in (0, 503)
        assert time.monotonic() < deadline
    assert 200 not in seen
    assert stage.domain_is(TAP, OLD) or status_of(new) != 200


def test_a_supervisor_that_goes_on_in_time_costs_nobody_anything(stage: Scene) -> None:
    guest = stage.lab.guests["old"]
    with KeepAlive(guest) as connection:
        with stopped(stage) as since:
            while time.monotonic() < since + LEASE_TIME - 0.8:
                assert connection.get(META_DATA).status == 200
                time.sleep(PAUSE)
        end = time.monotonic() + 2
        while time.monotonic() < end:
            assert connection.get(META_DATA).status == 200
            time.sleep(PAUSE)


def test_an_answer_that_was_begun_ends_with_the_lease(stage: Scene) -> None:
    guest = stage.lab.guests["other"]
    with contextlib.closing(guest.connect(timeout=10)) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(f"GET {USER_DATA} HTTP/1.1\r\nHost: {SERVICE}\r\n\r\n".encode())
        assert slow.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
        with stopped(stage) as since:
            came = 0
            with contextlib.suppress(ConnectionError):
                while piece := slow.recv(65536):
                    came += len(piece)
                    time.sleep(0.01)
            lasted = time.monotonic() - since
    assert came < len(LARGE)
    assert lasted < LEASE_TIME + MARGIN


def test_workers_of_a_supervisor_that_was_killed_finish_and_end(stage: Scene) -> None:
    guest = stage.lab.guests["other"]
    (pid,) = (worker["pid"] for worker in stage.daemon.status()["workers"])
    with KeepAlive(guest) as connection:
        connection.ask(USER_DATA)
        assert connection.socket.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")
        assert stage.daemon.process is not None
        stage.daemon.process.kill()
        stage.daemon.process.wait()
        assert len(connection.rest()) > len(LARGE) - 1000
    eventually(lambda: not is_alive(pid), LEASE_TIME + 1)


def test_a_busy_supervisor_is_like_a_stopped_one(stage: Scene) -> None:
    """Its reactor is blocked by what it does, not by a signal, and it cannot know that beforehand."""
    with blocked(stage) as since:
        new = change_hands(stage)
        while time.monotonic() < since + LEASE_TIME + MARGIN:
            status_of(new)
        assert status_of(new) == status_of(stage.lab.guests["other"]) == 503
    eventually(lambda: status_of(stage.lab.guests["other"]) == 200, 5)


@contextlib.contextmanager
def blocked(stage: Scene) -> Iterator[float]:
    """Block the supervisor's reactor; the context ends when it turns again."""
    os.kill(supervisor(stage), signal.SIGUSR2)
    since = time.monotonic()
    yield since
    time.sleep(max(0.0, since + BLOCKED_TIME - time.monotonic()))
