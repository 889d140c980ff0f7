"""The files of EVE-OS's pubsub: a directory for each topic, and in it a JSON file for each key.

An agent of EVE publishes below ``/run/<agent>/<Topic>/<key>.json`` (``pubsub/socketdriver/driver.go`` of lf-edge/eve):
it writes a file of another name, beginning with "tmp", and renames it. The directory holds the latest value of each
key, and appears when the agent first publishes. Files not named ``.json`` are no keys: temporary files, the socket's
lock, and ``restarted``, which means that the agent has published all that it had to publish when it started.

The reader parses them (:mod:`eve_meta.reader.eve_published`): they hold what the applications' owners wrote.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from attrs import frozen

from eve_meta.inventory.files.reading import DEBOUNCE, Read, Stamp, read, stamp
from eve_meta.inventory.readers.reading import Reader, Reading, Unread
from eve_meta.inventory.source import InventoryProblem, unreadable
from eve_meta.values.plain import make_converter
from eve_meta.values.text import escape_unprintable
from eve_meta.wire.reading import MAX_FIELD, MAX_MESSAGE, EveAnswer

T = TypeVar("T")

MAX_FILE = 8 * 1024 * 1024
"""The most bytes of a file. EVE limits each large field, of which no struct has more than two, to 1 MiB
(``maxLargeLen`` in ``pubsub/large.go``)."""

SUFFIX = ".json"

AHEAD = 64
"""The most files that are handed to the reader before it has answered the first."""

_CONVERTER = make_converter(detailed=False)


@frozen
class _File(Generic[T]):
    stamp: Stamp
    value: T | None
    problem: InventoryProblem | None
    retry_at: float | None = None


class Topic(Generic[T]):
    """The files of one topic as they were at the last :meth:`scan`.

    A broken file keeps its last good value; a file that is gone has none.

    :param path: the directory; it may be missing.
    :param topic: the kind of the files, a key of :data:`eve_meta.reader.eve_published.READ`.
    :param kind: the type of their values.
    :param reader: reads them.
    :param delay: seconds for which a change may wait.

    :ivar values: the values of the files, by key.
    """

    def __init__(self, path: Path, topic: str, kind: Any, reader: Reader, delay: float = DEBOUNCE) -> None:
        self.path = path
        self.delay = delay
        self._topic = topic
        self._kind = kind
        self._reader = reader
        self._files: dict[str, _File[T]] = {}
        self._unreadable: InventoryProblem | None = None
        self.values: Mapping[str, T] = {}

    def file(self, key: str) -> str:
        """Return the path of the file of *key*."""
        return str(self.path / f"{key}{SUFFIX}")

    @property
    def readable(self) -> bool:
        """Whether the last scan could read the directory. One that is missing counts as empty."""
        return self._unreadable is None

    @property
    def problems(self) -> list[InventoryProblem]:
        """What is wrong with the files."""
        of_files = [file.problem for file in self._files.values() if file.problem is not None]
        return of_files if self._unreadable is None else [self._unreadable, *of_files]

    def retry_at(self) -> float | None:
        """As :meth:`eve_meta.inventory.files.watch.Files.retry_at`."""
        return min((file.retry_at for file in self._files.values() if file.retry_at is not None), default=None)

    def scan(self) -> Iterator[Reading[Any] | None]:
        """Read what has changed, a file at each step; at the last step, put the result in place.

        A reading among the steps must have its result before the next step is taken.
        """
        self._unreadable = None
        try:
            names = sorted(name for name in os.listdir(self.path) if name.endswith(SUFFIX) and name != SUFFIX)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                names = []  # its agent has published nothing yet
            else:
                self._unreadable = unreadable(self.path, error)
                return
        files: dict[str, _File[T]] = {}
        ahead: dict[str, tuple[Read, Reading[T | InventoryProblem]]] = {}
        for name in names:
            key = name.removesuffix(SUFFIX)
            known = self._files.get(key)
            if known is not None and known.stamp is not None and known.stamp == stamp(self.file(key)):
                files[key] = known
            else:
                file = read(self.file(key), MAX_FILE)
                if file.content is None:
                    files[key] = self._unread(key, file, file.why)
                else:
                    ahead[key] = (file, self._begin(key, file.content))
            if len(ahead) >= AHEAD:
                yield from self._finish(ahead, files)
            yield None
        yield from self._finish(ahead, files)
        self._files = {key: files[key] for key in sorted(files) if os.path.lexists(self.file(key))}
        self.values = {key: file.value for key, file in self._files.items() if file.value is not None}

    def _begin(self, key: str, content: bytes) -> Reading[T | InventoryProblem]:
        path = self.file(key)

        def structure(plain: dict[str, Any], _parts: bytes) -> T | InventoryProblem:
            answer = _CONVERTER.structure(plain, EveAnswer)
            if answer.message:
                field, message = escape_unprintable(answer.path[:MAX_FIELD]), answer.message[:MAX_MESSAGE]
                return InventoryProblem(file=path, field=field, message=escape_unprintable(message))
            value: T = _CONVERTER.structure(answer.value, self._kind)
            return value

        reading: Reading[T | InventoryProblem] = Reading(
            path, {"kind": "eve", "topic": self._topic, "key": key}, content, structure
        )
        self._reader.read(reading)
        return reading

    def _finish(
        self, ahead: dict[str, tuple[Read, Reading[T | InventoryProblem]]], files: dict[str, _File[T]]
    ) -> Iterator[Reading[Any]]:
        for key, (file, reading) in ahead.items():
            yield reading
            result = reading.result
            if isinstance(result, Unread):
                files[key] = self._unread(key, file, str(result), retry_at=result.retry_at)
            elif isinstance(result, InventoryProblem):
                files[key] = self._unread(key, file, result.message, result.field)
            else:
                files[key] = _File(file.stamp, result, None)
        ahead.clear()

    def _unread(self, key: str, file: Read, message: str, name: str = "", *, retry_at: float | None = None) -> _File[T]:
        known = self._files.get(key)
        kept = None if known is None else known.value
        rest = "" if kept is None else "; its last good version holds"
        problem = InventoryProblem(file=self.file(key), field=name, message=f"{message}{rest}")
        return _File(None if retry_at is not None else file.stamp, kept, problem, retry_at)
