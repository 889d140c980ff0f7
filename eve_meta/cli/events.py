"""``eve-meta events``: what happens to taps, domains and guests on this host."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from eve_meta.admin.client import ask, follow
from eve_meta.admin.questions import EVENTS
from eve_meta.cli.options import config_option
from eve_meta.config import load_config
from eve_meta.values.text import escape_unprintable

EXAMPLES = """\
\b
Examples:
  eve-meta events --follow
  eve-meta events --json | jq 'select(.event == "first-fetch")'
"""

_SHOWN_APART = ("time", "event", "tap", "tag", "ifindex", "uuid", "name")


@click.command(epilog=EXAMPLES)
@click.option(
    "--follow", "-f", "following", is_flag=True, help="Keep running, and show each further event as it happens."
)
@click.option("--json", "as_json", is_flag=True, help="Print each event as a line of JSON, for programs.")
@config_option
def events(following: bool, as_json: bool, config: Path | None) -> None:
    """Show the daemon's latest events, a thousand at most, the oldest first.

    Events are: a tap appears or goes; the domain behind a tap becomes known or unknown; a domain reads a document for
    the first time; guests are refused (only a sample is shown); a removed piece of the guests' path to the daemon is
    restored; a worker starts. Needs a running daemon, and root or the group of [admin] operators.
    """
    path = load_config(config).admin.socket
    for event in follow(path) if following else ask(path, EVENTS):
        click.echo(json.dumps(event) if as_json else _line(event))


def _line(event: Mapping[str, Any]) -> str:
    """Return *event* as a line for people."""
    subject = [str(event[name]) for name in ("tap", "name") if event.get(name) is not None]
    more = [f"{name}={value}" for name, value in event.items() if name not in _SHOWN_APART]
    return escape_unprintable(
        f"{event['time']}  {event['event']:<14}  {' '.join(subject):<24}  {' '.join(more)}".rstrip()
    )
