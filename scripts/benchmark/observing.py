"""The price of metrics and audit: two daemons with the same guests, one of them with metrics and audit."""

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
"""Some ten seconds of answers, in which the metrics are read once: Prometheus reads them every 15 or 60 seconds."""

SECONDS = 60
SCRAPE_AFTER = 1.0

METRICS = "127.0.0.1:9169"
ADMIN = f'metrics = "{METRICS}"\naudit = "log"\n'


def measure(rounds: int) -> list[dict[str, Any]]:
    """Return a row without both and one with both: answers a second, CPU time of worker and supervisor for each answer.

    All are medians of *rounds* in each of two fields, which then change places, because no two fields are quite alike.
    """
    results: dict[str, list[Result]] = {"off": [], "on": []}
    with field() as one, field(name=f"{NAME}-o") as other:
        for here in (one, other):
            here.add_guests(GUESTS)
        for off, on in ((one, other), (other, one)):
            off.restart("")
            on.restart(ADMIN)
            for number in range(rounds):
                for name in ("off", "on") if number % 2 else ("on", "off"):
                    results[name].append(_load(off) if name == "off" else _scraped_load(on))
    pairs = list(zip(results["on"], results["off"], strict=True))
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
        for name, of_one in results.items()
    ]


@frozen
class Result:
    """A load, and the microseconds of CPU time that worker and supervisor took for each answer."""

    load: Load
    worker_us: float
    supervisor_us: float


def _load(here: Field) -> Result:
    process = here.daemon.process
    assert process is not None  # for mypy: it runs
    pids = (*here.workers(), process.pid)
    before = [cpu_seconds(pid) for pid in pids]
    load = here.load(request(META_DATA), slots=SLOTS, total=TOTAL, seconds=SECONDS, marker=MARKER)
    return Result(load, *((cpu_seconds(pid) - ran) / load.done * 1e6 for pid, ran in zip(pids, before, strict=True)))


def _scraped_load(here: Field) -> Result:
    """Measure a load during which the metrics are read once."""

    def scrape() -> None:
        here.lab.host.run("curl", "-sfo", "/dev/null", f"http://{METRICS}/metrics")

    reader = threading.Timer(SCRAPE_AFTER, scrape)
    reader.start()
    try:
        return _load(here)
    finally:
        reader.join()
