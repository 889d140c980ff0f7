"""The directory of profiles, ``profiles.d`` beside that of the domain files: ``web.yaml`` is the profile ``web``.

A file that is broken leaves its profile as it last was. One that is deleted takes its profile along.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from eve_meta.inventory.files.domain_file import FileReading
from eve_meta.inventory.files.folder import Folder
from eve_meta.inventory.profiles import NO_PROFILES, Profile, Profiles
from eve_meta.inventory.readers.reading import Reader, Reading
from eve_meta.inventory.source import InventoryProblem, unreadable
from eve_meta.values.domain import MAX_NAME, is_profile_name


class ProfileFiles:
    """The files of profiles as they were at the last :meth:`scan`.

    :param path: the directory; it may be missing.
    :param reader: reads the text of the files.

    :ivar folder: the files.
    :ivar problems: what is wrong, file by file.
    :ivar profiles: the profiles that can be used.
    """

    def __init__(self, path: Path, reader: Reader) -> None:
        self.folder = Folder(path, lambda file: FileReading(file, reader, profile=_name(file)))
        self.problems: tuple[InventoryProblem, ...] = ()
        self.profiles = Profiles(directory=str(path), unread=True)

    def scan(self, suspects: Collection[str] | None = None) -> Iterator[Reading[Any] | None]:
        """As :meth:`eve_meta.inventory.files.watch.Files.scan`."""
        yield from self.folder.scan(suspects)
        error = self.folder.error
        if error is not None and not self.folder.is_gone:
            self.problems = (unreadable(self.folder.path, error),)
        elif self.folder.changed or self.profiles.unread:
            self._follow()

    def _follow(self) -> None:
        before = NO_PROFILES.known if self.profiles.unread else self.profiles.known
        known: dict[str, Profile] = {}
        broken: dict[str, str] = {}
        files: dict[str, str] = {}
        problems: list[InventoryProblem] = []
        for path, file in self.folder.files.items():
            name = _name(path)
            if name in files or not is_profile_name(name):
                got = f"the name of {files[name]}" if name in files else "another name"
                expected = f"a name of 1..{MAX_NAME} printable characters that no other file has"
                problems.append(InventoryProblem(file=path, message=f"expected {expected}, got {got}: it is not read"))
                continue
            files[name] = path
            problems += file.problems
            old = before.get(name)
            if file.domain is None and old is None:
                broken[name] = path
            elif old is not None and old.origin == path and file.domain in (None, old.part):
                known[name] = old
            elif file.domain is not None:
                known[name] = Profile(path, file.domain)
            elif old is not None:
                known[name] = Profile(path, old.part)
        self.problems = tuple(problems)
        self.profiles = Profiles(directory=str(self.folder.path), known=known, broken=broken)

    def retry_at(self) -> float | None:
        """As :meth:`eve_meta.inventory.files.watch.Files.retry_at`."""
        return self.folder.retry_at()

    def watched(self) -> Mapping[str, float]:
        """As :meth:`eve_meta.inventory.files.watch.Files.watched`."""
        return self.folder.watched()


def _name(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]
