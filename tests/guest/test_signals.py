"""The end of the daemon: whichever signal says so and whoever is connected, nothing of it stays."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

import pytest
from attrs import frozen

from tests.guest.scene import META_DATA, USER_DATA, Hosts, KeepAlive, Scene, domain, is_alive, scene

COUNT = 4
CONNECTIONS = 20
LARGE = "A" * 500_000

END_TIME = 5.0


@frozen
class Stage:
    """A daemon that is yet to start, and what the hosts are before."""

    scene: Scene
    before: Hosts


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    domains = {f"vm{number}": domain(number, f"vnet{number}", user_data=LARGE) for number in range(COUNT)}
    with scene("emg-end", domains, started=False) as stage:
        for number in range(COUNT):
            stage.lab.guest(f"vm{number}", tap=f"vnet{number}", bridge="br0")
        yield Stage(stage, Hosts.read(stage.lab))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_removes_everything_also_under_open_connections(stage: Stage, number: signal.Signals) -> None:
    daemon = stage.scene.daemon
    daemon.log.touch()
    files = sorted(daemon.directory.rglob("*"))
    daemon.start()
    stage.scene.settled(**{f"vnet{number}": number for number in range(COUNT)})
    assert stage.before.changes(patience=0) != []  # else the comparison below sees nothing
    (worker,) = daemon.status()["workers"]
    process = daemon.process
    assert process is not None
    with contextlib.ExitStack() as undo:
        guests = list(stage.scene.lab.guests.values())
        connections = [undo.enter_context(KeepAlive(guests[index % COUNT])) for index in range(CONNECTIONS)]
        for index, connection in enumerate(connections):
            if index % 4 == 0:  # in the midst of an answer
                connection.ask(USER_DATA)
                assert connection.socket.recv(100).startswith(b"HTTP/1.1 200")
            elif index % 4 == 1:  # in the midst of a request
                connection.socket.sendall(b"GET / HTTP/1.1\r\nHost: ")
            elif index % 4 == 2:  # between two
                assert connection.get(META_DATA).status == 200
        process.send_signal(number)
        assert process.wait(END_TIME) == 0
        assert not is_alive(worker["pid"])
        assert stage.before.changes() == []
        for index, connection in enumerate(connections):
            if index % 4:  # told, before the way to it was taken down
                assert connection.rest() == b""
            else:  # had not made room for the end to reach it: cut, for its own time limit to find
                with contextlib.suppress(TimeoutError):
                    assert len(connection.rest(0.1)) < len(LARGE)
    assert sorted(daemon.directory.rglob("*")) == files
    daemon.process = None
    with pytest.raises(OSError):  # noqa: PT011  # nobody, by whatever error
        guests[0].connect(timeout=0.3)


def test_impatience_does_not_leave_half(stage: Stage) -> None:
    """Ctrl-C again while it ends."""
    daemon = stage.scene.daemon
    daemon.start()
    process = daemon.process
    assert process is not None
    for _ in range(2):
        process.send_signal(signal.SIGINT)
    process.wait(END_TIME)
    daemon.process = None
    assert stage.before.changes() == []
