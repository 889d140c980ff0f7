"""Options and arguments that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from eve_meta.config import DEFAULT_PATH, load_config
from eve_meta.values.problem import Problem

CONFIG_VARIABLE = "EVE_META_CONFIG"
"""The variable of the environment that names the configuration file where ``--config`` does not."""

F = TypeVar("F", bound=Callable[..., Any])

# Not readable=True, which is the default: read_directory() and load_config() explain better what is wrong.
PATH = click.Path(readable=False, path_type=Path)


def name_argument(command: F) -> F:
    """Add the argument NAME, *command*'s parameter ``name``, which :mod:`eve_meta.admin.resolve` resolves."""
    return click.argument("name", metavar="NAME|UUID|TAP", shell_complete=complete_name)(command)


def names_argument(command: F) -> F:
    """Add the argument NAME, which may be given several times or not at all, as *command*'s parameter ``names``."""
    return click.argument("names", metavar="[NAME|UUID|TAP]...", nargs=-1, shell_complete=complete_name)(command)


def config_option(command: F) -> F:
    """Add ``--config FILE``, *command*'s parameter ``config``."""
    text = f"The configuration file.  [default: ${CONFIG_VARIABLE}, or else {DEFAULT_PATH}, if it exists]"
    return click.option("--config", metavar="FILE", type=PATH, envvar=CONFIG_VARIABLE, help=text)(command)


def domains_option(command: F) -> F:
    """Add ``--domains DIR``, *command*'s parameter ``domains``."""
    text = "The directory of domain files.  [default: as configured]"
    return click.option("--domains", metavar="DIR", type=PATH, help=text)(command)


def domains_directory(config: Path | None, domains: Path | None) -> Path:
    """Return the directory of domain files that the two options select.

    :raises Problem: where the configuration is wrong.
    """
    return domains if domains is not None else load_config(config).inventory.directory


def complete_name(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return what the shell offers for a NAME that begins with *incomplete*."""
    # Imported only here: a command that asks the daemon reads no domain file, and starts sooner without PyYAML.
    from eve_meta.cli.known import known_domains

    try:
        names = known_domains(ctx.params.get("config"), ctx.params.get("domains")).names()
    except Problem:
        return []  # a line that is being typed has no place for an error
    return [CompletionItem(name) for name in names.completions(incomplete)]
