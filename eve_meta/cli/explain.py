"""``eve-meta explain``: why does, or doesn't, this guest get its metadata?"""

from __future__ import annotations

import json
from pathlib import Path

import click

from eve_meta.cli import terminal
from eve_meta.cli.gather import gather
from eve_meta.cli.options import config_option, name_argument
from eve_meta.explain.report import any_wrong, plain, steps
from eve_meta.explain.steps import State, Step
from eve_meta.values.text import escape_unprintable

EXAMPLES = """\
\b
Examples:
  eve-meta explain web1
  eve-meta explain vnet0
  eve-meta explain web1 --json | jq -r .datasource.predicted
"""


@click.command(epilog=EXAMPLES)
@name_argument
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON, for programs.")
@config_option
@click.pass_context
def explain(ctx: click.Context, name: str, as_json: bool, config: Path | None) -> None:
    """Follow the whole path from a guest to its metadata, and show whether each step is right.

    The argument is the domain's name, its uuid, or its tap. Each step is "ok", "wrong" or "unknown"; below a step that
    is wrong is the command that fixes it. The last step is the datasource that cloud-init will choose in this guest, as
    far as its virtual hardware decides that. The exit status is 1 if a step is wrong.

    Needs root, or the group of [admin] operators and a running daemon; then what only root may read, such as the labels
    of the guest's disks, is unknown.
    """
    facts = gather(name, config)
    if as_json:
        click.echo(json.dumps(plain(facts), indent=2))
    else:
        _show(steps(facts))
    ctx.exit(1 if any_wrong(facts) else 0)


def _show(shown: list[Step]) -> None:
    several = len({step.tap for step in shown if step.tap is not None}) > 1
    names = {id(step): _name(step, several) for step in shown}
    state_width, name_width = max(len(state.value) for state in State), max(map(len, names.values()))
    indent = " " * (state_width + name_width + 4)
    for step in shown:
        head = terminal.paint(step.verdict.state.value, state_width)
        text = terminal.indented(escape_unprintable(step.text), len(indent))
        click.echo(f"{head}  {names[id(step)].ljust(name_width)}  {text}")
        if step.mend is not None:
            # Never wrapped, so that it can be copied.
            click.echo(f"{indent}{terminal.paint('→')} {escape_unprintable(step.mend)}")
    wrong = sum(step.verdict.state is State.WRONG for step in shown)
    if wrong:
        click.echo("\n1 step is wrong." if wrong == 1 else f"\n{wrong} steps are wrong; begin with the first.")


def _name(step: Step, several: bool) -> str:
    return f"{step.verdict.step} {step.tap}" if several and step.tap is not None else step.verdict.step
