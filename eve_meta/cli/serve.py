"""``eve-meta serve``: the daemon."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from eve_meta.cli.options import config_option, domains_option

EXAMPLES = """\
\b
Examples:
  eve-meta serve
  eve-meta serve --domains ./domains.d
  eve-meta serve --config ./eve-meta.toml
"""


@click.command(epilog=EXAMPLES, short_help="Run the daemon.")
@config_option
@domains_option
def serve(config: Path | None, domains: Path | None) -> None:
    """Steer every tap's requests for 169.254.169.254 to this daemon and answer them, until told to end.

    Needs root. SIGTERM, SIGINT or SIGHUP end it, and then the host is as it was before. SIGUSR1 ends it, but leaves
    the way to guests for the daemon that starts next. Its log goes to standard error.
    """
    options = [
        *(["--config", str(config)] if config is not None else []),
        *(["--domains", str(domains)] if domains is not None else []),
    ]
    # In this process's place: what commands are made of would stay in the daemon's memory for as long as it lives.
    # -I: as root, nothing is imported from the current directory.
    os.execv(sys.executable, [sys.executable, "-I", "-m", "eve_meta.daemon.main", *options])
