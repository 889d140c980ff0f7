"""Answers of meta_data.json on new connections, beside other servers behind the same steering."""

from __future__ import annotations

from random import Random
from statistics import median
from typing import Any

from attrs import frozen

from benchmark.field import MARKER, META_DATA, SLOTS, Field, Load, cpu_seconds, field, request
from benchmark.peers import ALL, Peer, in_place, running

GUESTS = 200
"""Enough guests that none comes near its rate limit: at 20,000 answers a second, each asks 100 times a second."""

TOTAL = 10_000
SECONDS = 30

US = "eve-meta"


@frozen
class Round:
    """A load on one server, and the seconds of CPU time that the server's process took for it."""

    load: Load
    cpu: float

    @property
    def cpu_us(self) -> float:
        """The microseconds of CPU time for each answer."""
        return self.cpu / self.load.done * 1e6


def measure(rounds: int) -> list[dict[str, Any]]:
    """Return a row for each server: answers a second, CPU time for each answer, and the 99th percentile of latency.

    All are medians of *rounds*, and so are the ratios to nginx, because a machine's speed differs from round to round.

    The load takes a core, and the kernel does most of its work for both ends of a connection on that core. So a server
    that is quicker than the load shows that not in its rate, but in the CPU time of its answers.
    """
    with field() as here:
        here.add_guests(GUESTS)
        here.pin_workers()
        here.settle()
        document = here.lab.host.run(*here.daemon.command("render", "vm0", META_DATA)).stdout.encode()
        servers: list[Peer | None] = [None, *ALL]
        rounds_of: dict[str, list[Round]] = {_name(server): [] for server in servers}
        with running(here, document) as pids:
            (pids[US],) = here.workers()
            for server in servers:
                _round(here, server, pids)  # to warm up
            for number in range(rounds):
                # In random order: the machine's other work comes and goes, and each server finds the caches as the one
                # before it left them.
                for server in Random(number).sample(servers, len(servers)):
                    rounds_of[_name(server)].append(_round(here, server, pids))
    nginx = rounds_of[ALL[0].name]
    return [
        {
            "server": name,
            "bytes": len(document),
            "rate": round(median(each.load.rate for each in of_one)),
            "ratio": round(median(ours.load.rate / its.load.rate for ours, its in zip(of_one, nginx, strict=True)), 2),
            "cpu_us": round(median(each.cpu_us for each in of_one), 1),
            "cpu_ratio": round(median(ours.cpu_us / its.cpu_us for ours, its in zip(of_one, nginx, strict=True)), 2),
            "p99_ms": round(median(each.load.p99_ms for each in of_one), 1),
            "failures": sum(each.load.failures for each in of_one),
        }
        for name, of_one in rounds_of.items()
    ]


def _name(server: Peer | None) -> str:
    return US if server is None else server.name


def _round(here: Field, server: Peer | None, pids: dict[str, int]) -> Round:
    pid = pids[_name(server)]
    with in_place(here, server):
        marker = MARKER if server is None else ""
        before = cpu_seconds(pid)
        load = here.load(request(META_DATA), slots=SLOTS, total=TOTAL, seconds=SECONDS, marker=marker)
        return Round(load, cpu_seconds(pid) - before)
