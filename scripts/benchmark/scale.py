"""Thousands of taps: the time until they are steered, the price of one more, their memory, the time a change takes.

Where possible, the figures of the supervisor are CPU time, which is the same on a busy machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import statistics
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmark.field import META_DATA, NAME, cpu_seconds, domain, until
from eve_meta.steering.bpf.libbpf import open_pin
from eve_meta.steering.taps.tapfilter import TapFilter
from harness.daemon import Daemon
from harness.guests import BPFFS, Guest, Lab
from harness.link_watch import watching
from harness.namespace import inside

STEPS = (10, 100, 1000, 4000)
"""The numbers of taps at which the benchmark measures."""

SAMPLE = 20
"""Taps that are added one after the other, and timed, at each step in each round."""

CHANGES = 5
"""Changes of a domain file that are timed at each step in each round."""

PATIENCE = 120.0

ASK_INTERVAL = 0.006
"""Seconds between two requests of a guest that waits for its new answer: one tap may ask 200 times a second."""

PULSE_INTERVAL = 0.005
"""Seconds between two questions that measure how soon the supervisor's reactor answers."""

METRICS = "127.0.0.1:9169"


def measure(rounds: int) -> list[dict[str, Any]]:
    """Return a row for each of :data:`STEPS`, and one for a restart with all taps.

    Taps are real tap devices, and each has its domain file.
    """
    with Lab(NAME) as lab:
        lab.bridge("br0", "10.0.0.1/24")
        daemon = Daemon(lab)
        daemon.set_admin(f'metrics = "{METRICS}"\n')
        daemon.write_domain("vm0", domain(0))
        with daemon:
            scale_lab = _ScaleLab(lab, daemon, lab.guest("vm0", tap="vnet0", bridge="br0"))
            rows = [scale_lab.row(step, rounds) for step in STEPS]
            rows.append(scale_lab.restart())
    for row in rows[:-1]:
        row["one_more_ratio"] = round(row["one_more_ms"] / rows[0]["one_more_ms"], 2)
    return rows


class _ScaleLab:
    """The lab with one guest that asks, behind vnet0, and a growing number of other taps."""

    def __init__(self, lab: Lab, daemon: Daemon, guest: Guest) -> None:
        self._lab = lab
        self._daemon = daemon
        self._guest = guest
        self._taps = 1
        self._changes = 0

    def row(self, step: int, rounds: int) -> dict[str, Any]:
        """Add taps until there are *step*; return what these cost, and what further ones cost then."""
        added = step - self._taps
        for number in range(self._taps, step):
            self._daemon.write_domain(f"vm{number}", domain(number))
        time.sleep(1)  # so that reading the files does not count
        with self._observed() as attach:
            self._lab.host.ip(*(f"tuntap add vnet{number} mode tap" for number in range(self._taps, step)))
            self._taps = step
            self._all_known()
        one_more, cpu = zip(*(self._one_more() for _ in range(rounds)), strict=True)
        kernel = [seconds for _ in range(rounds) for seconds in self._by_hand()]
        changes, change_cpu = zip(*(self._change() for _ in range(rounds * CHANGES)), strict=True)
        return {
            "taps": step,
            "added": added,
            "known_s": round(attach["seconds"], 2),
            "attach_cpu_ms": round(attach["cpu"] * 1000 / added, 2),
            "attach_pause_ms": round(attach["pause"] * 1000),
            "one_more_ms": round(statistics.median(t for times in one_more for t in times) * 1000, 2),
            "one_more_cpu_ms": round(statistics.median(cpu) * 1000, 2),
            "by_hand_ms": round(statistics.median(kernel) * 1000, 2),
            "change_ms": round(statistics.median(changes) * 1000, 1),
            "change_cpu_ms": round(statistics.median(change_cpu) * 1000, 1),
            **self._asked(rounds),
            **self._resident(),
        }

    def restart(self) -> dict[str, Any]:
        """Restart the daemon with all taps; return a row about the time until each is steered and has its domain."""
        began = time.monotonic()
        self._daemon.stop()
        stopped = time.monotonic() - began
        began = time.monotonic()
        self._daemon.start()
        with self._observed() as restart:
            until(lambda: self._hostname() is not None, PATIENCE, "an answer")
            answered = time.monotonic() - began
            self._all_known()
        return {
            "taps": self._taps,
            "added": self._taps,
            "known_s": round(time.monotonic() - began, 2),
            "stop_s": round(stopped, 2),
            "answered_s": round(answered, 2),
            "attach_pause_ms": round(restart["pause"] * 1000),
            **self._resident(),
        }

    def _one_more(self) -> tuple[list[float], float]:
        """Add some taps one by one, and remove them again.

        :returns: for each, the seconds from the kernel's message about the new tap to the tap's filter; and the
            supervisor's CPU time for one tap, until the supervisor has nothing left to do for it.
        """
        numbers = range(self._taps, self._taps + SAMPLE)
        before_cpu = self._cpu()
        with watching(self._lab.host) as watch:
            before = set(watch.links)
            for number in numbers:
                self._lab.host.ip(f"tuntap add vnet{number} mode tap")
            until(lambda: len(watch.filters.keys() - before) >= SAMPLE, PATIENCE, "the filters of new taps")
            times = [watch.filters[link] - watch.links[link] for link in watch.filters.keys() - before]
        time.sleep(0.5)
        cpu = (self._cpu() - before_cpu) / SAMPLE
        self._lab.host.ip(*(f"link delete vnet{number}" for number in numbers))
        time.sleep(0.5)
        return times, cpu

    def _by_hand(self) -> list[float]:
        """Return the seconds in which a program with no other work adds the same qdisc and filter, for some taps."""
        names = [f"other{number}" for number in range(SAMPLE)]
        times = []
        with contextlib.ExitStack() as undo:
            program = open_pin(BPFFS / NAME / "tap_in")
            undo.callback(os.close, program)
            with inside(self._lab.host.name):
                tap_filter = TapFilter(program, "tap_in")
            undo.callback(tap_filter.close)
            for name in names:
                self._lab.host.ip(f"tuntap add {name} mode tap")
                with inside(self._lab.host.name):
                    ifindex = socket.if_nametoindex(name)
                began = time.monotonic()
                tap_filter.attach(ifindex)
                times.append(time.monotonic() - began)
        self._lab.host.ip(*(f"link delete {name}" for name in names))
        return times

    def _change(self) -> tuple[float, float]:
        """Change a file; return the seconds until the guest's new answer, and the supervisor's CPU time for it."""
        self._changes += 1
        hostname = f"changed{self._changes}.example.org"
        cpu = self._cpu()
        began = time.monotonic()
        self._daemon.write_domain("vm0", {**domain(0), "hostname": hostname})
        until(lambda: self._hostname() == hostname, PATIENCE, "the new answer")
        took = time.monotonic() - began
        time.sleep(0.3)
        return took, self._cpu() - cpu

    def _hostname(self) -> str | None:
        time.sleep(ASK_INTERVAL)
        try:
            answer = self._guest.get(META_DATA)
        except OSError:
            return None
        return str(json.loads(answer.body)["hostname"]) if answer.status == 200 else None

    def _asked(self, rounds: int) -> dict[str, float]:
        """Return how long ``eve-meta status`` and a scrape take, and for how long each keeps the reactor."""
        figures: dict[str, float] = {}
        questions: dict[str, Callable[[], int]] = {"status": self._status, "scrape": self._scrape}
        for name, ask in questions.items():
            times, pauses, size = [], [], 0
            for _ in range(rounds):
                with self._observed() as observed:
                    size = ask()
                times.append(observed["seconds"])
                pauses.append(observed["pause"])
                time.sleep(1.1)  # the daemon reuses the text of a scrape for a second
            figures[f"{name}_ms"] = round(statistics.median(times) * 1000)
            figures[f"{name}_pause_ms"] = round(statistics.median(pauses) * 1000)
            figures[f"{name}_kb"] = round(size / 1000)
        return figures

    def _status(self) -> int:
        return len(json.dumps(self._daemon.status()))

    def _scrape(self) -> int:
        with inside(self._lab.host.name):
            return len(urllib.request.urlopen(f"http://{METRICS}/metrics", timeout=PATIENCE).read())

    def _all_known(self) -> None:
        def known() -> bool:
            time.sleep(0.2)
            taps = self._daemon.status()["taps"]
            return sum(tap["domain"] is not None for tap in taps) == self._taps

        until(known, PATIENCE, "the domain of each tap")

    @contextlib.contextmanager
    def _observed(self) -> Iterator[dict[str, float]]:
        """Measure what happens in the context: the yielded figures are complete when it ends.

        They are ``seconds``, the supervisor's CPU seconds (``cpu``), and the longest time for which its reactor did not
        answer (``pause``, in seconds).
        """
        figures: dict[str, float] = {"pause": 0.0}
        done = threading.Event()
        path = str(self._daemon.socket)

        def pulse() -> None:
            while not done.wait(PULSE_INTERVAL):
                began = time.monotonic()
                with socket.socket(socket.AF_UNIX) as asking, contextlib.suppress(OSError):
                    asking.connect(path)
                    asking.sendall(b'{"question": "no such question"}\n')
                    asking.recv(4096)
                    figures["pause"] = max(figures["pause"], time.monotonic() - began)

        pulsing = threading.Thread(target=pulse, daemon=True)
        cpu, began = self._cpu(), time.monotonic()
        pulsing.start()
        try:
            yield figures
            figures["seconds"], figures["cpu"] = time.monotonic() - began, self._cpu() - cpu
        finally:
            done.set()
            pulsing.join()

    def _cpu(self) -> float:
        return cpu_seconds(self._pid)

    @property
    def _pid(self) -> int:
        process = self._daemon.process
        assert process is not None  # for mypy: it runs
        return process.pid

    def _resident(self) -> dict[str, float]:
        pids = {"supervisor_mb": self._pid, "worker_mb": self._daemon.status()["workers"][0]["pid"]}
        return {name: round(_resident_kib(pid) / 1000, 1) for name, pid in pids.items()}


def _resident_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError(f"process {pid} is gone")
