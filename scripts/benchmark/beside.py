"""Answers of meta_data.json on new connections, beside the eve-meta of another checkout."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from benchmark.field import MARKER, META_DATA, NAME, SLOTS, Field, cpu_seconds, field, request
from benchmark.http import GUESTS, SECONDS, TOTAL, Round

HERE, THERE = "here", "there"


def measure(rounds: int, checkout: Path) -> list[dict[str, Any]]:
    """Return a row for this checkout and one for *checkout*, whose scripts/bootstrap has made a .venv there.

    Each has a field of its own, with as many guests. They get their loads in turns, in random order, and while one has
    its load the other is idle. The ratios are medians of each turn's, so what the machine does besides counts little.

    :raises FileNotFoundError: when *checkout* has no .venv.
    """
    command = checkout / ".venv/bin/eve-meta"
    if not command.exists():
        raise FileNotFoundError(f"{command} is missing: run scripts/bootstrap in {checkout}")
    with ExitStack() as stack:
        fields = {
            HERE: stack.enter_context(field(name=f"{NAME}-h")),
            THERE: stack.enter_context(field(name=f"{NAME}-t", serve=(str(command), "serve"))),
        }
        for each in fields.values():
            each.add_guests(GUESTS)
            each.pin_workers()
            each.settle()
            _round(each)  # to warm up
        rounds_of: dict[str, list[Round]] = {which: [] for which in fields}
        for number in range(rounds):
            for which in Random(number).sample(list(fields), len(fields)):
                rounds_of[which].append(_round(fields[which]))
    there = rounds_of[THERE]
    return [
        {
            "eve-meta": which,
            "rate": round(median(each.load.rate for each in of_one)),
            "ratio": round(median(ours.load.rate / its.load.rate for ours, its in zip(of_one, there, strict=True)), 3),
            "cpu_us": round(median(each.cpu_us for each in of_one), 1),
            "cpu_ratio": round(median(ours.cpu_us / its.cpu_us for ours, its in zip(of_one, there, strict=True)), 3),
            "p99_ms": round(median(each.load.p99_ms for each in of_one), 1),
            "failures": sum(each.load.failures for each in of_one),
        }
        for which, of_one in rounds_of.items()
    ]


def _round(here: Field) -> Round:
    """Give one field its load; the CPU time is that of all its workers."""
    pids = here.workers()
    before = sum(map(cpu_seconds, pids))
    load = here.load(request(META_DATA), slots=SLOTS, total=TOTAL, seconds=SECONDS, marker=MARKER)
    return Round(load, sum(map(cpu_seconds, pids)) - before)
