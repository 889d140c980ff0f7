"""``eve-meta password``: which password did the guest post?"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from eve_meta.admin.client import ask
from eve_meta.admin.questions import CLEAR_PASSWORD, PASSWORD
from eve_meta.cli.options import config_option, name_argument
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


@click.command(epilog=EXAMPLES)
@name_argument
@click.option("--clear", is_flag=True, help="Delete the password, so that the guest may post another.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the password as JSON, for programs; null if there is none."
)
@config_option
def password(name: str, clear: bool, as_json: bool, config: Path | None) -> None:
    """Print the password that a guest posted, exactly as posted.

    The argument is the domain's name, its uuid, or its tap.

    A Windows guest (cloudbase-init) posts a password at its first boot: encrypted with the first of the domain's public
    keys, in base64. It is kept until you clear it; until then the guest cannot post another.

    Needs root and a running daemon, which alone knows the uuid of a domain whose file has none, and alone writes
    passwords.
    """
    socket = load_config(config).admin.socket
    if clear:
        ask(socket, CLEAR_PASSWORD, name=name)
        return
    answer = ask(socket, PASSWORD, name=name)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    elif answer["password"] is None:
        raise Problem(f"the guest of {name} has posted no password")
    elif sys.stdout.isatty():
        # A guest wrote it, and a terminal obeys escape sequences.
        click.echo(escape_unprintable(answer["password"], keep="\n"))
    else:
        click.echo(answer["password"])
