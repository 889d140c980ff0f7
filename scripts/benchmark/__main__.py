"""The command ``scripts/bench``; its ``--help`` describes it."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmark import beside, contents, cost, http, observing, scale, storm
from eve_meta import __version__
from harness.output import columns

KINDS: Mapping[str, tuple[Callable[[int], list[dict[str, Any]]], str]] = {
    "http": (
        http.measure,
        "new connections a second, beside other servers behind the same steering",
    ),
    "observing": (observing.measure, "the same with metrics and audit, and without"),
    "storm": (storm.measure, "a thousand guests that all run cloud-init at once"),
    "scale": (scale.measure, "up to 4,000 taps: the price of one more, memory, changes, a restart"),
    "contents": (contents.measure, "guests with large user data: their neighbours' wait, and memory"),
    "cost": (cost.measure, "the price of the filter for ordinary packets"),
}


LOAD = {"gcc": "gcc libc6-dev"}

NEEDED: Mapping[str, Mapping[str, str]] = {
    "http": {
        **LOAD,
        "go": "golang-go",
        "haproxy": "haproxy",
        "nginx": "nginx-light",
        "eventlet": "python3-eventlet",
        "webob": "python3-webob",
    },
    "observing": LOAD,
    "storm": LOAD,
    "scale": {},
    "contents": LOAD,
    "cost": {"iperf3": "iperf3"},
}
"""The programs and modules that each kind needs, with their Debian packages. The command does not install them: the
servers among them would then start with the host."""


def is_installed(name: str) -> bool:
    """Return whether the program *name*, or the module *name* of the distribution's Python, is installed."""
    return shutil.which(name) is not None or Path("/usr/lib/python3/dist-packages", name).is_dir()


def main(arguments: Sequence[str]) -> int:
    """Measure the kinds that *arguments* name; return the exit status."""
    described = "\n".join(f"  {name:9} {text}" for name, (_, text) in KINDS.items())
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure eve-meta in network namespaces of the command's own, and print tables.",
        epilog=f"kinds:\n{described}\nwithout one, all of them",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kinds", nargs="*", metavar="KIND", choices=[*KINDS, []])
    parser.add_argument("--rounds", type=int, default=5, help="rounds, whose medians are shown (default: 5)")
    parser.add_argument(
        "--beside",
        type=Path,
        metavar="CHECKOUT",
        help="http: measure beside the eve-meta of another checkout, instead of other servers",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE, too")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    kinds = options.kinds or list(KINDS)
    measures = {kind: measure for kind, (measure, _) in KINDS.items()}
    needed = {name: package for kind in kinds for name, package in NEEDED[kind].items()}
    if options.beside is not None:
        if kinds != ["http"]:
            parser.error("--beside is for the kind http alone")
        measures["http"] = partial(beside.measure, checkout=options.beside.resolve())
        needed = dict(LOAD)
    missing = [name for name in needed if not is_installed(name)]
    if missing:
        packages = " ".join(needed[name] for name in missing)
        print(f"bench: missing: {', '.join(missing)}. On a machine for tests, install {packages}", file=sys.stderr)
        return 1
    figures: dict[str, Any] = {"machine": machine(), "rounds": options.rounds}
    print(", ".join(f"{name}: {value}" for name, value in figures["machine"].items()))
    for kind in kinds:
        print(f"\n{kind}: {KINDS[kind][1]}", flush=True)
        figures[kind] = measures[kind](options.rounds)
        print_table(figures[kind])
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


def machine() -> dict[str, Any]:
    """Return the facts about this machine on which the figures depend."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "eve-meta": __version__,
        "kernel": platform.release(),
        "cpu": model,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
    }


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print *rows* as a table of numbers, aligned at the right."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([str(row.get(name, "")) for name in names] for row in rows)]
    print("\n".join(columns(cells, str.rjust)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
