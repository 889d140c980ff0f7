"""The domains that a command can name: as the daemon knows them, where it runs, else as the files say."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import click
from click.shell_completion import CompletionItem

from eve_meta.admin.client import NotRunning, ask
from eve_meta.cli.options import read_directory
from eve_meta.config import load_config
from eve_meta.inventory.files.directory import Directory
from eve_meta.inventory.files.domain_file import lines_of
from eve_meta.inventory.merge import Merged
from eve_meta.values.domain import Domain
from eve_meta.values.plain import make_converter
from eve_meta.values.problem import Problem

MAX_NAMES = 20
"""Domains that an error lists: what fits on a screen."""


class Known(Protocol):
    """Domains, and where they are said."""

    where: str

    def names(self) -> Mapping[str, str]:
        """Their names, by uuid."""

    def show(self, uuid: str) -> tuple[Domain, Mapping[str, str]]:
        """One of them, and where each of its fields is said."""

    def hint(self) -> str:
        """What may be the reason that one is not among them."""


class _Files:
    def __init__(self, directory: Directory) -> None:
        self.where = str(directory.path)
        self._directory = directory
        self._by_uuid = {str(domain.instance_uuid): path for path, domain in directory.domains.items()}

    def names(self) -> Mapping[str, str]:
        return {uuid: self._directory.domains[path].display_name for uuid, path in self._by_uuid.items()}

    def show(self, uuid: str) -> tuple[Domain, Mapping[str, str]]:
        path = self._by_uuid[uuid]
        domain = self._directory.domains[path]
        return domain, Merged({path: domain}, domain).sources()

    def hint(self) -> str:
        broken = len(self._directory.files.keys() - self._directory.domains.keys())
        if not broken:
            return ""
        return f" ({broken} {'files are' if broken > 1 else 'file is'} broken: see 'eve-meta check')"


class _Daemon:
    def __init__(self, socket: Path) -> None:
        self.where = f"the daemon on {socket}"
        self._socket = socket
        self._names = {each["uuid"]: each["name"] for each in ask(socket, "list_domains")}

    def names(self) -> Mapping[str, str]:
        return self._names

    def show(self, uuid: str) -> tuple[Domain, Mapping[str, str]]:
        said = ask(self._socket, "show_domain", uuid=uuid)
        return make_converter().structure(said["domain"], Domain), said["sources"]

    def hint(self) -> str:
        return "; 'eve-meta status' says what is wrong with others"


def known_domains(config: Path | None, domains: Path | None) -> Known:
    """The domains that these two options mean: those of the files in *domains*, or all that the daemon knows.

    :raises Problem: when neither can be had; and when no daemon runs, but files alone are not what it would know.
    """
    if domains is not None:
        return _Files(read_directory(domains))
    configured = load_config(config)
    try:
        return _Daemon(configured.admin.socket)
    except NotRunning as problem:
        inventory = configured.inventory
        if inventory.libvirt or inventory.eve:
            raise Problem(f"{problem}; or name a --domains DIR to see what files alone say") from None
    return _Files(read_directory(configured.inventory.directory))


def find_domain(known: Known, wanted: str) -> tuple[Domain, Mapping[str, str]]:
    """The domain whose name or uuid is *wanted*, and where each of its fields is said.

    :raises Problem: when there is none; it says which there are.
    """
    by_uuid = known.names()
    for uuid, name in by_uuid.items():
        if wanted == name or wanted.lower() == uuid:
            return known.show(uuid)
    names = sorted(by_uuid.values())
    near = difflib.get_close_matches(wanted, names, n=3)
    if near:
        others = f"did you mean {' or '.join(near)}?"
    else:
        shown = names[:MAX_NAMES] + ["…"] * (len(names) > MAX_NAMES)
        others = f"there are {', '.join(shown)}" if names else "there are none"
    raise Problem(f"no domain {wanted!r} in {known.where}: {others}{known.hint()}")


def with_lines(sources: Mapping[str, str]) -> Mapping[str, str]:
    """*sources*, each file with the line where the field stands in it."""
    files = {origin for origin in sources.values() if origin.startswith("/") or Path(origin).is_file()}
    lines = {file: lines_of(file, [field for field, origin in sources.items() if origin == file]) for file in files}
    return {
        field: f"{origin}:{line}" if (line := lines.get(origin, {}).get(field)) is not None else origin
        for field, origin in sources.items()
    }


def complete_domain(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names of domains that begin with *incomplete*, for the shell."""
    try:
        names = known_domains(ctx.params.get("config"), ctx.params.get("domains")).names()
    except Problem:
        return []  # in the middle of a line being typed there is no place for it
    return [CompletionItem(name) for name in sorted(names.values()) if name.startswith(incomplete)]
