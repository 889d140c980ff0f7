"""A worker as the supervisor sees it: started, told, asked, and started again when it dies."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IProcessTransport,
    IReactorProcess,
    IReactorSocket,
    IReactorTime,
)
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from eve_meta.channel import (
    CHANNEL_FD,
    FIRST_LISTENER_FD,
    MAX_TO_SUPERVISOR,
    Channel,
    Counts,
    Report,
    ToSupervisor,
    ToWorker,
)

RESTART_DELAYS = (0.0, 0.1, 0.5, 1.0, 5.0)
"""Seconds until a worker that died is started again: the n-th time in a row after the n-th of these."""

STEADY_TIME = 10.0
"""Seconds that a worker must live for its next death to be the first in a row."""

REPORT_TIMEOUT = 1.0
"""Seconds that whoever asks for a worker's counts waits."""

STOP_TIMEOUT = 3.0
"""Seconds that a worker has to end when told to; then it is killed."""


class IReactor(IReactorProcess, IReactorSocket, IReactorTime):
    """What a worker's process needs of the reactor."""


@frozen(kw_only=True)
class WorkerConfig:
    """How workers are started: their user, their whole file system, and what they need of the configuration."""

    uid: int
    gid: int
    root: Path
    domain_wait: int


class WorkerProcess(ProcessProtocol):
    """One worker, however often it is started.

    :param entered: a context within which a child is born in the private namespace.
    :param started: called with a new worker, to tell it the table.
    :param counted: called with what it counted.
    :ivar pid: the process, or None between two.
    :ivar restarts: how often it died.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactor,
        config: WorkerConfig,
        number: int,
        listeners: Sequence[socket.socket],
        *,
        entered: Callable[[], AbstractContextManager[None]],
        started: Callable[[WorkerProcess], None],
        counted: Callable[[Counts], None],
    ) -> None:
        self._reactor = reactor
        self._config = config
        self._number = number
        self._listeners = listeners
        self._entered = entered
        self._started = started
        self._counted = counted
        self._process: IProcessTransport | None = None
        self._channel: Channel | None = None
        self._born = 0.0
        self._deaths_in_a_row = 0
        self._restart: IDelayedCall | None = None
        self._reports: dict[int, Deferred[None]] = {}
        self._report_number = 0
        self._stopped: Deferred[None] | None = None
        self.pid: int | None = None
        self.restarts = 0

    def start(self) -> None:
        """Starts the process and tells it the table."""
        self._restart = None
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            arguments = (
                *(sys.executable, "-I", "-m", "eve_meta.worker"),  # -I: nothing from the current directory
                *("--root", str(self._config.root)),
                *("--uid", str(self._config.uid), "--gid", str(self._config.gid)),
                *("--listeners", str(len(self._listeners))),
                *("--domain-wait", str(self._config.domain_wait)),
            )
            files = {2: 2, CHANNEL_FD: theirs.fileno()}
            files |= {fd: listener.fileno() for fd, listener in enumerate(self._listeners, FIRST_LISTENER_FD)}
            with self._entered():
                self._process = self._reactor.spawnProcess(
                    self, sys.executable, arguments, env={}, path="/", childFDs=files
                )
        self.pid = self._process.pid
        self._born = self._reactor.seconds()
        self._channel = Channel(self._received, self._channel_closed, MAX_TO_SUPERVISOR)
        with ours:
            self._channel.adopt(self._reactor, ours.fileno())
        self._started(self)

    def stop(self) -> Deferred[None]:
        """Ends the process; the result comes when it is gone."""
        self._stopped = Deferred()
        stopped = self._stopped
        if self._restart is not None:
            self._restart.cancel()
        if self._process is None:
            stopped.callback(None)
        elif self._channel is not None and self._channel.transport is not None:
            self._channel.transport.loseConnection()  # which ends it
            kill = self._reactor.callLater(STOP_TIMEOUT, self._kill)
            stopped.addCallback(lambda _: kill.cancel() if kill.active() else None)
        return stopped

    def send(self, message: ToWorker, payload: bytes = b"") -> None:
        """Tells the worker *message*. One that is not there is told everything when it is."""
        if self._channel is not None:
            self._channel.send(message, payload)

    def report(self) -> Deferred[None]:
        """The result comes when the worker has told its counts, or has not within :data:`REPORT_TIMEOUT`."""
        done: Deferred[None] = Deferred()
        if self._channel is None:
            done.callback(None)
            return done
        self._report_number += 1
        number = self._report_number
        self._reports[number] = done
        timeout = self._reactor.callLater(REPORT_TIMEOUT, self._reported, number)
        done.addCallback(lambda _: timeout.cancel() if timeout.active() else None)
        self.send(Report(number=number))
        return done

    def _reported(self, number: int) -> None:
        waiting = self._reports.pop(number, None)
        if waiting is not None:
            waiting.callback(None)

    def _received(self, message: ToWorker | ToSupervisor, _payload: bytes) -> None:
        if isinstance(message, Counts):
            self._counted(message)
            self._reported(message.number)
        else:
            self._log.error("worker {number} said what only the supervisor says; it is killed", number=self._number)
            self._kill()

    def _channel_closed(self) -> None:
        self._channel = None
        for number in list(self._reports):
            self._reported(number)
        # Without its channel it would serve what is no longer true.
        if self._stopped is None:
            self._kill()

    def _kill(self) -> None:
        if self._process is not None:
            self._process.signalProcess("KILL")

    def processEnded(self, reason: Failure) -> None:  # noqa: N802  # Twisted's name
        self._process = None
        pid, self.pid = self.pid, None
        if self._stopped is not None:
            self._stopped.callback(None)
            return
        lived = self._reactor.seconds() - self._born
        self._deaths_in_a_row = 1 if lived >= STEADY_TIME else self._deaths_in_a_row + 1
        delay = RESTART_DELAYS[min(self._deaths_in_a_row, len(RESTART_DELAYS)) - 1]
        self.restarts += 1
        self._log.error(
            "worker {number} (pid {pid}) ended after {lived:.1f} s: {reason}; it starts again in {delay} s",
            number=self._number,
            pid=pid,
            lived=lived,
            reason=reason.getErrorMessage(),
            delay=delay,
        )
        self._restart = self._reactor.callLater(delay, self.start)
