"""Thousands of taps: how long until they are steered, what one more costs, what they weigh, how soon a file counts."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

from benchmark.field import META_DATA, NAME, domain, until
from daemon import Daemon
from guests import Guest, Lab
from link_watch import watching

STEPS = (10, 100, 1000, 4000)
"""Numbers of taps at which the next ones are timed."""

SAMPLE = 20
"""Taps that are added one after the other, and timed, at each step in each round."""

CHANGES = 5
"""Changes of a domain file that are timed at each step in each round."""

PATIENCE = 120.0


def measure(rounds: int) -> list[dict[str, Any]]:
    """A row for each of :data:`STEPS`. Taps are real tap devices, and each has its domain file."""
    with Lab(NAME) as lab:
        lab.bridge("br0", "10.0.0.1/24")
        daemon = Daemon(lab)
        daemon.write_domain("vm0", domain(0))
        with daemon:
            ground = _Ground(lab, daemon, lab.guest("vm0", tap="vnet0", bridge="br0"))
            rows = [ground.row(step, rounds) for step in STEPS]
            rows[-1]["restart_s"] = ground.restart()
    for row in rows:
        row["one_more_ratio"] = round(row["one_more_ms"] / rows[0]["one_more_ms"], 2)
    return rows


class _Ground:
    """The lab with one guest that asks, behind vnet0, and as many other taps as there are."""

    def __init__(self, lab: Lab, daemon: Daemon, guest: Guest) -> None:
        self._lab = lab
        self._daemon = daemon
        self._guest = guest
        self._taps = 1
        self._changes = 0

    def row(self, step: int, rounds: int) -> dict[str, Any]:
        """What *step* taps cost, and what the next ones."""
        filling = step - self._taps
        for number in range(self._taps, step):
            self._daemon.write_domain(f"vm{number}", domain(number))
        began = time.monotonic()
        self._lab.host.ip(*(f"tuntap add vnet{number} mode tap" for number in range(self._taps, step)))
        made = time.monotonic()
        self._taps = step
        self._all_known()
        known = time.monotonic()
        one_more = [seconds for _ in range(rounds) for seconds in self._one_more()]
        changes = [self._change() for _ in range(rounds * CHANGES)]
        return {
            "taps": step,
            "added": filling,
            "made_s": round(made - began, 2),
            "known_s": round(known - began, 2),
            "one_more_ms": round(statistics.median(one_more) * 1000, 2),
            "change_ms": round(statistics.median(changes) * 1000, 1),
            **self._resident(),
        }

    def restart(self) -> float:
        """Seconds from starting the daemon, with all taps there, until each is steered and has its domain."""
        self._daemon.stop()
        began = time.monotonic()
        self._daemon.start()
        self._all_known()
        return round(time.monotonic() - began, 2)

    def _one_more(self) -> list[float]:
        """Seconds from the kernel's word of a new tap to its filter, for some taps that go again."""
        numbers = range(self._taps, self._taps + SAMPLE)
        with watching(self._lab.host) as watch:
            before = set(watch.links)
            for number in numbers:
                self._lab.host.ip(f"tuntap add vnet{number} mode tap")
            until(lambda: len(watch.filters.keys() - before) >= SAMPLE, PATIENCE, "the filters of new taps")
            times = [watch.filters[link] - watch.links[link] for link in watch.filters.keys() - before]
        self._lab.host.ip(*(f"link delete vnet{number}" for number in numbers))
        return times

    def _change(self) -> float:
        """Seconds from a changed file to the guest's new answer."""
        self._changes += 1
        hostname = f"changed{self._changes}.example.org"
        began = time.monotonic()
        self._daemon.write_domain("vm0", {**domain(0), "hostname": hostname})
        until(lambda: json.loads(self._guest.get(META_DATA).body)["hostname"] == hostname, PATIENCE, "the new answer")
        return time.monotonic() - began

    def _all_known(self) -> None:
        def known() -> int:
            return sum(tap["domain"] is not None for tap in self._daemon.status()["taps"])

        until(lambda: known() == self._taps, PATIENCE, "the domain of each tap")

    def _resident(self) -> dict[str, float]:
        process = self._daemon.process
        assert process is not None  # for mypy: it runs
        pids = {"supervisor_mb": process.pid, "worker_mb": self._daemon.status()["workers"][0]["pid"]}
        return {name: round(_resident_kib(pid) / 1000, 1) for name, pid in pids.items()}


def _resident_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError(f"process {pid} is gone")
