"""A hundred taps come and go every second for a minute, as on a host of short-lived VMs."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from attrs import define, field, frozen

from harness.guests import BPFFS, Guest
from harness.pump import open_tap
from tests.guest.asking import in_background
from tests.guest.scene import Hosts, Identity, Scene, domain, eventually, proc_status, scene, uuid_of

pytestmark = pytest.mark.alone

NAME = "emg-churn"
NEIGHBOUR = 0
TAPS = {f"vnet{number}": number for number in range(1, 101)}
GUESTS = ("vnet1", "vnet34", "vnet67", "vnet100")
"""Taps of the last generation that have a guest behind them."""

GENERATIONS = 60
GENERATION = 1.0
"""Seconds of one generation; the taps exist for more than half of it."""

CLOSERS = 10
"""Threads that delete taps. The kernel takes 17 ms for each, and waits most of that time (synchronize_net())."""

WARM = 15
"""Generations until caches are full and Python has allocated the memory that it needs."""

GROWTH = 5 * 1024
"""KiB by which a process may grow from then on, while 9,000 tags are used: 500 bytes for each. A tag that rests takes
less than half of that, for ten minutes."""


@define
class Cost:
    """KiB of resident memory and file descriptors of the daemon's processes, by their names."""

    memory: dict[str, int]
    descriptors: dict[str, int]

    @classmethod
    def read(cls, pids: dict[str, int]) -> Cost:
        return cls(
            {name: int(proc_status(pid)["VmRSS"].split()[0]) for name, pid in pids.items()},
            {name: len(os.listdir(f"/proc/{pid}/fd")) for name, pid in pids.items()},
        )


@define
class AskingNeighbour:
    """The neighbour, which asks all the time."""

    guest: Guest
    took: list[float] = field(factory=list)
    failures: list[str] = field(factory=list)

    def ask(self, ended: threading.Event) -> None:
        while not ended.wait(0.02):
            began = time.monotonic()
            try:
                if (identity := Identity.asked_by(self.guest)) != Identity.of(NEIGHBOUR):
                    self.failures.append(str(identity))
            except (OSError, AssertionError) as error:
                self.failures.append(repr(error))
            self.took.append(time.monotonic() - began)


@frozen
class Stage(Scene):
    """A daemon with the neighbour's tap, and the state of the host at that time."""

    before: Hosts
    pids: dict[str, int]

    def entries(self) -> dict[str, int]:
        """Return the number of entries of each of the daemon's BPF maps."""
        found = {}
        for pin in ("tags", "taps", "counters", "guests"):
            dump = self.lab.host.run("bpftool", "-j", "map", "dump", "pinned", str(BPFFS / NAME / pin)).stdout
            found[pin] = len(json.loads(dump))
        return found

    def all_are_known(self) -> bool:
        wanted = {tap: uuid_of(number) for tap, number in {"vnet0": NEIGHBOUR, **TAPS}.items()}
        shown = {tap["tap"]: tap for tap in self.daemon.status()["taps"]}
        return wanted == {name: (tap["domain"] or {}).get("uuid") for name, tap in shown.items()} and all(
            shown[guest.tap]["carrier"] for guest in self.lab.guests.values() if guest.tap is not None
        )

    def only_the_neighbour_is_left(self) -> bool:
        return [tap["tap"] for tap in self.daemon.status()["taps"]] == ["vnet0"]


@pytest.fixture
def stage() -> Iterator[Stage]:
    domains = {f"vm{number}": domain(number, tap) for tap, number in {"vnet0": NEIGHBOUR, **TAPS}.items()}
    with scene(NAME, domains) as running:
        running.lab.guest("vm0", tap="vnet0", bridge="br0")
        running.wait_until_known(vnet0=NEIGHBOUR)
        # The kernel reports it a second later, and it must not count as a change.
        eventually(lambda: "state UP" in running.lab.host.run("ip", "link", "show", "br0").stdout, 5)
        process = running.daemon.process
        assert process is not None
        (worker,) = running.daemon.status()["workers"]
        pids = {"supervisor": process.pid, "worker": worker["pid"]}
        yield Stage(running.lab, running.daemon, Hosts.read(running.lab, private=running.private), pids)


@contextlib.contextmanager
def taps(stage: Stage, names: Iterable[str]) -> Iterator[None]:
    """Make taps that a process holds, without guests behind them."""
    opened: list[int] = []
    try:
        for name in names:
            opened.append(open_tap(stage.lab.host.name, name))  # close what is open, whatever happens
        stage.lab.host.ip(*(f"link set {name} master br0 up" for name in names))
        yield
    finally:
        with ThreadPoolExecutor(CLOSERS) as closers:
            list(closers.map(os.close, opened))


def come_and_go(stage: Stage) -> None:
    """Let one generation of taps come and go."""
    began = time.monotonic()
    with taps(stage, TAPS):
        time.sleep(max(0.0, began + 0.6 * GENERATION - time.monotonic()))
    time.sleep(max(0.0, began + GENERATION - time.monotonic()))


def test_a_hundred_taps_come_and_go_every_second(stage: Stage) -> None:
    entries = stage.entries()
    logged = len(stage.daemon.log.read_text().splitlines())
    asking = AskingNeighbour(stage.lab.guests["vm0"])
    costs = []
    with contextlib.ExitStack() as undo:
        undo.enter_context(in_background(asking.ask))
        began = time.monotonic()
        for _ in range(GENERATIONS):
            come_and_go(stage)
            costs.append(Cost.read(stage.pids))
        took = time.monotonic() - began
        # The last generation lives, with guests behind some of its taps.
        undo.enter_context(taps(stage, TAPS.keys() - set(GUESTS)))
        began = time.monotonic()
        for name in GUESTS:
            stage.lab.guest(f"vm{TAPS[name]}", tap=name, bridge="br0")
        eventually(stage.all_are_known, 10)
        known_after = time.monotonic() - began
        assert {name: Identity.asked_by(guest) for name, guest in stage.lab.guests.items()} == {
            name: Identity.of(int(name.removeprefix("vm"))) for name in stage.lab.guests
        }
        assert all("eve-meta:tap_in" in stage.filters(name) for name in TAPS)
        for name in GUESTS:
            stage.lab.remove(stage.lab.guests[f"vm{TAPS[name]}"])
    times = sorted(asking.took)
    print(
        f"\n{GENERATIONS} times {len(TAPS)} taps in {took:.0f} s; the last known after {known_after:.1f} s; "
        f"the neighbour asked {len(times)} times: median {statistics.median(times) * 1000:.0f} ms, "
        f"99 in 100 within {times[len(times) * 99 // 100] * 1000:.0f}, most {times[-1] * 1000:.0f}"
    )
    for name in stage.pids:
        memory = [cost.memory[name] for cost in costs]
        print(f"{name}: {memory[0]} KiB, warm {max(memory[WARM - 5 : WARM])}, at the end {max(memory[-5:])}")

    assert asking.failures == []
    eventually(stage.only_the_neighbour_is_left, 5)
    status = stage.daemon.status()
    assert (status["problems"], status["overruns"]) == ([], 0)
    assert stage.entries() == entries
    assert stage.before.changes() == []
    for name in stage.pids:
        warm, end = costs[WARM - 5 : WARM], costs[-5:]
        assert max(cost.memory[name] for cost in end) - max(cost.memory[name] for cost in warm) < GROWTH, name
        # The minimum of several looks: the neighbour may have a connection at any time.
        assert min(cost.descriptors[name] for cost in end) <= min(cost.descriptors[name] for cost in warm), name
    lines = stage.daemon.log.read_text().splitlines()[logged:]
    assert [line for line in lines if " info: " not in line] == []
