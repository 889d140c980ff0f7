"""The lines that a worker writes to its standard error, on their path into the daemon's log.

The worker may be compromised. So it holds neither the log nor the terminal, but a pipe; and whatever it writes there,
the log gets few and short lines of printable characters.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from eve_meta.runtime.timer import Timer
from eve_meta.values.text import escape_unprintable

MAX_LINES = 50
"""Lines that reach the log within :data:`WINDOW`: a traceback or two. A sound worker writes none for days."""

WINDOW = 10.0
"""Seconds. With :data:`MAX_LINES` of :data:`MAX_LINE` a flood comes to 2.5 KB/s."""

MAX_LINE = 500
"""Bytes of a line; the rest is left out."""


class WorkerLog:
    """The lines of one process. What it writes beyond the limits stays unread in the pipe, where it costs nobody else.

    :param number: the worker's.
    :param pause: stops reading the pipe.
    :param resume: reads the pipe again.
    """

    _log = Logger()

    def __init__(
        self, reactor: IReactorTime, number: int, *, pause: Callable[[], None], resume: Callable[[], None]
    ) -> None:
        self._number = number
        self._pause = pause
        self._resume = resume
        self._rest = b""
        self._lines = 0
        self._window = Timer(reactor, self._end_window)

    def received(self, data: bytes) -> None:
        """Take *data*, which the process wrote."""
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[: MAX_LINE + 1]  # one byte more, to know that the line is longer
        for line in lines:
            self._write(line)

    def ended(self) -> None:
        """Read on: the process is gone, so what is in the pipe is the last of it, and then its end comes."""
        if self._lines > MAX_LINES:
            self._resume()

    def closed(self) -> None:
        """Finish: the pipe is at its end."""
        if self._rest:
            self._write(self._rest)
        self._rest = b""
        if self._window.is_pending:
            self._window.cancel()
            self._end_window()

    def _write(self, line: bytes) -> None:
        if not self._window.is_pending:
            self._window.start(WINDOW)
        self._lines += 1
        if self._lines <= MAX_LINES:
            self._log.warn("worker {number}: {line}", number=self._number, line=_printable(line))
        elif self._lines == MAX_LINES + 1:
            self._pause()

    def _end_window(self) -> None:
        left_out = self._lines - MAX_LINES
        self._lines = 0
        if left_out > 0:
            # "At least": the worker may have more to write, and could not.
            self._log.warn(
                "worker {number}: at least {left_out} more lines, left out", number=self._number, left_out=left_out
            )
            self._resume()


def _printable(line: bytes) -> str:
    text = line[:MAX_LINE].decode(errors="backslashreplace") + ("…" if len(line) > MAX_LINE else "")
    return escape_unprintable(text)
