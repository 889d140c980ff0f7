"""What is said to the service manager, and that nothing it does harms us."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from eve_meta.runtime.service_manager import NAME, STATUS_INTERVAL, ServiceManager

ELSEWHERE = 300
"""A descriptor from which on a service manager of these tests passes its own on."""


class Manager:
    """A service manager's socket."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)
        self.address = address

    def kept(self) -> tuple[str, list[socket.socket]]:
        """The next message, and the sockets that came with it."""
        message, descriptors, _, _ = socket.recv_fds(self.socket, 4096, 8)
        return message.decode(), [socket.socket(fileno=descriptor) for descriptor in descriptors]

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


# -- what it keeps --


@pytest.fixture
def listeners() -> Iterator[list[socket.socket]]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    yield listeners
    for each in listeners:
        each.close()


def test_sockets_are_kept_in_place_of_those_before(manager: Manager, listeners: list[socket.socket]) -> None:
    us = ServiceManager({"NOTIFY_SOCKET": manager.address})
    first, second = listeners
    before = 0
    for sockets in ((first,), (first, second)):
        us.keep(sockets)
        for place in range(before):
            assert manager.kept() == (f"FDSTOREREMOVE=1\nFDNAME=guests-{place}", [])
        for place, each in enumerate(sockets):
            message, (kept,) = manager.kept()
            assert message == f"FDSTORE=1\nFDNAME=guests-{place}"
            assert kept.getsockname() == each.getsockname()
            kept.close()
        before = len(sockets)
    us.keep((first, second))
    assert manager.heard() == []  # the same ones
    us.keep(())
    assert manager.heard() == [f"FDSTOREREMOVE=1\nFDNAME=guests-{place}" for place in range(2)]


def test_without_a_service_manager_nothing_is_kept(listeners: list[socket.socket]) -> None:
    us = ServiceManager({})
    us.keep(listeners)
    assert not us.listens


@pytest.fixture
def passed_on(monkeypatch: pytest.MonkeyPatch, listeners: list[socket.socket]) -> Iterator[dict[str, str]]:
    """What a service manager says that passes two sockets on."""
    monkeypatch.setattr("eve_meta.runtime.service_manager.FIRST_KEPT", ELSEWHERE)
    for number, each in enumerate(listeners):
        os.dup2(each.fileno(), ELSEWHERE + number, inheritable=True)
    yield {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": f"{NAME.format(10)}:{NAME.format(9)}"}
    os.closerange(ELSEWHERE, ELSEWHERE + 2)


def test_what_was_kept_is_ours_and_no_childs(passed_on: dict[str, str], listeners: list[socket.socket]) -> None:
    environ = {**passed_on, "LISTEN_PIDFDID": "7", "PATH": "/bin"}
    us = ServiceManager(environ)
    assert environ == {"PATH": "/bin"}
    # In our order, not in that of the service manager.
    assert [each.getsockname() for each in us.kept] == [each.getsockname() for each in reversed(listeners)]
    assert [each.get_inheritable() for each in us.kept] == [False, False]
    for each in us.kept:
        each.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"LISTEN_PID": "1"},
        {"LISTEN_PID": ""},
        {"LISTEN_FDS": "1000000"},
        {"LISTEN_FDS": "1"},
        {"LISTEN_FDS": "-2"},
        {"LISTEN_FDS": "two"},
        {"LISTEN_FDNAMES": ""},
        {"LISTEN_FDNAMES": "stored:eve-meta.socket"},
        {"LISTEN_FDNAMES": "guests-:guests-1000000"},
    ],
)
def test_what_is_anothers_or_nonsense_is_left_alone(passed_on: dict[str, str], wrong: dict[str, str]) -> None:
    environ = {**passed_on, **wrong}
    assert ServiceManager(environ).kept == ()
    assert environ == {}
    os.fstat(ELSEWHERE + 1)


def test_what_is_no_socket_is_left_alone(passed_on: dict[str, str]) -> None:
    with Path(os.devnull).open() as file:
        os.dup2(file.fileno(), ELSEWHERE)
    os.close(ELSEWHERE + 1)
    assert ServiceManager(passed_on).kept == ()
    os.fstat(ELSEWHERE)
    os.dup2(ELSEWHERE, ELSEWHERE + 1)


def test_what_was_kept_is_still_there_after_an_exec(listeners: list[socket.socket], tmp_path: Path) -> None:
    """As of ``eve-meta serve``, which becomes the daemon: the same process, to which LISTEN_PID is true."""
    script = tmp_path / "serve"
    script.write_text(
        "import os, sys\n"
        f"os.dup2({listeners[0].fileno()}, 3)\n"
        f"os.environ |= {{'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '1', 'LISTEN_FDNAMES': {NAME.format(0)!r}}}\n"
        "tell = 'import os; from eve_meta.runtime.service_manager import ServiceManager; '"
        "'print(ServiceManager(os.environ).kept[0].getsockname())'\n"
        "os.execv(sys.executable, [sys.executable, '-c', tell])\n"
    )
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        pass_fds=[listeners[0].fileno()],
        cwd=Path(__file__).parents[2],
        check=True,
    )
    assert done.stdout == f"{listeners[0].getsockname()}\n"
