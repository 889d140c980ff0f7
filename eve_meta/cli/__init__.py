"""The command ``eve-meta``: one module for each of its commands, imported when the command is called.

The law: every error that a person can fix ends here as a line on standard error and an exit status. The status is 1
where something went wrong and 2 where the command line is wrong; 130 (Ctrl-C) and 141 (the reader of the output has
gone) are what shells use.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import click
from click.shell_completion import CompletionItem

from eve_meta.cli.terminal import colours
from eve_meta.values.problem import Problem
from eve_meta.values.text import suggestion

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "check": "Check the configuration and all domain files.",
        "completion": "Print the shell's completion script.",
        "doctor": "Check that this host can run the daemon.",
        "events": "Show what happens: taps, domains, first reads, refusals.",
        "explain": "Explain why a guest does, or doesn't, get its metadata.",
        "known-hosts": "Print SSH host keys of guests, for known_hosts.",
        "list": "List every domain that is known, running or not.",
        "new": "Write a new domain file to begin with.",
        "password": "Print or clear the password that a guest posted.",
        "render": "Print what a guest would read.",
        "rerun": "Let cloud-init do once more what it does once.",
        "serve": "Run the daemon.",
        "smbios": "Print or write what makes a guest's cloud-init ask eve-meta.",
        "status": "Show taps, domains, requests and dropped frames.",
        "timeline": "Show the steps of a guest's boot, with their times.",
    }
)
"""The commands, each with its line of ``eve-meta --help``. The module of the same name, with "_" for "-", holds the
command; that of "list" is ``list_domains``."""


class _ReaderGone(Exception):
    """The reader of standard output has closed it."""


class _LazyGroup(click.Group):
    """A group that imports the module of a command when the command is called, and at no other time.

    All commands together import 600 modules, which takes more than half a second. Neither the list of commands nor its
    completion by the shell needs one of them.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        # A module called "list" would hide Python's own from this one.
        name = "list_domains" if cmd_name == "list" else cmd_name.replace("-", "_")
        command: click.Command = getattr(importlib.import_module(f"eve_meta.cli.{name}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            hint = suggestion(name, COMMANDS) or f"the commands are {', '.join(COMMANDS)}"
            raise click.UsageError(f"no command {name!r}: {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        commands = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return commands + click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # click would exit with a status of its own, which differs between its versions.
            raise _ReaderGone from None


EXAMPLES = """\
\b
Examples:
  eve-meta new web1                                 begin the file of a domain
  eve-meta check                                    are all files right?
  eve-meta render web1 /openstack/latest/user_data  what will the guest read?
"""


@click.group(
    cls=_LazyGroup,
    epilog=EXAMPLES,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="eve-meta", message="%(package)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Serve instance metadata at 169.254.169.254 to every VM of this hypervisor, identified by its tap device."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(2)


def main() -> None:
    """Run the command that ``sys.argv`` names, and exit."""
    try:
        status = cli.main(prog_name="eve-meta", standalone_mode=False, color=colours())
        sys.stdout.flush()
    except Problem as problem:
        _complain(str(problem))
        status = problem.status
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        _complain(error.format_message() + (f" (see '{context.command_path} --help')" if context else ""))
        status = error.exit_code
    except click.Abort:
        status = 130
    except (BrokenPipeError, _ReaderGone):
        # Python flushes standard output once more when it ends, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    sys.exit(status)


def _complain(text: str) -> None:
    for line in text.splitlines():
        click.echo(f"eve-meta: {line}", err=True)
