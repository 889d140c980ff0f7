"""What is said to the service manager, and that nothing it does harms us."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from eve_meta.notify import STATUS_INTERVAL, ServiceManager


class Manager:
    """A service manager's socket."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)
        self.address = address

    def heard(self) -> list[str]:
        heard = []
        while True:
            try:
                heard.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return heard


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify") if request.param == "path" else f"@eve-meta-test-{os.getpid()}")
    yield manager
    manager.socket.close()


def test_the_life_of_a_daemon(manager: Manager) -> None:
    us = ServiceManager({"NOTIFY_SOCKET": manager.address})
    us.status("starting")
    us.ready("0 taps")
    us.ready("a worker came back")
    us.stopping()
    us.stopping()
    assert manager.heard() == [
        "STATUS=starting",
        "READY=1\nSTATUS=0 taps",
        "STOPPING=1\nSTATUS=removing everything from the host",
    ]


def test_the_watchdog_hears_of_us_at_half_its_time(manager: Manager) -> None:
    clock = Clock()
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}
    us = ServiceManager(environ)
    us.beat(clock, lambda: "well")
    assert manager.heard() == ["WATCHDOG=1\nSTATUS=well"]
    clock.advance(1.4)
    assert manager.heard() == []
    clock.advance(0.1)
    assert manager.heard() == ["WATCHDOG=1\nSTATUS=well"]
    us.stopping()
    manager.heard()
    clock.advance(1.5)
    assert manager.heard() == []  # "removing everything" stays what systemctl shows


@pytest.mark.parametrize("watchdog", [{}, {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "x"}])
def test_a_watchdog_that_is_not_ours_hears_nothing(manager: Manager, watchdog: dict[str, str]) -> None:
    clock = Clock()
    ServiceManager({"NOTIFY_SOCKET": manager.address, **watchdog}).beat(clock, lambda: "well")
    clock.advance(STATUS_INTERVAL)
    assert manager.heard() == ["STATUS=well"] * 2


def test_our_children_cannot_speak_for_us(manager: Manager) -> None:
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "PATH": "/bin"}
    ServiceManager(environ)
    assert environ == {"PATH": "/bin"}


def test_without_a_service_manager_nothing_happens() -> None:
    clock = Clock()
    us = ServiceManager({})
    us.ready("")
    us.beat(clock, lambda: "well")
    assert clock.getDelayedCalls() == []


def test_one_that_is_gone_or_does_not_read_is_not_waited_for(manager: Manager) -> None:
    us = ServiceManager({"NOTIFY_SOCKET": manager.address})
    for _ in range(1000):
        us.status("x" * 1000)
    manager.socket.close()
    us.status("nobody there")
