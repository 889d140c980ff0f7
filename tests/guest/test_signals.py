"""The end of the daemon: whichever signal ends it and whoever is connected, nothing of it stays."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from tests.guest.scene import META_DATA, USER_DATA, Hosts, KeepAlive, Scene, domain, eventually, is_alive, scene

COUNT = 4
CONNECTIONS = 20
LARGE = "A" * 500_000

END_TIME = 5.0

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@frozen
class Stage:
    """A daemon that is not started yet, and the state of the hosts."""

    scene: Scene
    before: Hosts


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    domains = {f"vm{number}": domain(number, f"vnet{number}", user_data=LARGE) for number in range(COUNT)}
    with scene("emg-end", domains, started=False) as stage:
        for number in range(COUNT):
            stage.lab.guest(f"vm{number}", tap=f"vnet{number}", bridge="br0")
        yield Stage(stage, Hosts.read(stage.lab))


def left(stage: Stage) -> list[Path]:
    """Return the daemon's files, except those that must outlive it."""
    directory = stage.scene.daemon.directory
    return [path for path in sorted(directory.rglob("*")) if not path.is_relative_to(directory / "state")]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_removes_everything_also_under_open_connections(stage: Stage, number: signal.Signals) -> None:
    daemon = stage.scene.daemon
    daemon.log.touch()
    files = left(stage)
    daemon.start()
    stage.scene.wait_until_known(**{f"vnet{number}": number for number in range(COUNT)})
    assert stage.before.changes(patience=0) != []  # otherwise the comparison below shows nothing
    (worker,) = daemon.status()["workers"]
    process = daemon.process
    assert process is not None
    with contextlib.ExitStack() as undo:
        guests = list(stage.scene.lab.guests.values())
        connections = [undo.enter_context(KeepAlive(guests[index % COUNT])) for index in range(CONNECTIONS)]
        for index, connection in enumerate(connections):
            if index % 4 == 0:  # in the middle of an answer
                connection.ask(USER_DATA)
                assert connection.socket.recv(100).startswith(b"HTTP/1.1 200")
            elif index % 4 == 1:  # in the middle of a request
                connection.socket.sendall(b"GET / HTTP/1.1\r\nHost: ")
            elif index % 4 == 2:  # between two requests
                assert connection.get(META_DATA).status == 200
            # Only the kernel knows of the others, which send nothing (eve_meta.web.sockets.SILENT_TIME).
        process.send_signal(number)
        assert process.wait(END_TIME) == 0
        assert not is_alive(worker["pid"])
        assert stage.before.changes() == []
        for index, connection in enumerate(connections):
            # All were closed before the path was removed, also those that read their answers too slowly.
            if index % 4 == 3:
                continue
            rest = connection.rest()
            assert len(rest) < len(LARGE) if index % 4 == 0 else rest == b""
    assert left(stage) == files
    daemon.process = None
    with pytest.raises(OSError):  # nobody listens; the error does not matter
        guests[0].connect(timeout=0.3)


def test_a_second_signal_leaves_nothing_behind(stage: Stage) -> None:
    """A second Ctrl-C while the daemon ends."""
    daemon = stage.scene.daemon
    daemon.start()
    process = daemon.process
    assert process is not None
    for _ in range(2):
        process.send_signal(signal.SIGINT)
    process.wait(END_TIME)
    daemon.process = None
    assert stage.before.changes() == []


DELAYS = (0.0, 0.3, 0.8, 1.5, 2.0, 2.3, 2.6)
"""Seconds after the daemon has made something: while it compiles, makes the path and starts the worker."""


# One handler serves all signals, so each delay gets one of them, in turns.
@pytest.mark.parametrize(
    ("number", "delay"),
    [pytest.param(SIGNALS[at % 3], delay, id=f"{SIGNALS[at % 3].name}-{delay}") for at, delay in enumerate(DELAYS)],
)
def test_a_signal_while_the_daemon_starts_removes_everything(
    stage: Stage, number: signal.Signals, delay: float
) -> None:
    """At any moment after the daemon has made something."""
    daemon = stage.scene.daemon
    daemon.log.touch()
    files = left(stage)
    with daemon.log.open("ab") as log:
        process = stage.scene.lab.host.popen(
            *daemon.command("serve"), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        assert not (daemon.directory / "run").exists()
        eventually((daemon.directory / "run").is_dir, END_TIME)
        time.sleep(delay)
        for _ in range(2):  # and the second does not interrupt the removal
            process.send_signal(number)
            time.sleep(0.01)
        assert process.wait(END_TIME) == 0
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in daemon.log_tail()
    assert stage.before.changes() == []
    assert left(stage) == files


@pytest.mark.parametrize("umask", [0o077, 0o777, 0])
def test_the_daemon_serves_whatever_umask_it_inherits(stage: Stage, umask: int) -> None:
    daemon = stage.scene.daemon
    daemon.start(["sh", "-c", f'umask {umask:o}; exec "$@"', "sh"])
    try:
        stage.scene.wait_until_known(vnet0=0)
        assert stage.scene.lab.guests["vm0"].get(META_DATA).status == 200
        modes = [path.stat().st_mode & 0o777 for path in (daemon.directory / "run", daemon.directory / "run/root")]
        assert modes == [0o711, 0o755]
    finally:
        daemon.stop()
    assert stage.before.changes() == []
