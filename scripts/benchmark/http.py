"""How fast meta_data.json is answered on new connections, beside other servers behind the same steering."""

from __future__ import annotations

from typing import Any

from benchmark.field import MARKER, META_DATA, SLOTS, Field, Load, field, median_by, request
from benchmark.peers import ALL, Peer, in_place, running

GUESTS = 200
"""So that none comes near its own limits: at 20,000 answers a second each asks 100 times."""

TOTAL = 10_000
SECONDS = 30

US = "eve-meta"


def measure(rounds: int) -> list[dict[str, Any]]:
    """A row for each server: answers a second and p99, medians of *rounds*, and both as ratios to nginx's."""
    with field() as here:
        here.add_guests(GUESTS)
        here.pin_workers()
        here.settle()
        document = here.lab.host.run(*here.daemon.command("render", "vm0", META_DATA)).stdout.encode()
        servers: list[Peer | None] = [None, *ALL]
        loads: dict[str, list[Load]] = {_name(server): [] for server in servers}
        with running(here, document):
            for server in servers:
                _load(here, server)  # warm
            for number in range(rounds):
                # Each server is first as often as last: the machine's other work comes and goes.
                for server in servers[number % len(servers) :] + servers[: number % len(servers)]:
                    loads[_name(server)].append(_load(here, server))
    nginx = loads[ALL[0].name]
    return [
        {
            "server": name,
            "bytes": len(document),
            "rate": round(median_by(of_one, "rate")),
            "ratio": round(median_by(of_one, "rate") / median_by(nginx, "rate"), 2),
            "p99_ms": round(median_by(of_one, "p99_ms"), 1),
            "failures": sum(load.failures for load in of_one),
        }
        for name, of_one in loads.items()
    ]


def _name(server: Peer | None) -> str:
    return US if server is None else server.name


def _load(here: Field, server: Peer | None) -> Load:
    with in_place(here, server):
        marker = MARKER if server is None else ""
        return here.load(request(META_DATA), slots=SLOTS, total=TOTAL, seconds=SECONDS, marker=marker)
