"""The directory of domain files, and the domains that the files make together.

No two files may claim one uuid, name or tap: the file that had it first keeps it. A file that is broken, or claims what
another file has, leaves its domain as it last was. A file that is deleted takes its domain along.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from eve_meta.inventory.files.domain_file import DomainFile, FileReading
from eve_meta.inventory.files.reading import DEBOUNCE
from eve_meta.inventory.readers.reading import Reader, Reading
from eve_meta.inventory.source import InventoryProblem, Layer
from eve_meta.values.domain import Domain

SUFFIXES = (".yaml", ".yml")

FEW = 10
"""The most changed files that are compared with all others one by one: each takes 2 ms among 4,000."""

AHEAD = 64
"""The most files that are read while the reader works on the first of them."""

AHEAD_BYTES = 4 * 1024 * 1024
"""While these files have so many bytes or more, no further one is read: even a directory of the largest files takes
little memory."""

_Claim = tuple[str, str]


class Directory:
    """Domain files as they were at the last :meth:`scan`.

    :param path: the directory; it may be missing.
    :param reader: reads the text of the files.

    :ivar files: every domain file by its path, in the order of the names.
    :ivar domains: the domains, by the paths of their files.
    :ivar problems: what is wrong, file by file.
    """

    def __init__(self, path: Path, reader: Reader) -> None:
        self.path = path
        self._reader = reader
        self.files: Mapping[str, DomainFile] = {}
        self.domains: Mapping[str, Domain] = {}
        self.problems: tuple[InventoryProblem, ...] = ()
        self._conflicts: Mapping[str, list[InventoryProblem]] = {}
        # Files that may change although no event names them.
        self._special: set[str] = set()
        self._readable = False

    def scan(self, suspects: Collection[str] | None = None) -> Iterator[Reading[Any] | None]:
        """As :meth:`eve_meta.inventory.files.watch.Files.scan`.

        It works in steps, so that a daemon can do other things in between: 4,000 files take seconds at the first scan.
        """
        names = self._suspected(suspects)
        try:
            looked_at = sorted(_domain_files(os.listdir(self.path)) if names is None else names)
        except OSError as error:
            gone = error.errno in (errno.ENOENT, errno.ENOTDIR)
            message = f"cannot read this directory: {error.strerror}"
            # Only a missing directory has no files. One that cannot be read keeps the domains that it had.
            if gone:
                self.files, self.domains, self._conflicts, self._special = {}, {}, {}, set()
                message = "no such directory; domain files are read as soon as there is one"
            self.problems = (InventoryProblem(file=str(self.path), message=message, warning=gone),)
            self._readable = False
            return
        files = {} if names is None else dict(self.files)
        ahead: deque[tuple[str, DomainFile | FileReading]] = deque()
        for name in looked_at:
            path = os.path.join(self.path, name)
            known = self.files.get(path)
            if known is not None and known.unchanged():
                ahead.append((path, known))
            else:
                ahead.append((path, FileReading(path, self._reader)))
                while len(ahead) > AHEAD or sum(_size(file) for _, file in ahead) > AHEAD_BYTES:
                    yield from self._take_first(ahead, files)
            while ahead and isinstance(ahead[0][1], DomainFile):
                yield from self._take_first(ahead, files)
            yield None
        while ahead:
            yield from self._take_first(ahead, files)
        self._readable = True
        paths = files.keys() | self.files.keys() if names is None else {os.path.join(self.path, name) for name in names}
        self._put(files, [path for path in paths if files.get(path) is not self.files.get(path)])

    @staticmethod
    def _take_first(
        ahead: deque[tuple[str, DomainFile | FileReading]], files: dict[str, DomainFile]
    ) -> Iterator[Reading[Any]]:
        """Put the first file of *ahead* in place, once it is read."""
        path, file = ahead.popleft()
        if isinstance(file, FileReading):
            if file.reading is not None:
                yield file.reading
            file = file.finish()
        if os.path.lexists(path):
            files[path] = file
        else:
            files.pop(path, None)

    def retry_at(self) -> float | None:
        """As :meth:`eve_meta.inventory.files.watch.Files.retry_at`."""
        return min((at for path in self._special if (at := self.files[path].retry_at) is not None), default=None)

    def _suspected(self, suspects: Collection[str] | None) -> set[str] | None:
        """Return the names of the files to look at, None for all files."""
        here = os.path.abspath(self.path)
        if suspects is None or not self._readable or any(os.path.dirname(path) != here for path in suspects):
            return None
        return _domain_files(map(os.path.basename, suspects)) | set(map(os.path.basename, self._special))

    def _put(self, files: dict[str, DomainFile], changed: Collection[str]) -> None:
        if any(path not in self.files for path in changed):
            files = dict(sorted(files.items()))
        domains = None if self._conflicts else _follow(files, self.domains, changed)
        if domains is None:
            domains, self._conflicts = _settle(files, self.domains)
        self._special = {path for path in self._special if path in files}.difference(changed)
        self._special |= {path for path in changed if path in files and _is_special(files[path])}
        self.domains = MappingProxyType(domains)
        self.files = MappingProxyType(files)
        self.problems = tuple(
            problem
            for path, file in files.items()
            if file.problems or path in self._conflicts
            for problem in (*file.problems, *self._conflicts.get(path, ()))
        )

    def __str__(self) -> str:
        return str(self.path)

    def content(self) -> object:
        """Return the domains."""
        return self.domains

    def layers(self) -> tuple[Layer, ...]:
        """Return the one layer: what people wrote, by the files' paths."""
        return (Layer(domains=self.domains, written=True),)

    def watched(self) -> Mapping[str, float]:
        """Return the directories in which a change matters: this one, and those of files that domain files name."""
        directories = {str(self.path)}
        for special in self._special:
            for path in self.files[special].stamps:
                directories.add(os.path.dirname(path))
                if os.path.islink(path):
                    directories.add(os.path.dirname(os.path.realpath(path)))
        return dict.fromkeys(directories, DEBOUNCE)


def _size(file: DomainFile | FileReading) -> int:
    return file.size if isinstance(file, FileReading) else 0


def _domain_files(names: Iterable[str]) -> set[str]:
    # Names that begin with a dot are editors' temporary files.
    return {name for name in names if name.endswith(SUFFIXES) and not name.startswith(".")}


def _is_special(file: DomainFile) -> bool:
    """Return whether *file* depends on more than the file of its name, or was read too soon after it was written."""
    return len(file.stamps) > 1 or None in file.stamps.values() or os.path.islink(file.path)


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
