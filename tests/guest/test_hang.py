"""A worker that does not answer its supervisor, for whatever reason, is replaced; a busy one is not."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from eve_meta.supervisor.worker_process import STEADY_TIME
from tests.guest.compromised import compromised_scene, post_python
from tests.guest.scene import META_DATA, USER_DATA, Identity, KeepAlive, Scene, domain, eventually

pytestmark = pytest.mark.alone

COUNT = 4
WORKERS = 2
LARGE = 9
LARGEST = 16 * 1024 * 1024

REPLACED_TIME = 3.0
"""Seconds within which the process of a worker that hangs is replaced by another."""

START_TIME = 3.0
"""Seconds that the new process takes, on a busy machine, until it answers."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Scene]:
    domains = {f"vm{number}": domain(number, f"vnet{number}") for number in range(COUNT)}
    with compromised_scene("emg-hang", domains, settings=f"[web]\nworkers = {WORKERS}\n") as stage:
        for number in range(COUNT):
            stage.lab.guest(f"vm{number}", tap=f"vnet{number}", bridge="br0")
        stage.wait_until_known(**{f"vnet{number}": number for number in range(COUNT)})
        yield stage


def workers(stage: Scene) -> list[dict[str, Any]]:
    """Wait until every worker runs, and return what ``status`` shows of each."""

    def running() -> list[dict[str, Any]]:
        shown: list[dict[str, Any]] = stage.daemon.status()["workers"]
        return shown if all(worker["pid"] for worker in shown) else []

    return eventually(running, START_TIME)


def all_are_answered(stage: Scene) -> bool:
    """Return whether each guest reads its own documents, on new connections."""
    try:
        found = [Identity.asked_by(stage.lab.guests[f"vm{number}"]) for number in range(COUNT)]
    except (OSError, AssertionError):
        return False
    assert found == [Identity.of(number) for number in range(COUNT)]
    return True


def events(stage: Scene, kind: str) -> list[dict[str, Any]]:
    output = stage.lab.host.run(*stage.daemon.command("events", "--json")).stdout
    return [event for event in map(json.loads, output.splitlines()) if event["event"] == kind]


def seconds_of(event: Mapping[str, Any]) -> float:
    """Return when *event* happened, in seconds since the epoch."""
    return datetime.datetime.fromisoformat(event["time"].replace("Z", "+00:00")).timestamp()


def lived(stage: Scene, number: int) -> float:
    """Return the age of the process of worker *number*, in seconds."""
    started = [event for event in events(stage, "worker-started") if event["worker"] == number]
    return time.time() - seconds_of(started[-1])


def longest_lived(stage: Scene) -> int:
    """Return the number of the worker whose process is the oldest: of it a test need not wait until it is steady."""
    return max(range(WORKERS), key=lambda number: lived(stage, number))


def check_replaced(stage: Scene, number: int, hang: Callable[[int], None]) -> None:
    """Check that worker *number* is replaced after *hang* was called with its process id, and that it is noticed."""
    eventually(lambda: all_are_answered(stage), START_TIME)
    # A worker that dies again and again waits longer each time until it is started.
    eventually(lambda: lived(stage, number) > STEADY_TIME, STEADY_TIME + START_TIME)
    before, earlier = workers(stage), len(events(stage, "worker-hung"))
    hung = time.time()
    hang(before[number]["pid"])
    # A request to the hung worker waits for the next one, and is not refused.
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(KeepAlive(stage.lab.guests[f"vm{each}"])) for each in range(COUNT)]
        for connection in connections:
            connection.ask(META_DATA)
        for each, connection in enumerate(connections):
            assert Identity.read(connection.answer(), connection.get(USER_DATA)) == Identity.of(each)
    answered = time.time() - hung
    started = events(stage, "worker-started")[-1]
    replaced = seconds_of(started) - hung
    print(f"\nreplaced after {replaced:.2f} s, all guests answered after {answered:.2f}")
    assert replaced < REPLACED_TIME
    assert answered < REPLACED_TIME + START_TIME
    after = workers(stage)
    assert (started["worker"], started["pid"]) == (number, after[number]["pid"])
    assert after[number]["hangs"] == before[number]["hangs"] + 1
    assert after[1 - number] == before[1 - number]
    (event,) = events(stage, "worker-hung")[earlier:]
    assert (event["worker"], event["pid"]) == (number, before[number]["pid"])
    assert f"worker {number} (pid {before[number]['pid']}) is killed: it has not answered" in stage.daemon.log_tail(20)


def test_a_worker_that_is_stopped_is_replaced(stage: Scene) -> None:
    check_replaced(stage, longest_lived(stage), lambda pid: os.kill(pid, signal.SIGSTOP))


@pytest.mark.parametrize(
    "program",
    [
        pytest.param("while True: pass", id="in-python"),
        pytest.param("pow(3, 10**9)", id="in-c"),
        pytest.param("signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)); time.sleep(1000)", id="asleep"),
    ],
)
def test_a_worker_that_spins_or_sleeps_is_replaced(stage: Scene, program: str) -> None:
    number = longest_lived(stage)
    guest = next(
        stage.lab.guests[f"vm{each}"]
        for each in range(COUNT)
        if stage.status_of(f"vnet{each}")["tag"] % WORKERS == number
    )

    def hang(_pid: int) -> None:
        with contextlib.suppress(OSError):
            post_python(guest, program, timeout=0.2)

    check_replaced(stage, number, hang)


def test_a_worker_and_its_supervisor_that_are_stopped_together_go_on_together(stage: Scene) -> None:
    """So it is when the host is a VM that was paused, or when the service's cgroup was frozen."""
    eventually(lambda: all_are_answered(stage), START_TIME)
    before = workers(stage)
    assert stage.daemon.process is not None
    pids = [stage.daemon.process.pid, *(worker["pid"] for worker in before)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(5)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: all_are_answered(stage), 1)
    time.sleep(3)
    assert workers(stage) == before


def test_a_supervisor_that_was_stopped_blames_no_worker(stage: Scene) -> None:
    before = workers(stage)
    assert stage.daemon.process is not None
    stage.daemon.process.send_signal(signal.SIGSTOP)
    time.sleep(5)
    stage.daemon.process.send_signal(signal.SIGCONT)
    eventually(lambda: all_are_answered(stage), 1)
    time.sleep(3)
    assert workers(stage) == before


def test_a_worker_that_is_busy_lives_on(stage: Scene) -> None:
    """Its guests flood it and read the largest user data, while a thousand domains and more of these are sent to it."""
    guest = stage.lab.guests["vm1"]
    stage.daemon.write_domain("large", domain(LARGE, f"vnet{LARGE}", user_data="A" * LARGEST))
    reader = stage.lab.guest("large", tap=f"vnet{LARGE}", bridge="br0")
    stage.wait_until_known(**{f"vnet{LARGE}": LARGE})
    before = workers(stage)
    end = threading.Event()

    def flood() -> None:
        while not end.is_set():
            with contextlib.suppress(OSError):
                guest.get(META_DATA, timeout=5)

    threads = [threading.Thread(target=flood) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        for number in range(5):
            stage.daemon.write_domain(
                "large", domain(LARGE, f"vnet{LARGE}", user_data=str(number) * LARGEST, hostname=f"vm{number}")
            )
            for each in range(100, 1100, 5):
                stage.daemon.write_domain(f"vm{each}", domain(each, f"vnet{each}", hostname=f"vm{each}-{number}"))
            assert len(reader.get(USER_DATA, timeout=30).body) == LARGEST
            time.sleep(1)
    finally:
        end.set()
        for thread in threads:
            thread.join()
    assert workers(stage) == before
