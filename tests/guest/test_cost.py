"""What a thousand domains cost the host: some memory, and little processor time at rest."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator

import pytest
from attrs import frozen

from tests.guest.scene import META_DATA, USER_DATA, Identity, Scene, domain, eventually, proc, proc_status, scene

pytestmark = pytest.mark.alone

COUNT = 1000
SAMPLE = tuple(range(0, COUNT, 100))
"""The numbers of the domains that have a guest; the other taps have none behind them."""

DOCUMENT = 2048
"""Bytes of each domain's user data."""

MAX_RESIDENT = (50 if sys.version_info >= (3, 13) else 48) * 1024
"""KiB of resident memory that the supervisor and the worker may each have: 45.6 MiB were seen of the one and 45.1 of
the other. Python 3.13 has more of its own than 3.11."""

REST = 5.0

MAX_AT_REST = 0.01
"""The share of one processor that each process may use at rest. The heartbeat, and each second a look at the path, take
the supervisor 0.3 % and a worker 0.15 %."""


FEW = SAMPLE[:3]


@frozen
class Stage:
    """A daemon with a thousand domains, and the KiB that each of its processes had with three domains."""

    scene: Scene
    small: dict[str, int]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    filler = "#" * (DOCUMENT - 64)

    def write(number: int) -> None:
        text = f"{Identity.of(number).user_data.decode()}{filler}"
        running.daemon.write_domain(f"vm{number}", domain(number, f"vnet{number}", user_data=text))

    def all_known(count: int) -> bool:
        taps = running.daemon.status()["taps"]
        with_carrier = sum(tap["carrier"] for tap in taps)
        return len(taps) == count and with_carrier == len(running.lab.guests) and all(tap["domain"] for tap in taps)

    with scene("emg-cost", {}) as running:
        for number in FEW:
            write(number)
            running.lab.guest(f"vm{number}", tap=f"vnet{number}")
        eventually(lambda: all_known(len(FEW)), 5)
        ask(running, FEW)
        small = resident(running)
        running.daemon.stop()
        for number in range(COUNT):
            write(number)
        running.daemon.start()
        for number in SAMPLE[len(FEW) :]:
            running.lab.guest(f"vm{number}", tap=f"vnet{number}")
        bare = [f"vnet{number}" for number in range(COUNT) if number not in SAMPLE]
        running.lab.host.ip(*(f"tuntap add {tap} mode tap" for tap in bare), *(f"link set {tap} up" for tap in bare))
        eventually(lambda: all_known(COUNT), 30)
        yield Stage(running, small)


def ask(stage: Scene, numbers: Iterable[int]) -> None:
    """Let guests read their documents, and check that these are their own."""
    for number in numbers:
        guest = stage.lab.guests[f"vm{number}"]
        meta_data, user_data = guest.get(META_DATA), guest.get(USER_DATA)
        own = Identity.of(number)
        assert Identity.read(meta_data, user_data._replace(body=user_data.body.rstrip(b"#"))) == own
        assert len(user_data.body) > DOCUMENT - 64


def resident(stage: Scene) -> dict[str, int]:
    """Return the KiB of resident memory of each process."""
    return {name: int(proc_status(pid)["VmRSS"].split()[0]) for name, pid in processes(stage).items()}


def processes(stage: Scene) -> dict[str, int]:
    assert stage.daemon.process is not None
    (worker,) = stage.daemon.status()["workers"]
    return {"supervisor": stage.daemon.process.pid, "worker": worker["pid"]}


def ticks(pid: int) -> int:
    """Return the processor time of a process so far, in user and kernel mode."""
    fields = proc(pid, "stat").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_thousand_domains_each_read_their_own_documents(stage: Stage) -> None:
    ask(stage.scene, SAMPLE)


def test_supervisor_and_worker_stay_small(stage: Stage) -> None:
    ask(stage.scene, SAMPLE)  # a worker that never answered would be smaller than one that has
    large = resident(stage.scene)
    print(f"\nresident, in KiB, with {len(FEW)} domains: {stage.small}; with {COUNT} of {DOCUMENT} bytes: {large}")
    assert stage.small["supervisor"] < MAX_RESIDENT
    assert large["worker"] < MAX_RESIDENT


def test_little_runs_at_rest(stage: Stage) -> None:
    pids = processes(stage.scene)
    per_second = os.sysconf("SC_CLK_TCK")
    time.sleep(2)  # work that the requests before caused: the worker sends its counts a second later
    for _ in range(3):
        before = {name: ticks(pid) for name, pid in pids.items()}
        time.sleep(REST)
        used = {name: ticks(pid) - before[name] for name, pid in pids.items()}
        # For a minute after a tap appeared the daemon searches for its QEMU every five seconds; these taps have none.
        if max(used.values()) <= MAX_AT_REST * REST * per_second:
            break
    print(f"\nprocessor time over {REST:.0f} s at rest, in ticks of 1/{per_second} s: {used}")
    assert max(used.values()) <= MAX_AT_REST * REST * per_second, used
