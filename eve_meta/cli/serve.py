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


@click.command(epilog=EXAMPLES)
@config_option
@domains_option
def serve(config: Path | None, domains: Path | None) -> None:
    """Run the daemon: take each tap's requests to 169.254.169.254, and answer them as that tap's domain.

    Needs root. SIGTERM, SIGINT or SIGHUP ends the daemon and leaves the host as it was before. SIGUSR1 ends it too, but
    leaves the guests' path in place for the daemon that starts next. The log goes to standard error.
    """
    options = [
        *(["--config", str(config)] if config is not None else []),
        *(["--domains", str(domains)] if domains is not None else []),
    ]
    # Replace this process: the modules that a command imports would stay in the daemon's memory as long as it runs.
    # -I: root must import nothing from the current directory.
    os.execv(sys.executable, [sys.executable, "-I", "-m", "eve_meta.daemon.main", *options])
