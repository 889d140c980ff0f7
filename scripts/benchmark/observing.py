"""What metrics and audit cost: two daemons with the same guests, of which one tells and is asked all that it can."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from statistics import median
from typing import Any

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
    """A row without and one with both: answers a second, CPU of worker and supervisor for each; medians of *rounds*."""
    with field() as off, field(name=f"{NAME}-o", admin=ADMIN) as on:
        sides = {"off": off, "on": on}
        for here in sides.values():
            here.add_guests(GUESTS)
            here.pin_workers()
            here.settle()
        taken: dict[str, list[tuple[Load, float, float]]] = {name: [] for name in sides}
        for number in range(rounds):
            for name in ("off", "on") if number % 2 else ("on", "off"):
                with contextlib.ExitStack() as stack:
                    if name == "on":
                        stack.enter_context(_scraped(on))
                    taken[name].append(_load(sides[name]))
    rows: list[dict[str, Any]] = [
        {
            "metrics_and_audit": name,
            "rate": round(median(load.rate for load, _, _ in of_one)),
            "worker_us": round(median(worker for _, worker, _ in of_one), 2),
            "supervisor_us": round(median(supervisor for _, _, supervisor in of_one), 2),
            "failures": sum(load.failures for load, _, _ in of_one),
        }
        for name, of_one in taken.items()
    ]
    for row in rows:
        row["rate_ratio"] = round(row["rate"] / rows[0]["rate"], 3)
        row["worker_ratio"] = round(row["worker_us"] / rows[0]["worker_us"], 3)
    return rows


def _load(here: Field) -> tuple[Load, float, float]:
    """A load, and the microseconds of CPU that worker and supervisor took for each answer."""
    process = here.daemon.process
    assert process is not None  # for mypy: it runs
    (worker,) = here.workers()
    before = cpu_seconds(worker), cpu_seconds(process.pid)
    load = here.load(request(META_DATA), slots=SLOTS, total=TOTAL, seconds=SECONDS, marker=MARKER)
    after = cpu_seconds(worker), cpu_seconds(process.pid)
    return load, (after[0] - before[0]) / load.done * 1e6, (after[1] - before[1]) / load.done * 1e6


@contextlib.contextmanager
def _scraped(here: Field) -> Iterator[None]:
    """Somebody reads the metrics meanwhile, once."""

    def scrape() -> None:
        here.lab.host.run("curl", "-sfo", "/dev/null", f"http://{METRICS}/metrics")

    reader = threading.Timer(SCRAPE_AFTER, scrape)
    reader.start()
    try:
        yield
    finally:
        reader.join()
