"""What a worker writes to its standard error, on its way into our log.

A guest may have taken the worker over. So it holds neither the log nor the terminal, but a pipe; and whatever it writes
there, our log gets few lines, short ones, of printable characters.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from eve_meta.values.text import escape_unprintable

MAX_LINES = 50
"""Lines that reach the log within :data:`WINDOW`: a traceback or two. A worker in order writes none for days."""

WINDOW = 10.0
"""Seconds. With :data:`MAX_LINES` of :data:`MAX_LINE` a flood comes to 2.5 KB/s."""

MAX_LINE = 500
"""Bytes of a line; the rest is left out."""


class WorkerLog:
    """The lines of one process. What it writes too much stays in the pipe, unread, where it costs nobody but itself.

    :param pause: stops reading the pipe.
    :param resume: reads it again.
    """

    _log = Logger()

    def __init__(
        self, reactor: IReactorTime, number: int, *, pause: Callable[[], None], resume: Callable[[], None]
    ) -> None:
        self._reactor = reactor
        self._number = number
        self._pause = pause
        self._resume = resume
        self._rest = b""
        self._lines = 0
        self._window: IDelayedCall | None = None

    def received(self, data: bytes) -> None:
        """It wrote *data*."""
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[: MAX_LINE + 1]  # one more, to know that there was more
        for line in lines:
            self._say(line)

    def ended(self) -> None:
        """The process is gone; what is in the pipe still comes, and then its end."""
        if self._lines > MAX_LINES:
            self._resume()

    def closed(self) -> None:
        """The pipe is at its end."""
        if self._rest:
            self._say(self._rest)
        self._rest = b""
        if self._window is not None:
            self._window.cancel()
            self._next_window()

    def _say(self, line: bytes) -> None:
        if self._window is None:
            self._window = self._reactor.callLater(WINDOW, self._next_window)
        self._lines += 1
        if self._lines <= MAX_LINES:
            self._log.warn("worker {number}: {line}", number=self._number, line=_printable(line))
        elif self._lines == MAX_LINES + 1:
            self._pause()

    def _next_window(self) -> None:
        left_out = self._lines - MAX_LINES
        self._lines = 0
        self._window = None
        if left_out > 0:
            # And those which the worker could not write meanwhile.
            self._log.warn(
                "worker {number}: at least {left_out} more lines, left out", number=self._number, left_out=left_out
            )
            self._resume()


def _printable(line: bytes) -> str:
    text = line[:MAX_LINE].decode(errors="backslashreplace") + ("…" if len(line) > MAX_LINE else "")
    return escape_unprintable(text)
