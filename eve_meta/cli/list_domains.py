"""``eve-meta list``: every domain that this host knows of, whether its guest runs or not."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import attrs
import click

from eve_meta.admin.client import NotRunning, ask
from eve_meta.admin.listing import listed
from eve_meta.admin.questions import LIST, ListedDomain
from eve_meta.cli import terminal
from eve_meta.cli.known import names_in, read_directory
from eve_meta.cli.options import config_option
from eve_meta.config import Config, load_config
from eve_meta.inventory.vmm.process import ProcessTable
from eve_meta.machine import links

HEAD = ("DOMAIN", "STATE", "TAPS", "FROM")

WIDEST_NAME = 24
WIDEST_TAPS = 18

EXAMPLES = """\
\b
Examples:
  eve-meta list
  eve-meta list --json | jq -r '.[] | select(.state == "not-served") | .name'
"""


@click.command(name="list", epilog=EXAMPLES)
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON, for programs.")
def list_domains(config: Path | None, as_json: bool) -> None:
    """List every domain that is known from domain files, libvirt, EVE-OS or a VMM process, running or not.

    STATE is "served" where the guest gets its metadata, "not-served" where a tap of it is there or its VMM runs but
    nothing is served ("eve-meta explain" says why), and "off" else. FROM says where the domain is described, the most
    important place first. Long names are shortened; --json has all of it, with the uuid.

    If no daemon runs, the list is made of domain files and processes alone. Needs root or the group of [admin]
    operators.
    """
    loaded = load_config(config)
    try:
        domains = ask(loaded.admin.socket, LIST)
    except NotRunning as problem:
        domains = _without_daemon(loaded)
        click.echo(f"eve-meta: {problem}; below are domain files and processes alone", err=True)
    if as_json:
        click.echo(json.dumps(domains, indent=2))
        return
    if not domains:
        click.echo("no domains: 'eve-meta new' begins the file of one")
        return
    rows = [(_name(each), each["state"], _shortened(each["taps"])) for each in domains]
    lines = terminal.table(HEAD[:-1], rows, padded=True)
    places = (HEAD[-1], *(_places(each["origins"]) for each in domains))
    for line, where in zip(lines, places, strict=True):
        click.echo(line + terminal.shorten(where, terminal.width() - len(line)))
    if any(each["state"] == "not-served" for each in domains):
        click.echo("\n'eve-meta explain DOMAIN' says why a domain is not served.")


def _name(domain: ListedDomain) -> str:
    return terminal.shorten(domain["name"] or domain["uuid"] or "unknown", WIDEST_NAME)


def _shortened(taps: Sequence[str]) -> str:
    return terminal.shorten(",".join(taps), WIDEST_TAPS) or "-"


def _places(origins: Sequence[str]) -> str:
    """Return *origins* as short as people recognise them: a file by its name, libvirt without the domain's."""
    short = (os.path.basename(each) if each.startswith("/") else each.partition(" of ")[0] for each in origins)
    return ", ".join(dict.fromkeys(short))


def _without_daemon(config: Config) -> list[ListedDomain]:
    directory = read_directory(config.inventory.directory)
    present = links.names()
    owners = ProcessTable(Path("/proc")).scan(present).owners if config.inventory.process else {}
    origins = {domain.instance_uuid: (path,) for path, domain in directory.domains.items()}
    return listed(attrs.evolve(names_in(directory), processes=owners), origins, owners, present)
