"""What metrics and audit cost: two daemons with the same guests, of which one tells and is asked all that it can."""

from __future__ import annotations

import threading
from statistics import median
from typing import Any

from attrs import frozen

from benchmark.field import (
    MARKER,
    META_DATA,
    NAME,
    SLOTS,
    Field,
    Load,
    cpu_seconds,
    field,
    request,
)

GUESTS = 200
TOTAL = 100_000
"""Ten seconds of answers, in which the metrics are read once: Prometheus asks every 15 or 60."""

SECONDS = 60
SCRAPE_AFTER = 1.0

METRICS = "127.0.0.1:9169"
ADMIN = f'metrics = "{METRICS}"\naudit = "log"\n'


def measure(rounds: int) -> list[dict[str, Any]]:
    """A row without and one with both: answers a second, CPU of worker and supervisor for each.

    Medians of *rounds* in each of two fields, which change places: no two of them are quite alike.
    """
    taken: dict[str, list[Taken]] = {"off": [], "on": []}
    with field() as one, field(name=f"{NAME}-o") as other:
        for here in (one, other):
            here.add_guests(GUESTS)
        for off, on in ((one, other), (other, one)):
            off.restart("")
            on.restart(ADMIN)
            for number in range(rounds):
                for name in ("off", "on") if number % 2 else ("on", "off"):
                    taken[name].append(_load(off) if name == "off" else _scraped_load(on))
    pairs = list(zip(taken["on"], taken["off"], strict=True))
    ratios = {
        "rate_ratio": median(on.load.rate / off.load.rate for on, off in pairs),
        "worker_ratio": median(on.worker_us / off.worker_us for on, off in pairs),
    }
    return [
        {
            "metrics_and_audit": name,
            "rate": round(median(each.load.rate for each in of_one)),
            "worker_us": round(median(each.worker_us for each in of_one), 2),
            "supervisor_us": round(median(each.supervisor_us for each in of_one), 2),
            "failures": sum(each.load.failures for each in of_one),
            **{what: round(ratio, 3) if name == "on" else 1.0 for what, ratio in ratios.items()},
        }
        for name, of_one in taken.items()
    ]


@frozen
class Taken:
    """A load, and the microseconds of CPU that worker and supervisor took for each answer."""

    load: Load
    worker_us: float
    supervisor_us: float


def _load(here: Field) -> Taken:
    process = here.daemon.process
    assert process is not None  # for mypy: it runs
    pids = (*here.workers(), process.pid)
    before = [cpu_seconds(pid) for pid in pids]
    load = here.load(request(META_DATA), slots=SLOTS, total=TOTAL, seconds=SECONDS, marker=MARKER)
    return Taken(load, *((cpu_seconds(pid) - ran) / load.done * 1e6 for pid, ran in zip(pids, before, strict=True)))


def _scraped_load(here: Field) -> Taken:
    """The same, while somebody reads the metrics once."""

    def scrape() -> None:
        here.lab.host.run("curl", "-sfo", "/dev/null", f"http://{METRICS}/metrics")

    reader = threading.Timer(SCRAPE_AFTER, scrape)
    reader.start()
    try:
        return _load(here)
    finally:
        reader.join()
