"""``eve-meta status``: which taps there are, whose they are, and what came through them."""

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

HEAD = ("TAP", "TAG", "DOMAIN", "UUID", "REQUESTS", "NOTES", "DROPPED FRAMES")


EXAMPLES = """\
\b
Examples:
  eve-meta status
  eve-meta status --json | jq '.taps[] | select(.domain == null) | .tap'
"""


@click.command(epilog=EXAMPLES, short_help="Show taps, domains, requests and drops.")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON, for programs.")
def status(config: Path | None, as_json: bool) -> None:
    """Show the taps, their tags and domains, the requests of each guest by status, and the frames dropped by reason.

    REQUESTS counts answers by HTTP status; a word instead of a status is a connection that ended otherwise. NOTES are
    of the same requests: those without a session token, which "tokens: required" refuses, with one that is not valid,
    and to another host's name. The reasons for which frames are dropped are explained in bpf/shared.h.
    """
    said = ask(load_config(config).admin.socket, STATUS)
    if as_json:
        click.echo(json.dumps(said, indent=2))
        return
    click.echo(_table([HEAD, *(_row(tap) for tap in said["taps"])]))
    if not said["taps"]:
        click.echo("no taps: none of the host's links has a name that [steering] taps matches")
    for number, worker in enumerate(said["workers"]):
        state = f"pid {worker['pid']}" if worker["pid"] is not None else "not running"
        click.echo(f"worker {number}: {state}, restarted {worker['restarts']} times")
    for problem in said["problems"]:
        click.echo(f"problem: {problem}")


def _row(tap: Mapping[str, Any]) -> tuple[str, ...]:
    domain = tap["domain"] or {"name": "unknown", "uuid": "-"}
    name = tap["tap"] if tap["carrier"] else f"{tap['tap']} (no carrier)"
    counts = (_counts(tap[kind]) for kind in ("requests", "notes", "drops"))
    return name, str(tap["tag"]), domain["name"], domain["uuid"], *counts


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} × {what}" for what, number in counts.items()) or "-"


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(_line(row, widths) for row in rows)


def _line(cells: Iterable[str], widths: Iterable[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
