"""``eve-meta timeline``: the boot of a guest as a picture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
from attrs import frozen

from eve_meta.admin.client import ask
from eve_meta.admin.questions import TIMELINE, Timeline
from eve_meta.cli import terminal
from eve_meta.cli.options import config_option, name_argument
from eve_meta.config import load_config
from eve_meta.values.text import escape_unprintable

NARROWEST = 20
"""The fewest columns of a bar."""

EXAMPLES = """\
\b
Examples:
  eve-meta timeline web1
  eve-meta timeline web1 --json | jq '.[0].moments'
"""


@click.command(epilog=EXAMPLES)
@name_argument
@click.option("--json", "as_json", is_flag=True, help="Print the timeline as JSON, for programs.")
@config_option
def timeline(name: str, as_json: bool, config: Path | None) -> None:
    """Show when a guest was first seen, first asked, and got its documents, in seconds since its tap appeared.

    The argument is the domain's name, its uuid, or its tap. A domain has a timeline for each of its taps.

    A guest whose cloud-config enables it also reports the stages of its cloud-init (eve_meta/docs/observing.rst says
    how). Their names are the guest's word; all times are the host's. Needs a running daemon, and root or the group
    of [admin] operators.
    """
    timelines = ask(load_config(config).admin.socket, TIMELINE, name=name)
    if as_json:
        click.echo(json.dumps(timelines, indent=2))
        return
    click.echo("\n\n".join(draw(each, terminal.width()) for each in timelines))


@frozen
class Row:
    """A line of the picture: a moment, where *end* is *start*, or a span; an *end* of None is unknown."""

    text: str
    start: float
    end: float | None
    more: str = ""


def draw(timeline: Timeline, width: int) -> str:
    """Draw *timeline*, which is one tap's, in *width* columns, or more where these are too few."""
    rows = sorted(_rows(timeline), key=lambda row: row.start)
    first = min(row.start for row in rows)
    last = max(row.start if row.end is None else row.end for row in rows)
    texts = [escape_unprintable(f"{row.text} {row.more}".rstrip()) for row in rows]
    times = [f"{row.start:+.3f} s" for row in rows]
    text_width, time_width = max(map(len, texts)), max(map(len, times))
    columns = max(NARROWEST, width - text_width - time_width - 6)
    scale = (columns - 1) / (last - first) if last > first else 0.0
    tap, name = timeline["tap"], timeline["name"]
    title = tap if name is None else f"{name} ({timeline['uuid']}) on {tap}"
    lines = [escape_unprintable(f"{title}, up since {timeline['since']}"), ""]
    for row, text, at in zip(rows, texts, times, strict=True):
        begin = round((row.start - first) * scale)
        end = begin if row.end is None else round((row.end - first) * scale)
        bar = "*" if row.start == row.end else "=" * (end - begin + 1) if row.end is not None else ">"
        lines.append(f"{text:<{text_width}}  {at:>{time_width}} |{' ' * begin}{bar}")
    return "\n".join(lines)


def _rows(timeline: Timeline) -> Iterator[Row]:
    for moment in timeline["moments"]:
        yield Row(moment["what"], moment["after"], moment["after"])
    begun: dict[str, float] = {}
    for report in timeline["reports"]:
        if report["what"] == "start":
            if report["name"] in begun:
                yield Row(report["name"], begun[report["name"]], None, "not finished")
            begun[report["name"]] = report["after"]
        else:
            # The start may be too long ago to be kept; then only the end is known.
            start = begun.pop(report["name"], report["after"])
            result = report["result"] or ""
            yield Row(report["name"], start, report["after"], "" if result == "SUCCESS" else result)
    for name, start in begun.items():
        yield Row(name, start, None, "not finished")
    if (home := timeline["phone_home"]) is not None:
        yield Row("phone home", home["after"], home["after"], home.get("fqdn") or home.get("hostname") or "")
