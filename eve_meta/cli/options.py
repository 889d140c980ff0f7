"""What several commands share: where the configuration and the domain files are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from eve_meta.config import DEFAULT_PATH, load_config
from eve_meta.inventory.files.directory import Directory
from eve_meta.values.problem import Problem

F = TypeVar("F", bound=Callable[..., Any])

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
