"""``eve-meta password``: what did the guest post as its password?"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from eve_meta.admin.client import ask
from eve_meta.admin.questions import CLEAR_PASSWORD, PASSWORD
from eve_meta.cli.known import NAME, complete_name
from eve_meta.cli.options import config_option
from eve_meta.config import load_config
from eve_meta.values.problem import Problem
from eve_meta.values.text import escape_unprintable

EXAMPLES = """\
\b
Examples:
  eve-meta password win1 | base64 -d | openssl pkeyutl -decrypt -inkey key.pem
  eve-meta password win1 --clear
  eve-meta password win1 --json | jq -r .password
"""


@click.command(epilog=EXAMPLES, short_help="Print or clear the password that a guest posted.")
@click.argument("name", metavar=NAME, shell_complete=complete_name)
@click.option("--clear", is_flag=True, help="Forget it, so that the guest may post another.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON, for programs; null where there is none.")
@config_option
def password(name: str, clear: bool, as_json: bool, config: Path | None) -> None:
    """Print the password that the guest NAME posted, as it posted it. NAME may be a uuid, too.

    Windows guests (cloudbase-init) post one at their first boot, encrypted with the first of the domain's public keys
    and in base64. It is kept until it is cleared; until then the guest cannot post another.

    The daemon must run: it alone knows the uuid of a domain whose file has none, and it alone writes passwords.
    """
    socket = load_config(config).admin.socket
    if clear:
        ask(socket, CLEAR_PASSWORD, name=name)
        return
    said = ask(socket, PASSWORD, name=name)
    if as_json:
        click.echo(json.dumps(said, indent=2))
    elif said["password"] is None:
        raise Problem(f"the guest of {name} has posted no password")
    elif sys.stdout.isatty():
        # A guest wrote it, and a terminal obeys escape sequences.
        click.echo(escape_unprintable(said["password"], keep="\n"))
    else:
        click.echo(said["password"])
