"""``eve-meta completion``: the shell completes commands, options and the names of domains."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from eve_meta.values.problem import Problem

SHELLS = ("bash", "zsh", "fish")

EXAMPLES = """\
\b
Examples:
  eve-meta completion bash > /etc/bash_completion.d/eve-meta
  eve-meta completion zsh > /usr/local/share/zsh/site-functions/_eve-meta
  eve-meta completion fish > /etc/fish/completions/eve-meta.fish
  eval "$(eve-meta completion bash)"          for this shell only
"""


@click.command(epilog=EXAMPLES, short_help="Print the shell's completion script.")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete eve-meta's commands, options and domains."""
    program = "eve-meta"
    completer = get_completion_class(shell)
    if completer is None:
        raise Problem(f"this version of click does not know {shell}")
    click.echo(completer(ctx.find_root().command, {}, program, "_EVE_META_COMPLETE").source())
