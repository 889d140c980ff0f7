"""``eve-meta timeline``: a guest's boot as a picture."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
from attrs import frozen

from eve_meta.admin.client import ask
from eve_meta.admin.questions import TIMELINE, Timeline
from eve_meta.cli.known import NAME, complete_name
from eve_meta.cli.options import config_option
from eve_meta.config import load_config
from eve_meta.values.text import escape_unprintable

WIDEST = 120
NARROWEST = 20
"""Columns of the whole, at most, and of the bars, at least."""

EXAMPLES = """\
\b
Examples:
  eve-meta timeline web1
  eve-meta timeline web1 --json | jq '.[0].moments'
"""


@click.command(epilog=EXAMPLES, short_help="Show when a guest's boot did what.")
@click.argument("name", metavar=NAME, shell_complete=complete_name)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON, for programs.")
@config_option
def timeline(name: str, as_json: bool, config: Path | None) -> None:
    """Show when a guest was first seen, asked, and got its documents, in seconds since its tap came up.

    Below that is what its cloud-init told of itself, if its cloud-config makes it (eve_meta/docs/observing.rst says
    how). That part is the guest's word, the times are ours.
    """
    told = ask(load_config(config).admin.socket, TIMELINE, name=name)
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    width = min(WIDEST, shutil.get_terminal_size((WIDEST, 0)).columns)
    click.echo("\n\n".join(draw(each, width) for each in told))


@frozen
class Row:
    """A line: a moment, or what lasted from *start* to *end*; an *end* of None is not known."""

    text: str
    start: float
    end: float | None
    more: str = ""


def draw(told: Timeline, width: int) -> str:
    """The picture of one tap's timeline, *width* columns wide where that is enough."""
    rows = sorted(_rows(told), key=lambda row: row.start)
    first = min(row.start for row in rows)
    last = max(row.start if row.end is None else row.end for row in rows)
    texts = [escape_unprintable(f"{row.text} {row.more}".rstrip()) for row in rows]
    times = [f"{row.start:+.3f} s" for row in rows]
    text_width, time_width = max(map(len, texts)), max(map(len, times))
    columns = max(NARROWEST, width - text_width - time_width - 6)
    scale = (columns - 1) / (last - first) if last > first else 0.0
    whose = told["tap"] if told["name"] is None else f"{told['name']} ({told['uuid']}) on {told['tap']}"
    lines = [escape_unprintable(f"{whose}, up since {told['since']}"), ""]
    for row, text, at in zip(rows, texts, times, strict=True):
        begin = round((row.start - first) * scale)
        end = begin if row.end is None else round((row.end - first) * scale)
        bar = "*" if row.start == row.end else "=" * (end - begin + 1) if row.end is not None else ">"
        lines.append(f"{text:<{text_width}}  {at:>{time_width}} |{' ' * begin}{bar}")
    return "\n".join(lines)


def _rows(told: Timeline) -> Iterator[Row]:
    for moment in told["moments"]:
        yield Row(moment["what"], moment["after"], moment["after"])
    begun: dict[str, float] = {}
    for report in told["reports"]:
        if report["what"] == "start":
            if report["name"] in begun:
                yield Row(report["name"], begun[report["name"]], None, "not finished")
            begun[report["name"]] = report["after"]
        else:
            # Without its start, which may have been too long ago to be kept, only its end is known.
            start = begun.pop(report["name"], report["after"])
            result = report["result"] or ""
            yield Row(report["name"], start, report["after"], "" if result == "SUCCESS" else result)
    for name, start in begun.items():
        yield Row(name, start, None, "not finished")
    if (home := told["phone_home"]) is not None:
        yield Row("phone home", home["after"], home["after"], home.get("fqdn") or home.get("hostname") or "")
