"""``eve-meta known-hosts``: the host keys that guests reported, as SSH reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from eve_meta.admin.client import ask
from eve_meta.admin.questions import HOST_KEYS, KNOWN_HOSTS, HostKeysOfDomain
from eve_meta.cli.options import config_option, names_argument
from eve_meta.config import load_config
from eve_meta.values.problem import Problem
from eve_meta.values.text import escape_unprintable

EXAMPLES = """\
\b
Examples:
  eve-meta known-hosts web1 >> ~/.ssh/known_hosts
  eve-meta known-hosts > /etc/ssh/ssh_known_hosts2
  eve-meta known-hosts --json | jq -r '.[] | .name + " " + .at'
  ssh -o KnownHostsCommand='/usr/bin/eve-meta known-hosts' web1
"""


@click.command(name="known-hosts", epilog=EXAMPLES)
@names_argument
@click.option("--json", "as_json", is_flag=True, help="Print names and keys as JSON, for programs.")
@config_option
def known_hosts(names: Sequence[str], as_json: bool, config: Path | None) -> None:
    """Print the SSH host keys that guests reported, as lines for OpenSSH's known_hosts.

    Each argument is a domain's name, its uuid, or its tap; without any, all domains that have keys are printed.

    A guest reports its keys if its cloud-config asks for that (phone_home; eve_meta/docs/observing.rst says how). The
    first keys of an instance are kept; "eve-meta rerun" begins a new instance. A line's names are the domain's host
    name and the addresses of its NICs, as the host knows them, and never the guest's word. A name that two domains
    have is left out.

    Needs a running daemon, and root or the group of [admin] operators.
    """
    socket = load_config(config).admin.socket
    found = [ask(socket, HOST_KEYS, name=name) for name in names] if names else ask(socket, KNOWN_HOSTS)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for each in found:
        for line in lines(each):
            click.echo(line)
    for each in found:
        for note in _notes(each):
            click.echo(f"eve-meta: {escape_unprintable(note)}", err=True)
    if not found:
        click.echo("eve-meta: no guest has reported host keys: see eve_meta/docs/observing.rst", err=True)
    if without := [each["name"] for each in found if not each["keys"]]:
        what = ", ".join(map(escape_unprintable, without))
        raise Problem(f"no host keys of {what}: a guest reports them by phone_home, see eve_meta/docs/observing.rst")


def lines(domain: HostKeysOfDomain) -> Iterator[str]:
    """Yield the lines of *domain*: none where no name is its own."""
    if domain["hosts"]:
        yield from (f"{','.join(domain['hosts'])} {key}" for key in domain["keys"])


def _notes(domain: HostKeysOfDomain) -> Iterator[str]:
    for host, others in domain["shared"].items():
        yield f"{host} is left out: {' and '.join((domain['name'], *others))} have it"
