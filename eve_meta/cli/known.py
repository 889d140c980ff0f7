"""The domains that a command can name: as a running daemon knows them, or else as the domain files describe them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol
from uuid import UUID

import attrs
from attrs import frozen

from eve_meta.admin.client import NotPermitted, NotRunning, ask
from eve_meta.admin.questions import LIST_DOMAINS, PUBLIC_DOMAIN, SHOW_DOMAIN
from eve_meta.admin.resolve import NamedDomain, Names
from eve_meta.config import load_config
from eve_meta.inventory.files.directory import Directory
from eve_meta.inventory.files.domain_file import LinesReading
from eve_meta.inventory.libvirt.host import usable_uri
from eve_meta.inventory.merge import Merged, merge
from eve_meta.inventory.readers.command import CommandReader
from eve_meta.inventory.source import InventoryProblem
from eve_meta.values.domain import Domain
from eve_meta.values.plain import make_converter
from eve_meta.values.problem import Problem


@frozen
class Shown:
    """A domain.

    :ivar sources: the source of each of its fields, by the field's path.
    :ivar hidden: the fields that it has and that this user may not see; they are missing in *domain*.
    """

    domain: Domain
    sources: Mapping[str, str]
    hidden: Sequence[str] = ()


class KnownDomains(Protocol):
    """Domains that a NAME can mean."""

    def names(self) -> Names:
        """Return what a NAME can mean among them."""

    def show(self, name: str) -> Shown:
        """Return the domain that *name* means.

        :raises Problem: where *name* means no domain.
        """


class _Files:
    def __init__(self, directory: Directory, for_all: tuple[str, ...] = ()) -> None:
        self._directory = directory
        self._for_all = for_all

    def names(self) -> Names:
        return names_in(self._directory)

    def show(self, name: str) -> Shown:
        uuid = self.names().domain(name).uuid
        merged, problems = with_profiles(self._directory, self._for_all)
        shown = next(each for each in merged if each.domain.instance_uuid == uuid)
        if shown.refused:
            raise Problem("\n".join(str(problem) for problem in problems if problem.file in shown.origins))
        return Shown(shown.domain, shown.sources())


class _Daemon:
    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def names(self) -> Names:
        return Names(
            domains=[
                NamedDomain(name=each["name"], uuid=UUID(each["uuid"]), taps=tuple(each["taps"]))
                for each in ask(self._socket, LIST_DOMAINS)
            ]
        )

    def show(self, name: str) -> Shown:
        structure = make_converter().structure
        try:
            shown = ask(self._socket, SHOW_DOMAIN, name=name)
        except NotPermitted:
            public = ask(self._socket, PUBLIC_DOMAIN, name=name)
            return Shown(structure(public["domain"], Domain), public["sources"], public["hidden"])
        return Shown(structure(shown["domain"], Domain), shown["sources"])


class _DaemonOrFiles:
    def __init__(self, config: Path | None) -> None:
        self._config = load_config(config)
        self._daemon = _Daemon(self._config.admin.socket)

    def names(self) -> Names:
        try:
            return self._daemon.names()
        except NotRunning as problem:
            return self._files(problem).names()

    def show(self, name: str) -> Shown:
        try:
            return self._daemon.show(name)
        except NotRunning as problem:
            return self._files(problem).show(name)

    def _files(self, problem: NotRunning) -> _Files:
        inventory = self._config.inventory
        if usable_uri(inventory.libvirt) or inventory.eve:
            raise Problem(f"{problem}; or use --domains DIR to read domain files alone")
        return _Files(read_directory(inventory.directory), inventory.profiles)


def names_in(directory: Directory) -> Names:
    """Return what a NAME can mean among the domain files in *directory*."""
    return Names(
        domains=[
            NamedDomain(name=domain.display_name, uuid=domain.instance_uuid, taps=domain.taps)
            for domain in directory.domains.values()
        ],
        broken=len(directory.files.keys() - directory.domains.keys()),
    )


def with_profiles(
    directory: Directory, for_all: tuple[str, ...]
) -> tuple[Sequence[Merged], tuple[InventoryProblem, ...]]:
    """Return the domains of *directory*, each with its profiles, and why some cannot have theirs.

    :param for_all: the profiles that all domains have.
    """
    return merge(directory.layers(), profiles=attrs.evolve(directory.profiles, for_all=for_all))


def known_domains(config: Path | None, domains: Path | None) -> KnownDomains:
    """Return the domains that the options ``--config`` and ``--domains`` select.

    They are those of the files in *domains*; else those that the daemon knows; else, where no daemon runs, those of the
    configured files, unless there is a hypervisor, from which the daemon would know more.

    :raises Problem: where they cannot be read. Their methods raise one where this user may not ask the daemon, and
        where no daemon runs but there is a hypervisor.
    """
    return _Files(read_directory(domains)) if domains is not None else _DaemonOrFiles(config)


def read_directory(path: Path, reader: CommandReader | None = None) -> Directory:
    """Read the domain files in the directory *path*.

    :param reader: reads their text; None for one that is started for them.
    :raises Problem: where there is no such directory, or this user may not read it.
    """
    try:
        os.listdir(path)
    except FileNotFoundError:
        raise Problem(f"no directory {path}: make it with 'install -d -m 700 {path}', or name another") from None
    except PermissionError:
        raise Problem(f"cannot read the directory {path}: Permission denied; domain files are for root alone") from None
    except OSError as error:
        raise Problem(f"cannot read the directory {path}: {error.strerror}") from None
    if reader is None:
        return scanned(path)
    directory = Directory(path, reader)
    reader.run(directory.scan())
    return directory


def scanned(path: Path) -> Directory:
    """Read the domain files in *path*; what is wrong with the directory is among its problems."""
    with contextlib.closing(CommandReader()) as reader:
        directory = Directory(path, reader)
        reader.run(directory.scan())
    return directory


def with_lines(sources: Mapping[str, str]) -> Mapping[str, str]:
    """Return *sources*, each file among them with the line on which the field stands."""
    files = {origin for origin in sources.values() if origin.startswith("/") or Path(origin).is_file()}
    with contextlib.closing(CommandReader()) as reader:
        readings = {
            file: LinesReading(file, [field for field, origin in sources.items() if origin == file], reader)
            for file in files
        }
        reader.run(each.reading for each in readings.values())
    lines = {file: each.finish() for file, each in readings.items()}
    return {
        field: f"{origin}:{line}" if (line := lines.get(origin, {}).get(field)) is not None else origin
        for field, origin in sources.items()
    }
