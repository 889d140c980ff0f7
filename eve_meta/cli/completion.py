"""``eve-meta completion``: let the shell complete commands, options, and the names of domains and taps."""

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


@click.command(epilog=EXAMPLES)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that makes the shell complete eve-meta's commands, options, and names of domains and taps.

    A new shell reads the script from the place that the examples show.
    """
    program = "eve-meta"
    completer = get_completion_class(shell)
    if completer is None:
        raise Problem(f"the installed version of click has no completion for {shell}")
    click.echo(completer(ctx.find_root().command, {}, program, "_EVE_META_COMPLETE").source())
