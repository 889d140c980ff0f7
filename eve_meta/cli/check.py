"""``eve-meta check``: are the configuration and the domain files correct?"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import click

from eve_meta.cli import terminal
from eve_meta.cli.known import read_directory, with_profiles
from eve_meta.cli.leases import lease_warnings
from eve_meta.cli.options import PATH, config_option
from eve_meta.cli.place import place
from eve_meta.cli.refusals import refusals
from eve_meta.config import DEFAULT_PATH, ConfigProblem, SteeringConfig, line_of, load_config
from eve_meta.inventory.files.advice import advice, passed_over, schema_path
from eve_meta.inventory.files.domain_file import MAX_FILE, DomainFile
from eve_meta.inventory.files.reading import read
from eve_meta.inventory.readers.command import CommandReader
from eve_meta.inventory.source import InventoryProblem

EXAMPLES = """\
\b
Examples:
  eve-meta check
  eve-meta check ./domains.d
  eve-meta check --json | jq -r '.problems[].file'
"""


@click.command(epilog=EXAMPLES)
@click.argument("directory", metavar="[DIR]", type=PATH, required=False)
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, for programs.")
@click.pass_context
def check(ctx: click.Context, directory: Path | None, config: Path | None, as_json: bool) -> None:
    """Print every error in the configuration and in all domain files, each with its file and line.

    Warnings tell what a guest will pass over, or what its author hardly means: user data that no cloud-init reads,
    cloud-config that does not fit cloud-init's own schema, a damaged public key, a router out of reach, what has no
    room in an answer to DHCP, a file that is no domain file by its name.

    DIR is the directory of domain files; without it, the one that the configuration names. The exit status is 1 if
    anything is wrong; warnings alone leave it 0.
    """
    path = config or DEFAULT_PATH
    configured = None
    steering = SteeringConfig()
    problems: list[InventoryProblem] = []
    try:
        loaded = load_config(config)
        configured, steering = loaded.inventory, loaded.steering
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        problems += [
            InventoryProblem(file=str(path), line=line_of(text, key), field=key, message=message)
            for key, message in refusals(loaded)
        ]
    except ConfigProblem as error:
        problems += [
            InventoryProblem(file=str(path), line=each.line, column=each.column, field=each.field, message=each.message)
            for each in error.mistakes
        ]
    directory = directory or (None if configured is None else configured.directory)
    files: Mapping[str, DomainFile] = {}
    # A broken configuration does not show where the files are.
    if directory is not None:
        schema = schema_path()
        with contextlib.closing(CommandReader(schema)) as reader:
            there = read_directory(directory, reader)
            files = {path: file for folder in there.folders for path, file in folder.files.items()}
            merged, refused = with_profiles(there, () if configured is None else configured.profiles)
            found = [*there.problems, *refused, *lease_warnings(merged, steering, reader)]
            for folder, kind in zip(there.folders, ("advice", "advice on profile"), strict=True):
                found += [*passed_over(folder), *advice(folder, reader, kind)]
            found += _missing(schema, files.values())
        problems += sorted(found, key=lambda problem: (problem.file, problem.line or 0))
    errors = [problem for problem in problems if not problem.warning]
    good = len(files.keys() - {problem.file for problem in errors})
    if as_json:
        summary = {"files": len(files), "good": good, "errors": len(errors)}
        click.echo(json.dumps({**summary, "problems": [problem.plain for problem in problems]}, indent=2))
    else:
        for problem in problems:
            click.secho(str(problem), **terminal.STYLES["warning" if problem.warning else "problem"])
            if problem.line is not None and problem.column is not None:
                content = read(problem.file, MAX_FILE).content or b""
                is_open = problem.file == str(path)
                for line in place(content, problem.line, problem.column, is_open=is_open):
                    click.echo(line)
        warnings = len(problems) - len(errors)
        click.echo(f"{_count(len(files), 'file')}, {good} good, {_count(len(errors), 'problem')}", nl=False)
        click.echo(f", {_count(warnings, 'warning')}" if warnings else "")
    ctx.exit(1 if errors else 0)


def _missing(schema: Path, files: Iterable[DomainFile]) -> Iterator[InventoryProblem]:
    if not schema.exists() and any(map(_is_cloud_config, files)):
        message = "no such file: cloud-config is not compared with cloud-init's schema; the package and scripts/install"
        yield InventoryProblem(file=str(schema), message=f"{message} bring it along", warning=True)


def _is_cloud_config(file: DomainFile) -> bool:
    user_data = None if file.domain is None else file.domain.user_data
    return user_data is not None and bytes(user_data).lstrip().lower().startswith(b"#cloud-config")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
