"""``eve-meta rerun``: let the guest do once more what it does once."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from eve_meta.admin.client import ask
from eve_meta.admin.questions import RERUN, SHOW_DOMAIN, UNDO_RERUN
from eve_meta.cli.options import config_option, name_argument
from eve_meta.config import load_config
from eve_meta.values.domain import Domain
from eve_meta.values.plain import make_converter
from eve_meta.values.problem import Problem

EXAMPLES = """\
\b
Examples:
  eve-meta rerun web1
  eve-meta rerun web1 --yes
  eve-meta rerun web1 --undo
"""

CONSEQUENCES = """\
At its next boot the guest takes itself for a new machine. cloud-init then does
again what it does once for each instance:
  - user data and vendor data: packages, write_files, runcmd and scripts
  - users, their passwords and SSH keys, and the host name
  - new SSH host keys, unless user data say 'ssh_deletekeys: false'
  - disk_setup and fs_setup, which erase where they say 'overwrite: true'
It undoes nothing of what it did before. cloudbase-init runs all its plugins
again; it can post a new password after 'eve-meta password NAME --clear'.
Ignition runs at the first boot of a disk alone, and not again.
"""

CACHED = """\
If the guest's datasource is OpenStack, cloud-init does not ask for its id while
the one that it knows is the uuid in its DMI. Then run in the guest, too:
  cloud-init clean
"""


@click.command(epilog=EXAMPLES)
@name_argument
@click.option("--undo", is_flag=True, help="Give the guest its own id back.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@config_option
def rerun(name: str, undo: bool, yes: bool, config: Path | None) -> None:
    """Let cloud-init in the guest do once more, at its next boot, what it does once for each instance.

    The argument is the domain's name, its uuid, or its tap.

    The guest reads a new instance id, in all trees. What it will do again is shown, and confirmed, first. The id stays
    when the daemon or the host restarts and when the domain's file changes, until the next rerun or --undo. For
    everybody else the domain keeps its uuid.

    Needs root and a running daemon, which keeps the id.
    """
    socket = load_config(config).admin.socket
    if undo:
        back = ask(socket, UNDO_RERUN, name=name)
        click.echo(f"{back['name']} has its own instance id again: {back['instance_id']}")
        return
    domain = make_converter().structure(ask(socket, SHOW_DOMAIN, name=name)["domain"], Domain)
    click.echo(f"{domain.display_name} ({domain.instance_uuid}) gets a new instance id.\n{CONSEQUENCES}")
    if domain.instance_id is None:
        click.echo(CACHED)
    if not yes and not click.confirm(f"Shall the guest of {domain.display_name} do that?"):
        raise Problem("nothing was changed")
    # By its uuid: a tap that was named may be another domain's by now.
    given = ask(socket, RERUN, name=str(domain.instance_uuid))
    click.echo(f"{given['name']} has the instance id {given['instance_id']}")
    click.echo(f"  {shlex.join(['eve-meta', 'rerun', name, '--undo'])}   # takes it back")
