"""The directory of domain files, with that of their profiles; and the domains that the files make together.

No two files may claim one uuid, name or tap: the file that had it first keeps it. A file that is broken, or claims what
another file has, leaves its domain as it last was. A file that is deleted takes its domain along.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from eve_meta.inventory.files.domain_file import DomainFile, FileReading
from eve_meta.inventory.files.folder import Folder
from eve_meta.inventory.files.profiles import ProfileFiles
from eve_meta.inventory.profiles import Profiles
from eve_meta.inventory.readers.reading import Reader, Reading
from eve_meta.inventory.source import InventoryProblem, Layer, unreadable
from eve_meta.values.domain import Domain

PROFILES = "profiles.d"
"""The directory of profiles, beside that of the domain files."""

FEW = 10
"""The most changed files that are compared with all others one by one: each takes 2 ms among 4,000."""

_Claim = tuple[str, str]


class Directory:
    """Domain files as they were at the last :meth:`scan`.

    :param path: the directory; it may be missing.
    :param reader: reads the text of the files.

    :ivar domains: the domains, by the paths of their files.
    """

    def __init__(self, path: Path, reader: Reader) -> None:
        self.path = path
        self._folder = Folder(path, lambda file: FileReading(file, reader))
        self._profiles = ProfileFiles(path.with_name(PROFILES), reader)
        self.domains: Mapping[str, Domain] = {}
        self._problems: tuple[InventoryProblem, ...] = ()
        self._lines: Mapping[str, Mapping[str, int]] = {}
        self._conflicts: Mapping[str, list[InventoryProblem]] = {}

    @property
    def files(self) -> Mapping[str, DomainFile]:
        """Every domain file by its path, in the order of the names."""
        return self._folder.files

    @property
    def profiles(self) -> Profiles:
        """The profiles that can be used."""
        return self._profiles.profiles

    @property
    def folders(self) -> tuple[Folder, Folder]:
        """The domain files, and those of profiles."""
        return self._folder, self._profiles.folder

    @property
    def problems(self) -> tuple[InventoryProblem, ...]:
        """What is wrong, file by file."""
        return self._problems + self._profiles.problems

    def scan(self, suspects: Collection[str] | None = None) -> Iterator[Reading[Any] | None]:
        """As :meth:`eve_meta.inventory.files.watch.Files.scan`.

        Profiles come first, so that a domain file and a profile that it names may be written together.
        """
        of_profiles = None if suspects is None else {path for path in suspects if self._is_a_profiles(path)}
        yield from self._profiles.scan(of_profiles)
        yield from self._folder.scan(None if suspects is None else set(suspects).difference(of_profiles or ()))
        error, gone = self._folder.error, self._folder.is_gone
        if error is None:
            self._put(self._folder.changed)
            return
        if not gone:
            self._problems = (unreadable(self.path, error),)
            return
        self.domains, self._conflicts = {}, {}
        message = "no such directory; domain files are read as soon as there is one"
        self._problems = (InventoryProblem(file=str(self.path), message=message, warning=True),)

    def _is_a_profiles(self, path: str) -> bool:
        return os.path.dirname(path) == os.path.abspath(self._profiles.folder.path)

    def retry_at(self) -> float | None:
        """As :meth:`eve_meta.inventory.files.watch.Files.retry_at`."""
        times = (self._folder.retry_at(), self._profiles.retry_at())
        return min((at for at in times if at is not None), default=None)

    def _put(self, changed: Collection[str]) -> None:
        files = self.files
        domains = None if self._conflicts else _follow(files, self.domains, changed)
        if domains is None:
            domains, self._conflicts = _settle(files, self.domains)
        self.domains = MappingProxyType(domains)
        self._lines = {path: file.lines for path, file in files.items()}
        self._problems = tuple(
            problem
            for path, file in files.items()
            if file.problems or path in self._conflicts
            for problem in (*file.problems, *self._conflicts.get(path, ()))
        )

    def __str__(self) -> str:
        return str(self.path)

    def content(self) -> object:
        """Return the domains and the profiles."""
        return self.domains, self.profiles

    def layers(self) -> tuple[Layer, ...]:
        """Return the one layer: what people wrote, by the files' paths."""
        return (Layer(domains=self.domains, written=True, lines=self._lines),)

    def watched(self) -> Mapping[str, float]:
        """Return the directories in which a change matters: both, and those of files that their files name."""
        return {**self._profiles.watched(), **self._folder.watched()}


def _follow(
    files: Mapping[str, DomainFile], before: Mapping[str, Domain], changed: Collection[str]
) -> dict[str, Domain] | None:
    """Return what :func:`_settle` returns if there was no conflict *before* and *changed* brings none; else None.

    For a few changed files this takes a fraction of the time.
    """
    if len(changed) > FEW:
        return None
    domains = dict(before)
    for path in changed:
        if path not in files:
            domains.pop(path, None)
        elif (domain := files[path].domain) is not None:
            old = domains.get(path)
            others = (other for place, other in domains.items() if place != path)
            if (old is None or _claims(old) != _claims(domain)) and _is_claimed(domain, others):
                return None
            domains[path] = domain
    return {path: domains[path] for path in files if path in domains} if domains.keys() - before.keys() else domains


def _is_claimed(domain: Domain, others: Iterable[Domain]) -> bool:
    """Return whether one of *others* has the uuid, the name or a tap of *domain*."""
    taps = set(domain.taps)
    return any(
        (domain.uuid is not None and domain.uuid == other.uuid)
        or (domain.name is not None and domain.name == other.name)
        or not taps.isdisjoint(other.taps)
        for other in others
    )


def _settle(
    files: Mapping[str, DomainFile], before: Mapping[str, Domain]
) -> tuple[dict[str, Domain], Mapping[str, list[InventoryProblem]]]:
    """Return the domains of *files*, and the conflicts of each file.

    At first every good file counts as it is now, which lets two files exchange a tap in one go. A file that loses a
    conflict falls back to the domain that it had *before*. That has precedence in the next round, and may push out the
    domain of another file.
    """
    kept = {
        path: before[path] for path, file in files.items() if path in before and file.domain in (None, before[path])
    }
    wanted = {path: file.domain for path, file in files.items() if file.domain is not None and path not in kept}
    conflicts: dict[str, list[InventoryProblem]] = {}
    while True:
        owners = {claim: path for path, domain in kept.items() for claim in _claims(domain)}
        losers = []
        for path, domain in wanted.items():
            taken = {claim: owners[claim] for claim in _claims(domain) if claim in owners}
            if taken:
                conflicts[path] = [_conflict(files[path], claim, owner) for claim, owner in taken.items()]
                losers.append(path)
            else:
                owners |= dict.fromkeys(_claims(domain), path)
        if not losers:
            return {path: d for path in files if (d := kept.get(path) or wanted.get(path))}, conflicts
        for path in losers:
            del wanted[path]
            if path in before:
                kept[path] = before[path]


def _conflict(file: DomainFile, claim: _Claim, owner: str) -> InventoryProblem:
    kind, value = claim
    name = _claims(file.domain)[claim] if file.domain is not None else ""
    message = f"expected a {kind} that no other file has, got {value!r}, which {owner} has"
    return InventoryProblem(file=file.path, line=file.lines.get(name), field=name, message=message)


def _claims(domain: Domain) -> dict[_Claim, str]:
    """Return the identifiers that *domain* alone may have, as (kind, value), each with its field."""
    claims: dict[_Claim, str] = {}
    if domain.uuid is not None:
        claims["uuid", str(domain.uuid)] = "uuid"
    if domain.name is not None:
        claims["name", domain.name] = "name"
    for index, nic in enumerate(domain.nics):
        if nic.tap is not None:
            claims["tap", nic.tap] = f"nics[{index}].tap"
    return claims
