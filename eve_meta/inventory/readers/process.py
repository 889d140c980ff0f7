"""The reader of a daemon: one process that is started at once, and again whenever it ends.

The law: nothing waits for the reader. Every document gets its result, read or unread, within bounded time, whatever the
reader does.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, cast

from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IProcessTransport, IReactorProcess, IReactorSocket, IReactorTime, ITCPTransport
from twisted.internet.protocol import ProcessProtocol, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from eve_meta.inventory.readers.launch import NONSENSE, START_TIME, TOO_LONG, arguments, ending, reason
from eve_meta.inventory.readers.queue import Nonsense, ReadingQueue
from eve_meta.inventory.readers.reading import Reading
from eve_meta.runtime.sandbox.policy import Identity
from eve_meta.runtime.timer import Timer
from eve_meta.values.problem import Problem
from eve_meta.values.text import escape_unprintable
from eve_meta.wire.channel import OneProtocol
from eve_meta.wire.reading import CHANNEL_FD, READY, Frames

RESTART_DELAYS = (0.0, 0.1, 0.5, 1.0, 5.0)
"""Seconds until a reader that ended before it was ready is started again: after its n-th such end in a row, the n-th of
these. One that was ready is started again at once."""

GRACE = 0.1
"""Seconds beyond its time that a document gets, so that an answer that has come, but waits for its turn of the reactor,
counts."""

MAX_OUTPUT = 4096
"""Bytes of what one reader writes to its standard error that reach the log. A sound one writes nothing."""


class ReaderReactor(IReactorProcess, IReactorSocket, IReactorTime):
    """The parts of the reactor that the reader needs."""


class ReaderProcess:
    """A :class:`~eve_meta.inventory.readers.reading.Reader` in a process of its own.

    :param identity: what the reader becomes, None where this process is not root's.
    :param birth: makes a context within which one child is born as the first of a pid namespace of its own.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: ReaderReactor,
        identity: Identity | None,
        birth: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext,
    ) -> None:
        self._reactor = reactor
        self._birth = birth
        self._identity = identity
        self._queue = ReadingQueue()
        self._process: _Process | None = None
        self._running = False
        self._failed_starts = 0
        self._overdue = Timer(reactor, self._check_overdue)
        self._restart = Timer(reactor, self._start)

    @property
    def pid(self) -> int | None:
        """The process, None while there is none."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process, and start it again whenever it ends."""
        if not self._running:
            self._running = True
            self._start()

    def stop(self) -> None:
        """End the process. Documents that are not read by now have no result ever."""
        self._running = False
        self._overdue.cancel()
        self._restart.cancel()
        if self._process is not None:
            self._process.kill()

    def read(self, reading: Reading[Any]) -> None:
        """As :meth:`eve_meta.inventory.readers.reading.Reader.read`."""
        self._queue.add(reading, self._reactor.seconds())
        self._send()

    def _start(self) -> None:
        try:
            with self._birth():
                self._process = _Process(self._reactor, self, arguments(self._identity))
        except (OSError, Problem) as error:
            self._log.error("the reader cannot start: {error}", error=error)
            self._start_later()
        else:
            self._arm()

    def _start_later(self) -> None:
        self._failed_starts += 1
        delay = RESTART_DELAYS[min(self._failed_starts, len(RESTART_DELAYS)) - 1]
        if self._failed_starts > 2:
            self._queue.give_up("the reader does not start, see the log", self._reactor.seconds() + delay)
        self._restart.start(delay)

    def _send(self) -> None:
        if self._process is not None and self._process.ready:
            for frame in self._queue.to_send(self._reactor.seconds()):
                self._process.send(frame)
        self._arm()

    def _arm(self) -> None:
        """Have the next time limit checked when it passes; while no document is being read there is no timer."""
        due = self._limit()
        if due is None:
            self._overdue.cancel()
        else:
            self._overdue.start_at(due)  # an earlier check stays; it looks again

    def _limit(self) -> float | None:
        if self._process is None:
            return None
        if not self._process.ready:
            return self._process.started + START_TIME
        due = self._queue.overdue_at()
        return None if due is None else due + GRACE

    def _check_overdue(self) -> None:
        due = self._limit()
        if due is None or self._process is None:
            return
        if self._reactor.seconds() < due:
            self._overdue.start_at(due)  # it has gone on to another document
            return
        process = self._process
        if process.ready:
            self._log.warn("the reader is replaced: a document takes longer than it may")
            self._lose(process)
            self._queue.failed(TOO_LONG, self._reactor.seconds())
        process.kill()

    def _lose(self, process: _Process) -> None:
        """Take nothing more from *process*, and kill it. Another one follows when it is gone."""
        if process is self._process:
            self._process = None
        process.kill()

    # -- what happens to the process --

    def became_ready(self) -> None:
        """Send the process what waits."""
        self._failed_starts = 0
        self._send()

    def received(self, process: _Process, head: bytes, parts: bytes) -> None:
        """Take an answer of *process*.

        :raises Nonsense: when no honest reader sends it.
        """
        if process is self._process:
            self._queue.answered(head, parts, self._reactor.seconds())
            self._send()

    def may_be(self, process: _Process, head: int, parts: int) -> bool:
        """Return whether the next answer of *process* can have *head* and *parts* bytes."""
        return process is self._process and self._queue.may_be(head, parts)

    def sent_nonsense(self, process: _Process) -> None:
        """Replace *process*, which sent what no honest reader sends."""
        if process is self._process:
            self._log.error("the reader is replaced: {why}", why=NONSENSE)
            self._lose(process)
            self._queue.failed(NONSENSE, self._reactor.seconds())
        process.kill()

    def ended(self, process: _Process, status: int, output: str) -> None:
        """Start another process in place of *process*, whose wait status is *status*."""
        if output:
            self._log.warn("reader: {output}", output=output)
        expected = process is not self._process
        self._process = None
        if not self._running:
            return
        if process.ready:
            if not expected:
                self._log.error("the reader ended {how}; it starts again", how=ending(status))
                self._queue.died(reason(status), self._reactor.seconds())
            self._start()
        else:
            self._log.error("the reader ended before it was ready, {how}", how=ending(status))
            self._start_later()


class _Process(ProcessProtocol):
    """One process of the reader.

    :ivar ready: whether it has reported that it is confined.
    :ivar started: when it was started.
    """

    def __init__(self, reactor: ReaderReactor, owner: ReaderProcess, command: list[str]) -> None:
        self._owner = owner
        self.ready = False
        self.started = reactor.seconds()
        self._output = b""
        self._channel = _Channel(self)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, OneProtocol(self._channel))
            try:
                self._process: IProcessTransport = reactor.spawnProcess(
                    self, command[0], command, env={}, path="/", childFDs={2: "r", CHANNEL_FD: theirs.fileno()}
                )
            except BaseException:
                self._channel.abort()
                raise
        self.pid = self._process.pid

    def send(self, frame: bytes) -> None:
        self._channel.write(frame)

    def kill(self) -> None:
        with contextlib.suppress(ProcessExitedAlready):
            self._process.signalProcess("KILL")

    def is_ready(self) -> None:
        self.ready = True
        self._owner.became_ready()

    def received(self, head: bytes, parts: bytes) -> None:
        self._owner.received(self, head, parts)

    def may_be(self, head: int, parts: int) -> bool:
        return self._owner.may_be(self, head, parts)

    def sent_nonsense(self) -> None:
        self._owner.sent_nonsense(self)

    def errReceived(self, data: bytes) -> None:
        self._output += data[: MAX_OUTPUT - len(self._output)]

    def processEnded(self, reason: Failure) -> None:
        self._channel.abort()
        status = getattr(reason.value, "status", None)
        text = escape_unprintable(self._output.decode(errors="replace").strip(), keep="\n")
        self._owner.ended(self, 0 if status is None else status, text)


class _Channel(Protocol):
    """Root's end of the socket pair with one process."""

    def __init__(self, process: _Process) -> None:
        self._process = process
        self._frames = Frames(process.may_be)
        self._begin = b""

    def write(self, frame: bytes) -> None:
        if self.transport is not None:
            self.transport.write(frame)

    def abort(self) -> None:
        if self.transport is not None:
            cast(ITCPTransport, self.transport).abortConnection()

    def dataReceived(self, data: bytes) -> None:
        try:
            if not self._process.ready:
                self._begin += data
                if len(self._begin) < len(READY):
                    return
                if not self._begin.startswith(READY):
                    raise Nonsense
                data = self._begin[len(READY) :]
                self._process.is_ready()
            for head, parts in self._frames.feed(data):
                self._process.received(head, parts)
        except (ValueError, Nonsense):
            self._process.sent_nonsense()
            self.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # Without its end of the channel it is of no use, even where it lives.
        self._process.kill()
