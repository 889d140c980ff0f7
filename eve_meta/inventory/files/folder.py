"""A directory of YAML files, read again as they change."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from eve_meta.inventory.files.domain_file import DomainFile, FileReading
from eve_meta.inventory.files.reading import DEBOUNCE
from eve_meta.inventory.readers.reading import Reading

SUFFIXES = (".yaml", ".yml")

AHEAD = 64
"""The most files that are read while the reader works on the first of them."""

AHEAD_BYTES = 4 * 1024 * 1024
"""While these files have so many bytes or more, no further one is read: even a directory of the largest files takes
little memory."""


class Folder:
    """The files as they were at the last :meth:`scan`.

    :param path: the directory; it may be missing.
    :param read: begins to read the file at a path.

    :ivar files: every file by its path, in the order of the names.
    :ivar changed: the paths of those that are another object since the scan before, or gone.
    :ivar error: why the last scan could not list the directory.
    """

    def __init__(self, path: Path, read: Callable[[str], FileReading]) -> None:
        self.path = path
        self._read = read
        self.files: Mapping[str, DomainFile] = {}
        self.changed: Collection[str] = ()
        self.error: OSError | None = None
        self._listed = False
        # Files that may change although no event names them.
        self._special: set[str] = set()

    @property
    def is_gone(self) -> bool:
        """Whether the directory was missing at the last scan; then it has no files."""
        return self.error is not None and self.error.errno in (errno.ENOENT, errno.ENOTDIR)

    def scan(self, suspects: Collection[str] | None = None) -> Iterator[Reading[Any] | None]:
        """As :meth:`eve_meta.inventory.files.watch.Files.scan`.

        It works in steps, so that a daemon can do other things in between: 4,000 files take seconds at the first scan.
        """
        names = self._suspected(suspects)
        try:
            looked_at = sorted(_yaml_files(os.listdir(self.path)) if names is None else names)
        except OSError as error:
            self.error, self._listed, self.changed = error, False, ()
            # Only a missing directory has no files. One that cannot be read keeps those that it had.
            if self.is_gone:
                self.files, self.changed, self._special = {}, tuple(self.files), set()
            return
        files = {} if names is None else dict(self.files)
        ahead: deque[tuple[str, DomainFile | FileReading]] = deque()
        for name in looked_at:
            path = os.path.join(self.path, name)
            known = self.files.get(path)
            if known is not None and known.unchanged():
                ahead.append((path, known))
            else:
                ahead.append((path, self._read(path)))
                while len(ahead) > AHEAD or sum(_size(file) for _, file in ahead) > AHEAD_BYTES:
                    yield from self._take_first(ahead, files)
            while ahead and isinstance(ahead[0][1], DomainFile):
                yield from self._take_first(ahead, files)
            yield None
        while ahead:
            yield from self._take_first(ahead, files)
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

    def _put(self, files: dict[str, DomainFile], changed: Collection[str]) -> None:
        if any(path not in self.files for path in changed):
            files = dict(sorted(files.items()))
        self._special = {path for path in self._special if path in files}.difference(changed)
        self._special |= {path for path in changed if path in files and _is_special(files[path])}
        self.error, self._listed, self.changed, self.files = None, True, changed, files

    def _suspected(self, suspects: Collection[str] | None) -> set[str] | None:
        """Return the names of the files to look at, None for all files."""
        here = os.path.abspath(self.path)
        if suspects is None or not self._listed or any(os.path.dirname(path) != here for path in suspects):
            return None
        return _yaml_files(map(os.path.basename, suspects)) | set(map(os.path.basename, self._special))

    def retry_at(self) -> float | None:
        """As :meth:`eve_meta.inventory.files.watch.Files.retry_at`."""
        return min((at for path in self._special if (at := self.files[path].retry_at) is not None), default=None)

    def watched(self) -> Mapping[str, float]:
        """Return the directories in which a change matters: this one, and those of files that its files name."""
        directories = {str(self.path)}
        for special in self._special:
            for path in self.files[special].stamps:
                directories.add(os.path.dirname(path))
                if os.path.islink(path):
                    directories.add(os.path.dirname(os.path.realpath(path)))
        return dict.fromkeys(directories, DEBOUNCE)


def _size(file: DomainFile | FileReading) -> int:
    return file.size if isinstance(file, FileReading) else 0


def _yaml_files(names: Iterable[str]) -> set[str]:
    # Names that begin with a dot are editors' temporary files.
    return {name for name in names if name.endswith(SUFFIXES) and not name.startswith(".")}


def _is_special(file: DomainFile) -> bool:
    """Return whether *file* depends on more than the file of its name, or was read too soon after it was written."""
    return len(file.stamps) > 1 or None in file.stamps.values() or os.path.islink(file.path)
