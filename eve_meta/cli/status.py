"""``eve-meta status``: the taps, their domains, and what came through them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from eve_meta.admin.client import ask
from eve_meta.admin.questions import STATUS
from eve_meta.cli.options import config_option
from eve_meta.config import load_config

COLUMNS = ("TAP", "TAG", "DOMAIN", "UUID", "REQUESTS", "NOTES", "DROPPED FRAMES")


EXAMPLES = """\
\b
Examples:
  eve-meta status
  eve-meta status --json | jq '.taps[] | select(.domain == null) | .tap'
"""


@click.command(epilog=EXAMPLES)
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print the whole status as JSON, for programs.")
def status(config: Path | None, as_json: bool) -> None:
    """Show every tap with its tag, its domain, its guest's requests, and the frames that were dropped.

    REQUESTS counts answers by HTTP status; a word in place of a status counts connections that ended without an answer.
    NOTES counts, among the same requests, those without a session token (no_token), with an invalid one
    (invalid_token), to a host name that is not eve-meta's (wrong_host), and from a guest that did not read enough of
    earlier answers (too_much_unread). DROPPED FRAMES are counted by reason; bpf/shared.h explains each. Needs root and
    a running daemon.
    """
    answer = ask(load_config(config).admin.socket, STATUS)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    click.echo(_table([COLUMNS, *(_row(tap) for tap in answer["taps"])]))
    if not answer["taps"]:
        click.echo("no taps: [steering] taps matches the name of no link on this host")
    for number, worker in enumerate(answer["workers"]):
        state = f"pid {worker['pid']}" if worker["pid"] is not None else "not running"
        hangs = f", {worker['hangs']} of them because it did not answer" if worker["hangs"] else ""
        click.echo(f"worker {number}: {state}, restarted {worker['restarts']} times{hangs}")
        missing = [part.replace("_", " ") for part, holds in (worker["confinement"] or {}).items() if not holds]
        if missing:
            click.echo(f"worker {number} is not fully confined, without: {', '.join(missing)}")
    if answer["lapses"]:
        click.echo(f"the supervisor fell behind {answer['lapses']} times; guests got 503 until it had caught up")
    for problem in answer["problems"]:
        click.echo(f"problem: {problem}")


def _row(tap: Mapping[str, Any]) -> tuple[str, ...]:
    domain = tap["domain"] or {"name": "unknown", "uuid": "-"}
    name = tap["tap"] if tap["carrier"] else f"{tap['tap']} (no carrier)"
    counts = (_counts(tap[kind]) for kind in ("requests", "notes", "drops"))
    return name, str(tap["tag"]), domain["name"], domain["uuid"], *counts


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} × {name}" for name, number in counts.items()) or "-"


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(_line(row, widths) for row in rows)


def _line(cells: Iterable[str], widths: Iterable[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
