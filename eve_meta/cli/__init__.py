"""The command ``eve-meta``: one file a command, each imported when it is called.

Whatever a person can mend ends here as a line on standard error and an exit status: 1 for what went wrong, 2 for what
was typed wrong, 130 for Ctrl-C and 141 for a reader of our output that went away, as shells have it.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from eve_meta.values.problem import Problem

COMMANDS = (
    "check",
    "completion",
    "doctor",
    "events",
    "explain",
    "new",
    "password",
    "render",
    "serve",
    "smbios",
    "status",
    "timeline",
)
"""Each is the module of its name, and in it the command of its name."""


class _ReaderGone(Exception):
    """Whoever read our output reads no more."""


class _Lazy(click.Group):
    """A group whose commands' modules are imported when they are needed: ``check`` must not wait for Twisted."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"eve_meta.cli.{cmd_name}"), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # click has an exit status of its own for it, another in each version.
            raise _ReaderGone from None


EXAMPLES = """\
\b
Examples:
  eve-meta new web1                                 begin the file of a domain
  eve-meta check                                    are all files right?
  eve-meta render web1 /openstack/latest/user_data  what will the guest read?
"""


@click.group(
    cls=_Lazy,
    epilog=EXAMPLES,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="eve-meta", message="%(package)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Instance metadata at 169.254.169.254 for every VM of this hypervisor, told apart by tap device."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(2)


def main() -> None:
    """Run the command that ``sys.argv`` names, and exit."""
    try:
        status = cli.main(prog_name="eve-meta", standalone_mode=False)
        sys.stdout.flush()
    except Problem as problem:
        _say(str(problem))
        status = problem.status
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        _say(error.format_message() + (f" (see '{context.command_path} --help')" if context else ""))
        status = error.exit_code
    except click.Abort:
        status = 130
    except (BrokenPipeError, _ReaderGone):
        # Python flushes standard output once more when it ends, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    sys.exit(status)


def _say(text: str) -> None:
    for line in text.splitlines():
        click.echo(f"eve-meta: {line}", err=True)
