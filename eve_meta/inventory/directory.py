"""The directory of domain files: which domains they make together.

Two files may not claim one uuid, name or tap: whichever had it keeps it. A file that is broken, or that claims what
another has, leaves its domain as it last was. A file that is gone takes its domain along.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from eve_meta.domain import Domain
from eve_meta.inventory.domainfile import DomainFile, read_domain_file
from eve_meta.inventory.interface import FileProblem, Layer
from eve_meta.inventory.reading import DEBOUNCE

SUFFIXES = (".yaml", ".yml")

_Claim = tuple[str, str]


class Directory:
    """Domain files as they were at the last :meth:`scan`.

    :param path: the directory; it may be missing.

    :ivar files: every domain file, in the order of their names.
    :ivar domains: the domains, by their file.
    :ivar problems: what is wrong, file by file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: Mapping[str, DomainFile] = {}
        self.domains: Mapping[str, Domain] = {}
        self.problems: tuple[FileProblem, ...] = ()

    def scan(self) -> Iterator[None]:
        """Read what has changed, a file at each step; at the last step, put the result in place.

        Steps, so that a daemon can do other things in between: 4,000 files are seconds of work at the first scan.
        """
        try:
            names = sorted(name for name in os.listdir(self.path) if _is_domain_file(name))
        except OSError as error:
            gone = error.errno in (errno.ENOENT, errno.ENOTDIR)
            message = f"cannot read this directory: {error.strerror}"
            # Only a directory that is not there has no files; one that fails to be read keeps what it last said.
            if gone:
                self.files, self.domains = {}, {}
                message = "no such directory; domain files are read as soon as there is one"
            self.problems = (FileProblem(file=str(self.path), message=message, warning=gone),)
            return
        files: dict[str, DomainFile] = {}
        for name in names:
            path = os.path.join(self.path, name)
            known = self.files.get(path)
            file = known if known is not None and known.unchanged() else read_domain_file(path)
            if os.path.lexists(path):
                files[path] = file
            yield
        self.domains, conflicts = _settle(files, self.domains)
        self.files = MappingProxyType(files)
        self.problems = tuple(
            problem for path, file in files.items() for problem in (*file.problems, *conflicts.get(path, ()))
        )

    def __str__(self) -> str:
        return str(self.path)

    def content(self) -> object:
        """The domains."""
        return self.domains

    def layers(self) -> tuple[Layer, ...]:
        """What people wrote, by the files' paths."""
        return (Layer(domains=self.domains, written=True),)

    def watched(self) -> Mapping[str, float]:
        """The directories in which a change matters: this one, and those of files that domain files name."""
        directories = {str(self.path)}
        for file in self.files.values():
            for path in file.stamps:
                directories.add(os.path.dirname(path))
                if os.path.islink(path):
                    directories.add(os.path.dirname(os.path.realpath(path)))
        return dict.fromkeys(directories, DEBOUNCE)


def _is_domain_file(name: str) -> bool:
    # Names that begin with a dot are editors' temporary files.
    return name.endswith(SUFFIXES) and not name.startswith(".")


def _settle(
    files: Mapping[str, DomainFile], before: Mapping[str, Domain]
) -> tuple[Mapping[str, Domain], Mapping[str, list[FileProblem]]]:
    """The domains of *files*, given the domains as they were, and the conflicts of each file.

    At first every good file counts as it is now, which lets two files exchange a tap in one go. Each that loses a
    conflict falls back to what it was *before*, and that comes first in the next round: it may push out another.
    """
    kept = {
        path: before[path] for path, file in files.items() if path in before and file.domain in (None, before[path])
    }
    wanted = {path: file.domain for path, file in files.items() if file.domain is not None and path not in kept}
    conflicts: dict[str, list[FileProblem]] = {}
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
            return MappingProxyType({path: d for path in files if (d := kept.get(path) or wanted.get(path))}), conflicts
        for path in losers:
            del wanted[path]
            if path in before:
                kept[path] = before[path]


def _conflict(file: DomainFile, claim: _Claim, owner: str) -> FileProblem:
    kind, value = claim
    name = _claims(file.domain)[claim] if file.domain is not None else ""
    message = f"expected a {kind} that no other file has, got {value!r}, which {owner} has"
    return FileProblem(file=file.path, line=file.lines.get(name), field=name, message=message)


def _claims(domain: Domain) -> dict[_Claim, str]:
    """What *domain* alone may have, as (kind, value), and the field that says so."""
    claims: dict[_Claim, str] = {}
    if domain.uuid is not None:
        claims["uuid", str(domain.uuid)] = "uuid"
    if domain.name is not None:
        claims["name", domain.name] = "name"
    for index, nic in enumerate(domain.nics):
        if nic.tap is not None:
            claims["tap", nic.tap] = f"nics[{index}].tap"
    return claims
