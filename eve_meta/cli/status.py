"""``eve-meta status``: the taps, their domains, and what came through them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from eve_meta.admin.client import ask
from eve_meta.admin.questions import STATUS
from eve_meta.cli import terminal
from eve_meta.cli.options import config_option
from eve_meta.config import load_config

HEAD = ("TAP", "TAG", "DOMAIN", "REQUESTS")

WIDEST_NAME = 24
"""The most columns of a domain's name."""

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
    Below it, "notes" counts, among the same requests, those without a session token (no_token), with an invalid one
    (invalid_token), to a host name that is not eve-meta's (wrong_host), and from a guest that did not read enough of
    earlier answers (too_much_unread); "dropped" counts frames by the reason, which bpf/shared.h explains; "dhcp" shows
    the address that the tap gives its guest, and counts its answers. A long name is shortened; --json has all of it,
    with the uuid. Needs a running daemon, and root or the group of [admin] operators.
    """
    answer = ask(load_config(config).admin.socket, STATUS)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    for line in _taps(answer["taps"]):
        click.echo(line)
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
        head = "problem: "
        click.echo(f"{terminal.paint('problem')}: {terminal.indented(problem['text'], len(head))}")


def _taps(taps: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the table of *taps*, in as many columns as the terminal has."""
    names = [terminal.shorten(tap["domain"]["name"] if tap["domain"] else "unknown", WIDEST_NAME) for tap in taps]
    rows = [(tap["tap"], str(tap["tag"]), name) for tap, name in zip(taps, names, strict=True)]
    head, *lines = terminal.table(HEAD[:-1], rows, padded=True)
    left = max(20, terminal.width() - len(head))
    yield head + HEAD[-1]
    for tap, line in zip(taps, lines, strict=True):
        first, *further = [each for text in _counted(tap) for each in terminal.wrapped(text, left)]
        yield line + first
        yield from (" " * len(head) + each for each in further)


def _counted(tap: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield the counts of *tap*, each kind of which begins a line."""
    requests = _counts(tap["requests"])
    yield ["no carrier", *requests] if not tap["carrier"] else requests or ["-"]
    for title, kind in (("notes", "notes"), ("dropped", "drops")):
        if counts := _counts(tap[kind]):
            yield [f"{title}: {counts[0]}", *counts[1:]]
    if (dhcp := tap["dhcp"]) and dhcp["address"]:
        yield [f"dhcp: {dhcp['address']}", *_counts({name: count for name, count in dhcp["answers"].items() if count})]


def _counts(counts: Mapping[str, int]) -> list[str]:
    return [f"{number} × {name}" for name, number in counts.items()]
