"""The daemon notifies by sd_notify(3), takes over stored sockets, and survives whatever its service manager does."""

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

FIRST = 300
"""The first descriptor that the service manager of these tests passes: 3 is in use here."""

ANOTHER_PID = str(os.getpid() + 1)
"""Not 1: a process that has a process namespace to itself may have that id."""


class Manager:
    """A service manager's socket."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)
        self.address = address

    def receive_sockets(self) -> tuple[str, list[socket.socket]]:
        """Receive the next message and the sockets that come with it."""
        message, descriptors, _, _ = socket.recv_fds(self.socket, 4096, 8)
        return message.decode(), [socket.socket(fileno=descriptor) for descriptor in descriptors]

    def receive(self) -> list[str]:
        """Receive all messages that wait."""
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return messages


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify") if request.param == "path" else f"@eve-meta-test-{os.getpid()}")
    yield manager
    manager.socket.close()


def test_ready_and_stopping_are_announced_once(manager: Manager) -> None:
    us = ServiceManager({"NOTIFY_SOCKET": manager.address})
    us.status("starting")
    us.ready("0 taps")
    us.ready("a worker came back")
    us.stopping()
    us.stopping()
    assert manager.receive() == [
        "STATUS=starting",
        "READY=1\nSTATUS=0 taps",
        "STOPPING=1\nSTATUS=removing everything from the host",
    ]


def test_a_sign_of_life_is_sent_at_half_the_watchdogs_time(manager: Manager) -> None:
    clock = Clock()
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}
    us = ServiceManager(environ)
    us.start_heartbeat(clock, lambda: "2 taps")
    assert manager.receive() == ["WATCHDOG=1\nSTATUS=2 taps"]
    clock.advance(1.4)
    assert manager.receive() == []
    clock.advance(0.1)
    assert manager.receive() == ["WATCHDOG=1\nSTATUS=2 taps"]
    us.stopping()
    manager.receive()
    clock.advance(1.5)
    assert manager.receive() == []  # systemctl goes on to show "removing everything"


@pytest.mark.parametrize(
    "watchdog", [{}, {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": ANOTHER_PID}, {"WATCHDOG_USEC": "x"}]
)
def test_a_watchdog_of_another_process_gets_no_sign_of_life(manager: Manager, watchdog: dict[str, str]) -> None:
    clock = Clock()
    ServiceManager({"NOTIFY_SOCKET": manager.address, **watchdog}).start_heartbeat(clock, lambda: "2 taps")
    clock.advance(STATUS_INTERVAL)
    assert manager.receive() == ["STATUS=2 taps"] * 2


def test_children_of_the_daemon_cannot_speak_in_its_name(manager: Manager) -> None:
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "PATH": "/bin"}
    ServiceManager(environ)
    assert environ == {"PATH": "/bin"}


def test_without_a_service_manager_nothing_is_sent() -> None:
    clock = Clock()
    us = ServiceManager({})
    us.ready("")
    us.start_heartbeat(clock, lambda: "2 taps")
    assert clock.getDelayedCalls() == []


def test_a_service_manager_that_is_gone_or_does_not_read_is_not_waited_for(manager: Manager) -> None:
    us = ServiceManager({"NOTIFY_SOCKET": manager.address})
    for _ in range(1000):
        us.status("x" * 1000)
    manager.socket.close()
    us.status("nobody there")


# -- stored sockets --


@pytest.fixture
def listeners() -> Iterator[list[socket.socket]]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    yield listeners
    for each in listeners:
        each.close()


def test_sockets_are_stored_in_place_of_those_before(manager: Manager, listeners: list[socket.socket]) -> None:
    us = ServiceManager({"NOTIFY_SOCKET": manager.address})
    first, second = listeners
    before = 0
    for sockets in ((first,), (first, second)):
        us.store(sockets)
        for place in range(before):
            assert manager.receive_sockets() == (f"FDSTOREREMOVE=1\nFDNAME=guests-{place}", [])
        for place, each in enumerate(sockets):
            message, (stored,) = manager.receive_sockets()
            assert message == f"FDSTORE=1\nFDNAME=guests-{place}"
            assert stored.getsockname() == each.getsockname()
            stored.close()
        before = len(sockets)
    us.store((first, second))
    assert manager.receive() == []  # the same ones
    us.store(())
    assert manager.receive() == [f"FDSTOREREMOVE=1\nFDNAME=guests-{place}" for place in range(2)]


def test_without_a_service_manager_nothing_is_stored(listeners: list[socket.socket]) -> None:
    us = ServiceManager({})
    us.store(listeners)
    assert not us.is_present


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch, listeners: list[socket.socket]) -> Iterator[dict[str, str]]:
    """The environment that a service manager makes which passes two sockets, neither of them in its place."""
    monkeypatch.setattr("eve_meta.runtime.service_manager.FIRST_STORED", FIRST)
    for number, each in enumerate(listeners):
        os.dup2(each.fileno(), FIRST + number, inheritable=True)
    yield {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": f"{NAME.format(10)}:{NAME.format(9)}"}
    os.closerange(FIRST, FIRST + 2)


def test_stored_sockets_are_taken_over_in_their_order_and_not_inherited(
    passing: dict[str, str], listeners: list[socket.socket]
) -> None:
    environ = {**passing, "LISTEN_PIDFDID": "7", "PATH": "/bin"}
    us = ServiceManager(environ)
    assert environ == {"PATH": "/bin"}
    assert [each.getsockname() for each in us.stored] == [each.getsockname() for each in reversed(listeners)]
    assert [each.get_inheritable() for each in us.stored] == [False, False]
    for each in us.stored:
        each.close()


def test_of_two_sockets_under_one_name_the_last_is_taken_over(passing: dict[str, str]) -> None:
    us = ServiceManager({**passing, "LISTEN_FDNAMES": f"{NAME.format(0)}:{NAME.format(0)}"})
    assert [each.fileno() for each in us.stored] == [FIRST + 1]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(FIRST)
    for each in us.stored:
        each.detach()


@pytest.mark.parametrize(
    "wrong",
    [
        {"LISTEN_PID": ANOTHER_PID},
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
def test_descriptors_of_another_process_or_under_other_names_stay_untouched(
    passing: dict[str, str], wrong: dict[str, str]
) -> None:
    environ = {**passing, **wrong}
    assert ServiceManager(environ).stored == ()
    assert environ == {}
    os.fstat(FIRST + 1)


def test_a_descriptor_that_is_no_socket_stays_untouched(passing: dict[str, str]) -> None:
    with Path(os.devnull).open() as file:
        os.dup2(file.fileno(), FIRST)
    os.close(FIRST + 1)
    assert ServiceManager(passing).stored == ()
    os.fstat(FIRST)
    os.dup2(FIRST, FIRST + 1)


def test_stored_sockets_survive_an_exec(listeners: list[socket.socket], tmp_path: Path) -> None:
    """``eve-meta serve`` becomes the daemon by exec: the process stays the one that LISTEN_PID names."""
    script = tmp_path / "serve"
    script.write_text(
        "import os, sys\n"
        f"os.dup2({listeners[0].fileno()}, 3)\n"
        f"os.environ |= {{'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '1', 'LISTEN_FDNAMES': {NAME.format(0)!r}}}\n"
        "show = 'import os; from eve_meta.runtime.service_manager import ServiceManager; '"
        "'print(ServiceManager(os.environ).stored[0].getsockname())'\n"
        "os.execv(sys.executable, [sys.executable, '-c', show])\n"
    )
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        pass_fds=[listeners[0].fileno()],
        cwd=Path(__file__).parents[3],
        check=True,
    )
    assert done.stdout == f"{listeners[0].getsockname()}\n"
