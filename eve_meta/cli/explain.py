"""``eve-meta explain``: why does, or doesn't, this guest get its metadata?"""

from __future__ import annotations

import json
import shutil
import textwrap
from pathlib import Path

import click

from eve_meta.cli.gather import gather
from eve_meta.cli.options import config_option, name_argument
from eve_meta.explain.report import any_wrong, plain, steps
from eve_meta.explain.steps import State, Step
from eve_meta.values.text import escape_unprintable

STYLES = {
    State.OK: {"fg": "green"},
    State.WRONG: {"fg": "red", "bold": True},
    State.UNKNOWN: {"fg": "yellow"},
}

WIDEST = 120
"""The most columns of a line, however wide the terminal is: longer lines are hard to read."""

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
    far as its virtual hardware decides that. The exit status is 1 if a step is wrong. Needs root.
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
    width = min(WIDEST, shutil.get_terminal_size((WIDEST, 0)).columns)
    for step in shown:
        state = step.verdict.state
        lines = textwrap.wrap(escape_unprintable(step.text), max(20, width - len(indent)), break_on_hyphens=False)
        head = click.style(state.value.ljust(state_width), **STYLES[state])  # type: ignore[arg-type]
        click.echo(f"{head}  {names[id(step)].ljust(name_width)}  {f'{chr(10)}{indent}'.join(lines)}")
        if step.mend is not None:
            # Never wrapped, so that it can be copied.
            click.echo(f"{indent}{click.style('→', bold=True)} {escape_unprintable(step.mend)}")
    wrong = sum(step.verdict.state is State.WRONG for step in shown)
    if wrong:
        click.echo("\n1 step is wrong." if wrong == 1 else f"\n{wrong} steps are wrong; begin with the first.")


def _name(step: Step, several: bool) -> str:
    return f"{step.verdict.step} {step.tap}" if several and step.tap is not None else step.verdict.step
