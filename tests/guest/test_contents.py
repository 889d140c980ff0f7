"""Guests with large documents: their cost for neighbours and host, and the bytes, which no worker can change."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import signal
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eve_meta.runtime.sealed import SEALS
from harness.guests import Guest
from tests.guest.scene import (
    META_DATA,
    USER_DATA,
    Identity,
    KeepAlive,
    Scene,
    domain,
    duplicated_fd,
    eventually,
    proc_status,
    scene,
    uuid_of,
)

pytestmark = pytest.mark.alone

MIB = 1024 * 1024

HEAVY = (1, 2, 3, 4)
"""The guests with 16 MiB of user data each."""

NEIGHBOUR = 9

LARGE = 16 * MIB

LOOKS = 200
"""Requests of the neighbour whose times are compared."""

MUCH_SLOWER, NOISE = 10.0, 0.02
"""The neighbour may wait as many times as long as before, and as many seconds: it waits 0.4 s where each request of the
others makes the worker decode its domain."""


def large_user_data(number: int) -> bytes:
    return bytes([number]) * LARGE


@pytest.fixture(scope="module")
def stage() -> Iterator[Scene]:
    domains = {f"vm{number}": domain(number, f"vnet{number}") for number in (*HEAVY, NEIGHBOUR)}
    for number in HEAVY:
        del domains[f"vm{number}"]["user_data"]
        domains[f"vm{number}"]["user_data_file"] = f"blob{number}"
    with scene("emg-contents", domains, started=False) as stage:
        for number in HEAVY:
            path = stage.daemon.domains / f"blob{number}"
            path.write_bytes(large_user_data(number))
            path.chmod(0o600)
        stage.daemon.start()
        for number in (*HEAVY, NEIGHBOUR):
            stage.lab.guest(f"vm{number}", tap=f"vnet{number}", bridge="br0")
        stage.wait_until_known(**{f"vnet{number}": number for number in (*HEAVY, NEIGHBOUR)})
        eventually(lambda: all(guest(stage, n).get(META_DATA).status == 200 for n in (*HEAVY, NEIGHBOUR)), 20)
        yield stage


def guest(stage: Scene, number: int) -> Guest:
    return stage.lab.guests[f"vm{number}"]


def worker(stage: Scene) -> int:
    return int(stage.daemon.status()["workers"][0]["pid"])


def supervisor(stage: Scene) -> int:
    assert stage.daemon.process is not None
    return stage.daemon.process.pid


def resident(pid: int) -> int:
    """Return the resident memory of the process *pid* in bytes."""
    return int(proc_status(pid)["VmRSS"].split()[0]) * 1024


@contextlib.contextmanager
def looping(*actions: Callable[[], object]) -> Iterator[None]:
    """Have a thread for each of *actions* call it again and again."""
    ended = threading.Event()

    def loop(action: Callable[[], object]) -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError):
                action()

    threads = [threading.Thread(target=loop, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def wait_of_neighbour(stage: Scene) -> float:
    """Return the seconds within which nine of ten requests of the neighbour are answered."""
    times = []
    for _ in range(LOOKS):
        began = time.monotonic()
        assert guest(stage, NEIGHBOUR).get(META_DATA).status == 200
        times.append(time.monotonic() - began)
        time.sleep(0.005)  # within the guest's limit
    return statistics.quantiles(times, n=10)[-1]


def test_large_user_data_arrive_whole(stage: Scene) -> None:
    for number in HEAVY:
        answer = guest(stage, number).get(USER_DATA)
        assert (answer.status, answer.body == large_user_data(number)) == (200, True)
        again = guest(stage, number).get(USER_DATA, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status, again.body) == (304, b"")


def test_guests_with_large_user_data_that_ask_in_a_loop_do_not_keep_a_neighbour_waiting(stage: Scene) -> None:
    quiet = wait_of_neighbour(stage)
    with looping(*(lambda number=number: guest(stage, number).get(META_DATA) for number in HEAVY)):
        busy = wait_of_neighbour(stage)
    print(f"\nthe neighbour waits {quiet * 1000:.1f} ms, and {busy * 1000:.1f} ms beside the others")
    assert busy < MUCH_SLOWER * quiet + NOISE


def test_guests_that_read_large_user_data_slowly_on_all_their_connections_cost_little_memory(stage: Scene) -> None:
    """Their requests alternate: a cache with no room for all of them makes each domain ready again each time."""
    pid = worker(stage)
    before = resident(pid)
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in range(30):
            for number in HEAVY:
                connection = stack.enter_context(KeepAlive(guest(stage, number)))
                connection.ask(USER_DATA)
                assert connection.socket.recv(1)
                connections.append(connection)
        for _ in range(4):
            time.sleep(0.5)
            for connection in connections:
                with contextlib.suppress(BlockingIOError):
                    connection.socket.recv(4096, socket.MSG_DONTWAIT)
        grown = resident(pid) - before
        assert Identity.asked_by(guest(stage, NEIGHBOUR)) == Identity.of(NEIGHBOUR)
    print(f"\nthe worker grew by {grown / MIB:.0f} MiB for {len(connections)} slow readers")
    assert grown < 64 * MIB


def test_one_content_is_held_once_however_many_domains_have_it(stage: Scene) -> None:
    count, size = 60, MIB
    shared = stage.daemon.domains / "shared"
    shared.write_bytes(os.urandom(size))
    shared.chmod(0o600)
    pids = (supervisor(stage), worker(stage))
    before = [resident(pid) for pid in pids]
    numbers = range(100, 100 + count)
    for number in numbers:
        plain = domain(number, f"vnet{number}", user_data_file="shared")
        del plain["user_data"]
        stage.daemon.write_domain(f"vm{number}", plain)
    stage.lab.host.ip(*(f"tuntap add vnet{number} mode tap" for number in numbers))
    try:
        wanted = {uuid_of(number) for number in numbers}
        eventually(lambda: wanted <= {(tap["domain"] or {}).get("uuid") for tap in stage.daemon.status()["taps"]}, 20)
        time.sleep(1)
        grown = [resident(pid) - was for pid, was in zip(pids, before, strict=True)]
        print(f"\nsupervisor and worker grew by {[round(each / MIB) for each in grown]} MiB for {count} x {size} bytes")
        assert max(grown) < count * size / 3
    finally:
        stage.lab.host.ip(*(f"link delete vnet{number}" for number in numbers))
        for number in numbers:
            Path(stage.daemon.domains / f"vm{number}.yaml").unlink()
        shared.unlink()


def memories(pid: int) -> list[int]:
    """Return the descriptors of sealed memory that the process *pid* holds."""
    found = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed by now
            if "memfd:" in str(fd.readlink()):
                found.append(int(fd.name))
    return found


def test_a_worker_can_only_read_the_bytes_that_it_shares(stage: Scene) -> None:
    """The worker's descriptors are tried here with root's privileges, of which the worker has none."""
    found = {}
    for fd in memories(worker(stage)):
        copy = duplicated_fd(worker(stage), fd)
        seals = fcntl.fcntl(copy, fcntl.F_GET_SEALS)
        assert seals & SEALS == SEALS
        attempts: tuple[Callable[[int], object], ...] = (
            lambda fd: os.pwrite(fd, b"x", 0),
            lambda fd: os.ftruncate(fd, 0),
            lambda fd: mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE),
            lambda fd: os.pwrite(os.open(f"/proc/self/fd/{fd}", os.O_RDWR), b"x", 0),
        )
        for attempt in attempts:
            with pytest.raises(OSError, match=r"Errno (9|13|22|1)\b"):
                attempt(copy)
        found[os.pread(copy, 1, 0)] = os.fstat(copy).st_size
        os.lseek(copy, 7, os.SEEK_SET)
        os.close(copy)
    assert found == {bytes([number]): LARGE for number in HEAVY}
    for number in HEAVY:
        assert guest(stage, number).get(USER_DATA).body == large_user_data(number)


def test_a_content_goes_with_the_last_domain_that_has_it(stage: Scene) -> None:
    pid, (number, *others) = worker(stage), HEAVY
    file = stage.daemon.domains / f"vm{number}.yaml"
    plain = file.read_text()
    assert len(memories(pid)) == len(HEAVY)
    with KeepAlive(guest(stage, number)) as connection:
        connection.ask(USER_DATA)
        assert connection.socket.recv(1)
        file.unlink()
        eventually(lambda: len(memories(pid)) == len(others), 5)
        assert len(connection.rest()) < LARGE
    file.write_text(plain)
    eventually(lambda: len(memories(pid)) == len(HEAVY), 5)
    eventually(lambda: guest(stage, number).get(USER_DATA).body == large_user_data(number), 5)


def test_a_new_worker_gets_the_contents_anew(stage: Scene) -> None:
    pid = worker(stage)
    os.kill(pid, signal.SIGKILL)
    for number in HEAVY:
        assert guest(stage, number).get(USER_DATA).body == large_user_data(number)
    assert worker(stage) != pid
    assert len(memories(worker(stage))) == len(HEAVY)
