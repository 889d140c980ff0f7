"""What several commands share: where the configuration and the domain files are."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from eve_meta.config import DEFAULT_PATH, load_config
from eve_meta.domain import Domain
from eve_meta.errors import Problem
from eve_meta.inventory.directory import Directory

F = TypeVar("F", bound=Callable[..., Any])

MAX_NAMES = 20
"""Domains that an error lists: what fits on a screen."""

# Not readable=True, which is the default: read_directory() and load_config() say better what is wrong.
PATH = click.Path(readable=False, path_type=Path)


def config_option(command: F) -> F:
    """``--config FILE``, the parameter *config*."""
    text = f"The configuration file.  [default: {DEFAULT_PATH}, if it exists]"
    return click.option("--config", metavar="FILE", type=PATH, help=text)(command)


def domains_option(command: F) -> F:
    """``--domains DIR``, the parameter *domains*."""
    text = "The directory of domain files.  [default: as configured]"
    return click.option("--domains", metavar="DIR", type=PATH, help=text)(command)


def domains_directory(config: Path | None, domains: Path | None) -> Path:
    """The directory that the two options mean.

    :raises Problem: when the configuration is wrong.
    """
    return domains if domains is not None else load_config(config).inventory.directory


def read_directory(path: Path) -> Directory:
    """The domain files in *path*, read.

    :raises Problem: when there is no such directory, or this user may not read it.
    """
    try:
        os.listdir(path)
    except FileNotFoundError:
        raise Problem(f"no directory {path}: make it with 'install -d -m 700 {path}', or name another") from None
    except PermissionError:
        raise Problem(f"cannot read the directory {path}: Permission denied; domain files are for root alone") from None
    except OSError as error:
        raise Problem(f"cannot read the directory {path}: {error.strerror}") from None
    directory = Directory(path)
    for _ in directory.scan():
        pass
    return directory


def find_domain(directory: Directory, wanted: str) -> Domain:
    """The domain whose name or uuid is *wanted*.

    :raises Problem: when there is none; it says which there are.
    """
    for domain in directory.domains.values():
        if wanted == domain.name or wanted.lower() == str(domain.instance_uuid):
            return domain
    names = sorted(domain.display_name for domain in directory.domains.values())
    near = difflib.get_close_matches(wanted, names, n=3)
    if near:
        known = f"did you mean {' or '.join(near)}?"
    else:
        shown = names[:MAX_NAMES] + ["…"] * (len(names) > MAX_NAMES)
        known = f"there are {', '.join(shown)}" if names else "there are none"
    broken = len(directory.files.keys() - directory.domains.keys())
    if broken:
        known += f" ({broken} {'files are' if broken > 1 else 'file is'} broken: see 'eve-meta check')"
    raise Problem(f"no domain {wanted!r} in {directory.path}: {known}")


def complete_domain(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names of domains that begin with *incomplete*, for the shell."""
    try:
        directory = read_directory(domains_directory(ctx.params.get("config"), ctx.params.get("domains")))
    except Problem:
        return []  # in the middle of a line being typed there is no place for it
    names = sorted(domain.display_name for domain in directory.domains.values())
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
