"""Several workers: each has guests of its own, and all guests are served as with one worker."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from eve_meta.supervisor.worker_process import RESTART_DELAYS
from eve_meta.values.request_kind import RequestKind
from eve_meta.values.tag import worker_of_tag
from eve_meta.web.limits import DEFAULT_BURST, DEFAULT_MAX_CONNECTIONS, DEFAULT_RATE
from eve_meta.wire.requests import Row, pack
from tests.guest.scene import (
    META_DATA,
    Identity,
    KeepAlive,
    Scene,
    domain,
    duplicated_sockets,
    eventually,
    is_channel,
    scene,
)

COUNT = 6
WORKERS = 3

RESTORE_TIME = 5.0

SO_DETACH_FILTER, SO_DETACH_REUSEPORT_BPF = 27, 68  # of Linux's asm-generic/socket.h


@pytest.fixture(scope="module")
def stage() -> Iterator[Scene]:
    domains = {f"vm{number}": domain(number, f"vnet{number}") for number in range(COUNT)}
    with scene("emg-workers", domains, settings=f"[web]\nworkers = {WORKERS}\n") as stage:
        for number in range(COUNT):
            stage.lab.guest(f"vm{number}", tap=f"vnet{number}", bridge="br0")
        stage.wait_until_known(**{f"vnet{number}": number for number in range(COUNT)})
        yield stage


def pids(stage: Scene) -> list[int]:
    """Wait until all workers run, and return their process ids."""

    def found() -> list[int]:
        of_all = [worker["pid"] for worker in stage.daemon.status()["workers"]]
        return of_all if all(of_all) else []

    return eventually(found, RESTORE_TIME)


def _pid(stage: Scene, worker: int) -> int | None:
    pid: int | None = stage.daemon.status()["workers"][worker]["pid"]
    return pid


def worker_of(stage: Scene, number: int) -> int:
    """Return the number of the worker that answers guest *number*."""
    return worker_of_tag(stage.status_of(f"vnet{number}")["tag"], WORKERS)


def all_answered(stage: Scene) -> bool:
    try:
        found = [Identity.asked_by(stage.lab.guests[f"vm{number}"]) for number in range(COUNT)]
    except (OSError, AssertionError):
        return False
    assert found == [Identity.of(number) for number in range(COUNT)]
    return True


def is_answered(stage: Scene, number: int) -> bool:
    with contextlib.suppress(OSError):
        return stage.lab.guests[f"vm{number}"].get(META_DATA, timeout=0.5).status == 200
    return False


def test_every_worker_answers_guests_and_only_its_own(stage: Scene) -> None:
    eventually(lambda: all_answered(stage), RESTORE_TIME)
    owners = {f"vnet{number}": worker_of(stage, number) for number in range(COUNT)}
    assert set(owners.values()) == set(range(WORKERS))

    def fetched() -> dict[str, int]:
        output = stage.lab.host.run(*stage.daemon.command("events", "--json")).stdout
        events = map(json.loads, output.splitlines())
        return {event["tap"]: event["worker"] for event in events if event["event"] == "first-fetch"}

    eventually(lambda: fetched() == owners, RESTORE_TIME)  # workers send their counts within a second


def test_the_limit_of_connections_is_the_same_as_with_one_worker(stage: Scene) -> None:
    guest = stage.lab.guests["vm1"]
    with contextlib.ExitStack() as stack:
        for _ in range(DEFAULT_MAX_CONNECTIONS):
            assert stack.enter_context(KeepAlive(guest)).get(META_DATA).status == 200
        with pytest.raises(OSError):  # the connection ended; the error does not matter
            KeepAlive(guest).get(META_DATA)


def test_the_limit_of_requests_is_the_same_as_with_one_worker(stage: Scene) -> None:
    guest = stage.lab.guests["vm2"]
    began = time.monotonic()
    answered = 0
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(KeepAlive(guest)) for _ in range(8)]
        while all(connection.get(META_DATA).status == 200 for connection in connections):
            answered += len(connections)
            assert answered < WORKERS * DEFAULT_BURST
    assert DEFAULT_BURST - 8 <= answered <= DEFAULT_BURST + DEFAULT_RATE * (time.monotonic() - began) + 8


def test_the_guests_of_other_workers_do_not_notice_when_a_worker_dies(stage: Scene) -> None:
    (other,) = {1} if worker_of(stage, 0) != worker_of(stage, 1) else {2}
    with KeepAlive(stage.lab.guests[f"vm{other}"]) as connection:
        assert connection.get(META_DATA).status == 200
        os.kill(pids(stage)[worker_of(stage, 0)], signal.SIGKILL)
        for _ in range(20):
            assert connection.get(META_DATA).status == 200
        assert Identity.asked_by(stage.lab.guests["vm0"]) == Identity.of(0)
        assert connection.get(META_DATA).status == 200


def test_a_change_is_never_taken_back(stage: Scene) -> None:
    """Whichever worker answers: after a guest has read the new name, it never reads the old one again."""
    guest = stage.lab.guests["vm3"]
    changes, seen, ended = 30, list[list[int]](), threading.Event()

    def ask() -> None:
        names: list[int] = []
        while not ended.is_set():
            names.append(int(json.loads(guest.get(META_DATA).body)["hostname"].removeprefix("h") or 0))
            time.sleep(0.02)  # with four of these, within the guest's limit
        seen.append(names)

    stage.daemon.write_domain("vm3", domain(3, "vnet3", hostname="h0"))
    eventually(lambda: json.loads(guest.get(META_DATA).body)["hostname"] == "h0", RESTORE_TIME)
    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    for change in range(1, changes + 1):
        stage.daemon.write_domain("vm3", domain(3, "vnet3", hostname=f"h{change}"))
        name = f"h{change}"
        eventually(lambda name=name: json.loads(guest.get(META_DATA).body)["hostname"] == name, RESTORE_TIME)  # type: ignore[misc]
    ended.set()
    for asker in askers:
        asker.join()
    assert len(seen) == len(askers)
    for names in seen:
        assert names == sorted(names)
        assert len(set(names)) > 2
    stage.daemon.write_domain("vm3", domain(3, "vnet3"))
    eventually(lambda: Identity.asked_by(guest) == Identity.of(3), RESTORE_TIME)


def listeners_of(pid: int) -> Iterator[socket.socket]:
    """Yield a duplicate of each listening socket of the process *pid*: an attacker's hold of it, without a sandbox."""
    for copy in duplicated_sockets(pid):
        if copy.family in (socket.AF_INET, socket.AF_INET6) and copy.type == socket.SOCK_STREAM:
            yield copy


def counted(stage: Scene) -> list[int]:
    """Return how many requests of each guest were answered."""
    return [stage.status_of(f"vnet{number}")["requests"]["200"] for number in range(COUNT)]


def test_a_compromised_worker_that_detaches_the_choice_of_workers_gains_nothing(stage: Scene) -> None:
    before, answered = pids(stage), counted(stage)
    for copy in listeners_of(before[0]):
        for option in (SO_DETACH_REUSEPORT_BPF, SO_DETACH_FILTER):
            with contextlib.suppress(OSError):
                copy.setsockopt(socket.SOL_SOCKET, option, 0)
    for _ in range(5):
        assert all_answered(stage)
    # Each guest's worker counted all of them; one that had had another's guest would have been killed.
    eventually(lambda: all(now >= then + 5 for now, then in zip(counted(stage), answered, strict=True)), RESTORE_TIME)
    assert pids(stage) == before


@pytest.mark.parametrize(("number", "family"), [(0, socket.AF_INET), (1, socket.AF_INET6)], ids=["IPv4", "IPv6"])
def test_a_compromised_worker_that_shuts_its_sockets_harms_its_own_guests_alone_and_briefly(
    stage: Scene, number: int, family: socket.AddressFamily
) -> None:
    before = pids(stage)
    compromised = worker_of(stage, number)
    neighbours = [each for each in range(COUNT) if worker_of(stage, each) != compromised]
    copies = [copy.dup() for copy in listeners_of(before[compromised]) if copy.family == family]
    assert copies
    for copy in copies:
        copy.shutdown(socket.SHUT_RDWR)
    began = time.monotonic()
    while not (_pid(stage, compromised) not in (None, before[compromised]) and is_answered(stage, number)):
        for neighbour in neighbours:
            assert Identity.asked_by(stage.lab.guests[f"vm{neighbour}"]) == Identity.of(neighbour)
        assert time.monotonic() - began < 3.0
    for copy in copies:
        with pytest.raises(OSError):  # whoever still holds it has a port to which no rule leads
            copy.accept()
        copy.close()
    after = pids(stage)
    assert [old == new for old, new in zip(before, after, strict=True)] == [
        worker != compromised for worker in range(WORKERS)
    ]
    assert all_answered(stage)
    assert f"worker {compromised} has damaged a socket that guests connect to" in stage.daemon.log.read_text()


def test_a_successor_is_not_hung_by_sockets_that_block(stage: Scene) -> None:
    """A compromised worker can make the sockets that it shares with its successor block, and let few wait."""
    compromised = worker_of(stage, 2)
    before = pids(stage)[compromised]
    for copy in listeners_of(before):
        if copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            copy.setblocking(True)
            copy.listen(0)
    hangs = stage.daemon.status()["workers"][compromised]["hangs"]
    os.kill(before, signal.SIGKILL)
    eventually(lambda: _pid(stage, compromised) not in (None, before), RESTART_DELAYS[-1] + RESTORE_TIME)
    eventually(lambda: is_answered(stage, 2), RESTORE_TIME)
    time.sleep(3)  # a worker that hangs is killed after two seconds
    assert stage.daemon.status()["workers"][compromised]["hangs"] == hangs
    assert {line.split()[2] for line in stage.private.run("ss", "-Htln").stdout.splitlines()} == {"4096"}


def test_a_worker_that_is_compromised_again_and_again_does_not_disturb_the_guests_of_others(stage: Scene) -> None:
    """It claims that another worker's guest asked it, as often as it can."""
    number = next(number for number in range(COUNT) if worker_of(stage, number) != worker_of(stage, 0))
    compromised, tag = worker_of(stage, 0), stage.status_of(f"vnet{number}")["tag"]
    others = [pid for worker, pid in enumerate(pids(stage)) if worker != compromised]
    reported = stage.daemon.log.read_text().count("which is another worker's")
    claims: set[int] = set()
    while len(claims) < len(RESTART_DELAYS):
        pid = eventually(
            lambda: stage.daemon.status()["workers"][compromised]["pid"], RESTART_DELAYS[-1] + RESTORE_TIME
        )
        if pid in claims:
            continue
        now = time.monotonic()
        (rows,) = pack([Row(tag, RequestKind.META_DATA, 503, 1, now, now)])
        frame = b'{"message": "RequestRows"}\n' + rows
        (channel,) = (copy.dup() for copy in duplicated_sockets(pid) if is_channel(copy))
        with channel:
            channel.sendall((len(frame).to_bytes(4, "big") + frame) * 200)
        claims.add(pid)
        eventually(
            lambda: stage.daemon.log.read_text().count("which is another worker's") >= reported + len(claims),
            RESTORE_TIME,
        )
        assert is_answered(stage, number)
    assert stage.daemon.log.read_text().count("which is another worker's") == reported + len(claims)
    eventually(
        lambda: stage.daemon.status()["workers"][compromised]["pid"] not in claims | {None},
        RESTART_DELAYS[-1] + RESTORE_TIME,
    )
    assert [pid for worker, pid in enumerate(pids(stage)) if worker != compromised] == others
