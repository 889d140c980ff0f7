"""``eve-meta events``: what happens on this host."""

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

_OWN = ("time", "event", "tap", "tag", "ifindex", "uuid", "name")


@click.command(epilog=EXAMPLES, short_help="Show what happens: taps, domains, first reads, refusals.")
@click.option("--follow", "-f", "following", is_flag=True, help="Go on, and show each event as it happens.")
@click.option("--json", "as_json", is_flag=True, help="Print each as a line of JSON, for programs.")
@config_option
def events(following: bool, as_json: bool, config: Path | None) -> None:
    """Show the latest thousand events of the daemon, the oldest first.

    Taps appear and go, their domains are found and lost, a domain reads a document for the first time, guests are
    refused (a sample), a piece of the way is mended, a worker starts.
    """
    path = load_config(config).admin.socket
    for event in follow(path) if following else ask(path, EVENTS):
        click.echo(json.dumps(event) if as_json else _line(event))


def _line(event: Mapping[str, Any]) -> str:
    """*event* for people."""
    who = [str(event[name]) for name in ("tap", "name") if event.get(name) is not None]
    more = [f"{name}={value}" for name, value in event.items() if name not in _OWN]
    return escape_unprintable(f"{event['time']}  {event['event']:<14}  {' '.join(who):<24}  {' '.join(more)}".rstrip())
