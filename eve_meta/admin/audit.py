"""The audit of which VM read what, and when: a line of JSON for each domain's first read of a document through a tap.

The lines go to a file of their own or into the log. No answer waits for a line to be written: a disk that is full or
slow costs lines, not answers, and the log has the number of lost lines.

The lines rest on what workers report. A compromised worker can omit reads of its guests, or claim that another domain
behind this host's taps read something. It cannot name a domain, tap or document that does not exist.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from eve_meta.supervisor.events import Event, Events, Kind, rfc3339
from eve_meta.values.problem import Problem

MAX_FILE = 16 * 1024 * 1024
"""Bytes of a file, some 60,000 lines; a full file is renamed to ``.1`` and another begins."""

OLD_FILES = 7
"""Older files that are kept beside the newest, ``.1`` to ``.7``."""

MAX_WAITING = 10_000
"""Lines that may wait for the disk, 2 MB; further lines are lost and logged as such."""

LOG_EVERY = 60.0
"""Seconds between two log lines about lost lines."""


def line_of(event: Event) -> str:
    """Return the line about *event*, without the line break."""
    return json.dumps({"time": rfc3339(event.at), **event.fields})


class AuditFile:
    """The file at *path* and its older files. All methods block.

    :param max_file: the bytes after which another file begins.
    :raises Problem: where the file cannot be written.
    """

    def __init__(self, path: Path, *, max_file: int = MAX_FILE) -> None:
        self._path = path
        self._max_file = max_file
        try:
            os.close(self._open())
        except OSError as error:
            raise Problem(f"cannot write the audit file {path}: {error.strerror}") from None

    def append(self, lines: list[str]) -> None:
        """Append *lines*: all of them or, where that fails, none.

        :raises OSError: where that fails.
        """
        data = "".join(f"{line}\n" for line in lines).encode()
        file = self._open()
        try:
            size = os.fstat(file).st_size
            if size and size + len(data) > self._max_file:
                self._rotate()
                os.close(file)
                file, size = self._open(), 0
            try:
                _write_all(file, data)
            except OSError:
                # A full disk takes a part of a line, to which the next line would be appended.
                with contextlib.suppress(OSError):
                    os.ftruncate(file, size)
                raise
        finally:
            os.close(file)

    def _open(self) -> int:
        # Opened anew each time: a program that rotates or removes the file need not notify the daemon.
        return os.open(
            self._path,
            os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK,
            0o600,
        )

    def _rotate(self) -> None:
        for number in range(OLD_FILES, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            newer = self._path if number == 1 else self._path.with_name(f"{self._path.name}.{number - 1}")
            with contextlib.suppress(FileNotFoundError):
                newer.rename(older)


class Audit:
    """Writes a line for each first read among *events*.

    :param events: the events of the daemon.

    :param write: writes lines, and may block; None writes into the log instead.
    :param in_thread: calls a function in a thread; the result comes later.
    :param now: returns seconds of a clock that never jumps.
    """

    _log = Logger()

    def __init__(
        self,
        events: Events,
        write: Callable[[list[str]], None] | None,
        in_thread: Callable[[Callable[[], None]], Deferred[None]],
        now: Callable[[], float],
    ) -> None:
        self._write = write
        self._in_thread = in_thread
        self._now = now
        self._waiting: list[str] = []
        self._writing = False
        self._lost = 0
        self._warned = -LOG_EVERY
        events.listen(self._record)

    def _record(self, event: Event) -> None:
        if event.kind is not Kind.FIRST_FETCH:
            return
        line = line_of(event)
        if self._write is None:
            self._log.info("audit: {line}", line=line)
        elif len(self._waiting) >= MAX_WAITING:
            self._lose(1, "the disk is too slow")
        else:
            self._waiting.append(line)
            self._write_waiting(self._write)

    def _write_waiting(self, write: Callable[[list[str]], None]) -> None:
        if self._writing or not self._waiting:
            return
        lines, self._waiting = self._waiting, []
        self._writing = True

        def done(result: Any) -> None:
            self._writing = False
            if isinstance(result, Failure):
                self._lose(len(lines), getattr(result.value, "strerror", None) or str(result.value))
            self._write_waiting(write)

        self._in_thread(lambda: write(lines)).addBoth(done)

    def _lose(self, number: int, why: str) -> None:
        self._lost += number
        now = self._now()
        if now - self._warned >= LOG_EVERY:
            self._warned = now
            self._log.warn(
                "the audit file lacks {number} lines that could not be written: {why}", number=self._lost, why=why
            )
            self._lost = 0

    def finish(self) -> None:
        """Write the waiting lines at once."""
        lines, self._waiting = self._waiting, []
        if lines and self._write is not None:
            try:
                self._write(lines)
            except OSError as error:
                self._log.warn("the audit file lacks {number} lines: {error}", number=len(lines), error=error.strerror)


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]
