"""The worker: what it may do, which is next to nothing, and what its death means for guests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from eve_meta.runtime.sandbox.identities import FIRST
from harness.guests import Guest
from harness.namespace import RUN_NETNS
from tests.guest.scene import (
    META_DATA,
    USER_DATA,
    Identity,
    KeepAlive,
    Scene,
    domain,
    duplicated_fd,
    duplicated_sockets,
    eventually,
    is_alive,
    is_channel,
    proc,
    proc_status,
    scene,
)

LARGE = 9
MIB = 1024 * 1024

BACK_OFF = 5.0
"""Further seconds, at most, if other workers died shortly before: tests that follow each other cause that."""

COUNT = 8

RESTART_TIME = 2.0
"""Seconds within which a guest is answered again after its worker died."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Scene]:
    domains = {f"vm{number}": domain(number, f"vnet{number}") for number in range(COUNT)}
    domains["large"] = domain(LARGE, f"vnet{LARGE}", user_data="A" * MIB)
    with scene("emg-worker", domains) as stage:
        numbers = (*range(COUNT), LARGE)
        for number in numbers:
            stage.lab.guest(f"vm{number}", tap=f"vnet{number}", bridge="br0")
        stage.wait_until_known(**{f"vnet{number}": number for number in numbers})
        yield stage


def worker(stage: Scene) -> int:
    """Return the process id of the worker."""

    def pid() -> int:
        return int(stage.daemon.status()["workers"][0]["pid"] or 0)

    return eventually(pid, BACK_OFF + RESTART_TIME)


def guest(stage: Scene, number: int) -> Guest:
    return stage.lab.guests[f"vm{number}"]


# -- its death --


def test_a_worker_killed_mid_answer_cuts_it_and_a_retry_succeeds(stage: Scene) -> None:
    (before,) = stage.daemon.status()["workers"]
    reader = guest(stage, LARGE)
    with KeepAlive(reader) as connection:
        connection.ask(USER_DATA)
        came = connection.socket.recv(1000)
        assert came.startswith(b"HTTP/1.1 200 OK\r\n")
        assert f"Content-Length: {MIB}\r\n".encode() in came
        os.kill(before["pid"], signal.SIGKILL)
        killed = time.monotonic()
        # At once: a connection made now waits for the next worker.
        assert len(reader.get(USER_DATA, timeout=RESTART_TIME).body) == MIB
        again = time.monotonic() - killed
        came += connection.rest()
    assert len(came) < MIB  # cut, and not completed by the next worker
    print(f"\nanswered again {again:.2f} s after the worker was killed")
    assert again < RESTART_TIME
    (after,) = stage.daemon.status()["workers"]
    assert (after["restarts"], after["pid"] != before["pid"]) == (before["restarts"] + 1, True)


def test_requests_while_a_worker_starts_are_queued_not_refused(stage: Scene) -> None:
    pid = worker(stage)
    os.kill(pid, signal.SIGSTOP)  # otherwise it might answer some before it dies
    os.kill(pid, signal.SIGKILL)
    connections = {number: KeepAlive(guest(stage, number)) for number in range(COUNT)}
    for connection in connections.values():
        connection.ask(META_DATA)
    found = {number: connection.answer() for number, connection in connections.items()}
    for number, connection in connections.items():
        assert Identity.read(found[number], connection.get(USER_DATA)) == Identity.of(number)
        connection.socket.close()


def test_a_worker_that_hangs_up_on_its_supervisor_is_replaced(stage: Scene) -> None:
    """SIGHUP is what the supervisor's end means to a worker; only root can send it."""
    pid = worker(stage)
    os.kill(pid, signal.SIGHUP)
    eventually(lambda: not is_alive(pid), RESTART_TIME)
    assert Identity.asked_by(guest(stage, 1)) == Identity.of(1)
    assert worker(stage) != pid


def test_counts_survive_the_worker(stage: Scene) -> None:
    before = stage.status_of("vnet2")["requests"]["200"]  # so the supervisor has the worker's counts
    os.kill(worker(stage), signal.SIGKILL)
    guest(stage, 2).get(META_DATA)
    assert stage.status_of("vnet2")["requests"]["200"] == before + 1


# -- what a compromised worker tries --


def test_a_listening_socket_that_a_worker_shut_down_is_made_anew(stage: Scene) -> None:
    pid = worker(stage)
    for copy in duplicated_sockets(pid):
        if copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            copy.shutdown(socket.SHUT_RDWR)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: worker(stage) != pid, BACK_OFF + RESTART_TIME)
    eventually(lambda: answers(stage, 1), RESTART_TIME)


def answers(stage: Scene, number: int) -> bool:
    try:
        return Identity.asked_by(guest(stage, number)) == Identity.of(number)
    except OSError:
        return False


def test_a_worker_that_floods_the_log_adds_little_to_it(stage: Scene) -> None:
    pipe = duplicated_fd(worker(stage), 2)
    size = stage.daemon.log.stat().st_size
    end = time.monotonic() + 2
    while time.monotonic() < end:
        try:
            os.write(pipe, b"\x1b[31mflood\n" * 400)
        except BlockingIOError:
            time.sleep(0.01)
    os.close(pipe)
    grown = stage.daemon.log.read_bytes()[size:]
    assert b"worker 0: \\x1b[31mflood\n" in grown
    assert b"\x1b" not in grown
    assert len(grown) < 10_000
    # The pipe is full, and the death of a worker with a full pipe must be noticed.
    assert Identity.asked_by(guest(stage, 1)) == Identity.of(1)
    pid = worker(stage)
    os.kill(pid, signal.SIGKILL)
    assert Identity.asked_by(guest(stage, 1)) == Identity.of(1)
    assert worker(stage) != pid


def test_a_worker_that_floods_its_supervisor_is_killed(stage: Scene) -> None:
    pid = worker(stage)
    frame = json.dumps({"message": "Counts", "counts": {"1": {"timeout": 2**60}}}).encode() + b"\n"
    frames = (struct.pack("!I", len(frame)) + frame) * 1000
    for copy in duplicated_sockets(pid):
        if is_channel(copy):
            copy.settimeout(RESTART_TIME)
            with contextlib.suppress(ConnectionError):
                for _ in range(100):
                    copy.sendall(frames)
            break
    eventually(lambda: worker(stage) != pid, BACK_OFF + RESTART_TIME)
    assert "it sent more than any sound worker sends" in stage.daemon.log_tail(5)
    assert Identity.asked_by(guest(stage, 1)) == Identity.of(1)
    assert stage.status_of("vnet1")["requests"].get("timeout", 0) < 2**53


# -- what it may do --


def test_a_worker_has_a_user_of_its_own_without_groups_and_capabilities(stage: Scene) -> None:
    status = proc_status(worker(stage))
    uid = int(status["Uid"].split()[0])
    assert uid >= FIRST
    assert status["Uid"].split() == status["Gid"].split() == [str(uid)] * 4
    assert status["Groups"] == ""
    capabilities = {key: int(value, 16) for key, value in status.items() if key.startswith("Cap")}
    assert capabilities == dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), 0)
    assert status["NoNewPrivs"] == "1"


def test_a_workers_network_is_the_private_one_alone(stage: Scene) -> None:
    private = (RUN_NETNS / stage.lab.name).stat().st_ino
    assert Path(f"/proc/{worker(stage)}/ns/net").stat().st_ino == private
    assert stage.daemon.process is not None
    hypervisor = (RUN_NETNS / stage.lab.host.name).stat().st_ino
    assert Path(f"/proc/{stage.daemon.process.pid}/ns/net").stat().st_ino == hypervisor


def test_a_workers_file_system_is_an_empty_folder(stage: Scene) -> None:
    root = Path(f"/proc/{worker(stage)}/root")
    assert root.readlink() == stage.daemon.directory / "run" / "root"
    assert list(root.iterdir()) == []
    assert (root.stat().st_uid, root.stat().st_mode & 0o777) == (0, 0o755)
    assert Path(f"/proc/{worker(stage)}/cwd").readlink() == stage.daemon.directory / "run" / "root"


def test_a_worker_holds_no_file_but_its_sockets_and_a_pipe_for_the_log(stage: Scene) -> None:
    pid = worker(stage)
    names = {int(fd.name): str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    assert names.pop(2).startswith("pipe:")  # neither the log nor the terminal
    sockets = {name[len("socket:[") : -1] for name in names.values() if name.startswith("socket:")}
    kinds = sorted(name.partition("[")[0] for name in names.values() if not name.startswith("socket:"))
    assert kinds == [
        "/memfd:eve-meta (deleted)",  # the large user data of one domain
        "anon_inode:",  # epoll
        "pipe:",  # both ends of the pipe by which the reactor wakes itself
        "pipe:",
    ]
    # TCP sockets that listen in the worker's network namespace, and two unix sockets, to the supervisor: one carries
    # messages, the other descriptors of sealed memory.
    listening = {
        fields[9]
        for table in ("tcp", "tcp6")
        for fields in map(str.split, proc(pid, f"net/{table}").splitlines()[1:])
        if fields[3] == "0A"
    }
    assert listening & sockets
    assert len(sockets - listening) == 2


def test_a_worker_has_no_terminal_and_is_in_no_session_that_has_one(stage: Scene) -> None:
    pid = worker(stage)
    _, group, session, terminal = map(int, proc(pid, "stat").rpartition(")")[2].split()[1:5])
    assert (group, session, terminal) == (pid, pid, 0)


def test_a_workers_environment_is_empty(stage: Scene) -> None:
    assert proc(worker(stage), "environ") == ""


def test_a_workers_memory_is_in_no_core_file_and_it_has_no_children(stage: Scene) -> None:
    pid = worker(stage)
    limits = {line[:26].strip(): line[26:].split()[:2] for line in proc(pid, "limits").splitlines()}
    assert limits["Max processes"] == ["0", "0"]
    assert limits["Max core file size"] == ["0", "0"]
    assert proc(pid, f"task/{pid}/children") == ""
