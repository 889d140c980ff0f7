"""The command; ``scripts/bench --help`` says what it does."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark import cost, http, observing, scale, storm
from eve_meta import __version__
from harness.output import columns

KINDS: Mapping[str, tuple[Callable[[int], list[dict[str, Any]]], str]] = {
    "http": (
        http.measure,
        "new connections a second, beside other servers behind the same steering",
    ),
    "observing": (observing.measure, "the same with metrics and audit, and without"),
    "storm": (storm.measure, "a thousand guests that all run cloud-init at once"),
    "scale": (scale.measure, "up to 4,000 taps: what one more costs, memory, changes, a restart"),
    "cost": (cost.measure, "what the filter costs ordinary packets"),
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
    "cost": {"iperf3": "iperf3"},
}
"""By kind, what is measured with and beside, and its Debian package. Nothing installs them by itself: the servers among
them would be started with the host."""


def there(name: str) -> bool:
    """Whether the program *name*, or the module of the distribution's Python, is installed."""
    return shutil.which(name) is not None or Path("/usr/lib/python3/dist-packages", name).is_dir()


def main(arguments: Sequence[str]) -> int:
    """Measure what *arguments* name."""
    described = "\n".join(f"  {name:9} {text}" for name, (_, text) in KINDS.items())
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure, in network namespaces of its own, and print tables.",
        epilog=f"kinds:\n{described}\nwithout one, all of them",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kinds", nargs="*", metavar="KIND", choices=[*KINDS, []])
    parser.add_argument("--rounds", type=int, default=5, help="rounds, whose medians are shown (default: 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    kinds = options.kinds or list(KINDS)
    needed = {name: package for kind in kinds for name, package in NEEDED[kind].items()}
    missing = [name for name in needed if not there(name)]
    if missing:
        packages = " ".join(needed[name] for name in missing)
        print(f"bench: {', '.join(missing)} missing. Install, on a machine for tests: {packages}", file=sys.stderr)
        return 1
    figures: dict[str, Any] = {"machine": machine(), "rounds": options.rounds}
    print(", ".join(f"{name}: {value}" for name, value in figures["machine"].items()))
    for kind in kinds:
        print(f"\n{kind}: {KINDS[kind][1]}", flush=True)
        figures[kind] = KINDS[kind][0](options.rounds)
        print_table(figures[kind])
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


def machine() -> dict[str, Any]:
    """What was measured on."""
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
    """The *rows* in columns of numbers, aligned at the right."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([str(row.get(name, "")) for name in names] for row in rows)]
    print("\n".join(columns(cells, str.rjust)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
