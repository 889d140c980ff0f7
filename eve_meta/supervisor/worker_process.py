"""A worker as the supervisor sees it: its process, which is started, ended, and started again when it dies."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IProcessTransport, IReactorProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from eve_meta.supervisor import worker_link
from eve_meta.supervisor.worker_feed import Content
from eve_meta.supervisor.worker_link import Hearers, WorkerLink
from eve_meta.supervisor.worker_log import WorkerLog
from eve_meta.values.problem import Problem
from eve_meta.wire.channel import CHANNEL_FD, FIRST_LISTENER_FD
from eve_meta.wire.messages import PutTap, RemoveTap

RESTART_DELAYS = (0.0, 0.1, 0.5, 1.0, 5.0)
"""Seconds until a worker that died is started again: the n-th time in a row after the n-th of these."""

BLAMELESS_DELAY = 1.0
"""Seconds at most until one is started again that was killed for what another did: a worker that was taken over again
and again is not to keep the guests of the others without an answer for as long as its own."""

STEADY_TIME = 10.0
"""Seconds that a worker must live for its next death to be the first in a row."""

DRAIN_TIMEOUT = 4.0
"""Seconds that a worker has to say that its guests are done: it gives them two
(:data:`eve_meta.web.worker.END_TIME`)."""

STOP_TIMEOUT = 3.0
"""Seconds that a worker has to end when told to; then it is killed."""


class ProcessReactor(IReactorProcess, worker_link.LinkReactor):
    """What a worker's process needs of the reactor."""


@frozen(kw_only=True)
class WorkerConfig:
    """How workers are started: their user, their whole file system, and what they need of the configuration."""

    uid: int
    gid: int
    root: Path
    domain_wait: int
    hop_limit: int
    hosts: tuple[str, ...]


class WorkerProcess(ProcessProtocol):
    """One worker, however often it is started.

    :param listeners: gives the sockets for a new process to accept on.
    :param entered: a context within which a child is born in the private namespace.
    :param started: called with a new worker, to tell it the table.
    :param accepting: called when it accepts connections.
    :param hearers: hear what it says of its guests.
    :ivar pid: the process, or None between two.
    :ivar accepts: whether it has said that it accepts connections.
    :ivar restarts: how often it died.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: ProcessReactor,
        config: WorkerConfig,
        number: int,
        listeners: Callable[[], Sequence[socket.socket]],
        *,
        entered: Callable[[], AbstractContextManager[None]],
        started: Callable[[WorkerProcess], None],
        accepting: Callable[[], None],
        hearers: Hearers,
    ) -> None:
        self._reactor = reactor
        self._config = config
        self._number = number
        self._listeners = listeners
        self._entered = entered
        self._started = started
        self._accepting = accepting
        self._hearers = hearers
        self._process: IProcessTransport | None = None
        self._link: WorkerLink | None = None
        self._output: WorkerLog | None = None
        self._killed = self._blameless = False
        self._born = 0.0
        self._deaths_in_a_row = 0
        self._restart: IDelayedCall | None = None
        self._drained: Deferred[None] | None = None
        self._stopped: Deferred[None] | None = None
        self.pid: int | None = None
        self.accepts = False
        self.restarts = 0

    def start(self) -> None:
        """Starts the process and tells it the table; where that is impossible, tries again later."""
        self._restart = None
        try:
            self._spawn()
        except (OSError, Problem) as error:
            self._log.error(
                "worker {number} cannot start: {error}; it is tried again in {delay} s",
                number=self._number,
                error=error,
                delay=self._start_later(0.0),
            )

    def _spawn(self) -> None:
        listeners = self._listeners()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            # Before there is a process, which would have to be ended again.
            link = WorkerLink(
                self._reactor,
                ours.fileno(),
                self._hearers,
                drained=self._drain_ended,
                distrusted=self._distrust,
                closed=lambda: self._link_closed(link),
            )
            arguments = (
                *(sys.executable, "-I", "-m", "eve_meta.web.worker"),  # -I: nothing from the current directory
                *("--root", str(self._config.root)),
                *("--uid", str(self._config.uid), "--gid", str(self._config.gid)),
                *("--listeners", str(len(listeners))),
                *("--domain-wait", str(self._config.domain_wait)),
                *("--hop-limit", str(self._config.hop_limit)),
                *(f"--host={host}" for host in self._config.hosts),
            )
            files: dict[int, int | str] = {2: "r", CHANNEL_FD: theirs.fileno()}
            files |= {fd: listener.fileno() for fd, listener in enumerate(listeners, FIRST_LISTENER_FD)}
            try:
                with self._entered():
                    self._process = self._reactor.spawnProcess(
                        self,
                        sys.executable,
                        arguments,
                        env={},
                        path="/",
                        childFDs=files,
                    )
            except BaseException:
                link.abort()
                raise
        self.pid = self._process.pid
        self._killed = self._blameless = False
        self._born = self._reactor.seconds()
        self._output = WorkerLog(
            self._reactor,
            self._number,
            pause=lambda: self._read_output(False),
            resume=lambda: self._read_output(True),
        )
        if self._link is not None:
            self._link.ignore()  # that of the one before, of which not all has been read
        self._link = link
        self._started(self)

    def drain(self) -> Deferred[None]:
        """Has the process accept no more and answer what was asked, and starts no other.

        The result comes when it has, when it is gone, or after :data:`DRAIN_TIMEOUT`.
        """
        self._drained = Deferred()
        drained = self._drained
        self.accepts = False
        self._start_no_more()
        if self._process is None or self._link is None:
            self._drain_ended()
        else:
            self._link.drain()
            timeout = self._reactor.callLater(DRAIN_TIMEOUT, self._drain_ended)
            drained.addCallback(lambda _: timeout.cancel() if timeout.active() else None)
        return drained

    def _drain_ended(self) -> None:
        if self._drained is not None and not self._drained.called:
            self._drained.callback(None)

    def _start_no_more(self) -> None:
        if self._restart is not None:
            self._restart.cancel()
            self._restart = None

    def stop(self) -> Deferred[None]:
        """Ends the process; the result comes when it is gone."""
        self._stopped = Deferred()
        stopped = self._stopped
        self._start_no_more()
        if self._process is None:
            stopped.callback(None)
        elif self._link is not None:
            # It finishes what it says to guests where only the channel ends, as when we die.
            with contextlib.suppress(ProcessExitedAlready, PermissionError):
                self._process.signalProcess("HUP")
            self._link.abort()
            kill = self._reactor.callLater(STOP_TIMEOUT, self.kill)
            stopped.addCallback(lambda _: kill.cancel() if kill.active() else None)
        return stopped

    # One that is not there is told everything when it is.

    def at_once(self, message: PutTap | RemoveTap) -> None:
        """Tells the worker *message*, as :meth:`eve_meta.supervisor.worker_feed.WorkerFeed.at_once`."""
        if self._link is not None:
            self._link.feed.at_once(message)

    def put(self, tag: int, content: Content) -> None:
        """Tells the worker of *tag*, as :meth:`eve_meta.supervisor.worker_feed.WorkerFeed.put`."""
        if self._link is not None:
            self._link.feed.put(tag, content)

    def begin(self) -> None:
        """Lets the worker accept connections when it knows all that it is being told."""
        link = self._link
        if link is None:
            return

        def begun(_: None) -> None:
            # Not when it closed instead.
            if self._link is link:
                self.accepts = True
                self._accepting()

        link.begin().addCallback(begun)

    def report(self) -> Deferred[None]:
        """As :meth:`eve_meta.supervisor.worker_link.WorkerLink.report`; fires at once where there is no link."""
        return succeed(None) if self._link is None else self._link.report()

    def _distrust(self, which: str) -> None:
        self._log.error("worker {number} said what {which}; it is killed", number=self._number, which=which)
        self.kill()

    def _link_closed(self, link: WorkerLink) -> None:
        if link is not self._link:
            return  # that of a process that is gone, or never was
        self._link = None
        self.accepts = False
        # Without its link it would serve what is no longer true.
        if self._stopped is None:
            self.kill()

    def kill(self, *, blameless: bool = False) -> None:
        """Ends the process at once, and hears no more of it; another one follows.

        :param blameless: whether that is for what another one did.
        """
        if not self._killed:
            self._killed, self._blameless = True, blameless
        if self._link is not None:
            self._link.ignore()
        if self._process is not None:
            with contextlib.suppress(ProcessExitedAlready):
                self._process.signalProcess("KILL")

    # -- what the process writes to its standard error --

    def _read_output(self, go_on: bool) -> None:
        # Twisted has no public name for a pipe of a process.
        pipe = None if self._process is None else cast(Any, self._process).pipes.get(2)
        if pipe is not None:
            (pipe.resumeProducing if go_on else pipe.pauseProducing)()

    def errReceived(self, data: bytes) -> None:
        if self._output is not None:
            self._output.received(data)

    def processExited(self, reason: Failure) -> None:
        # Else, with a pipe that nobody reads, the process would never count as ended.
        if self._output is not None:
            self._output.ended()

    # -- its end --

    def processEnded(self, reason: Failure) -> None:
        if self._output is not None:
            self._output.closed()
        self._process = None
        self.accepts = False
        pid, self.pid = self.pid, None
        if self._drained is not None:
            self._drain_ended()
        if self._stopped is not None:
            self._stopped.callback(None)
        if self._drained is not None or self._stopped is not None:
            return
        lived = self._reactor.seconds() - self._born
        self.restarts += 1
        self._log.error(
            "worker {number} (pid {pid}) ended after {lived:.1f} s: {reason}; it starts again in {delay} s",
            number=self._number,
            pid=pid,
            lived=lived,
            reason=reason.getErrorMessage(),
            delay=self._start_later(lived),
        )

    def _start_later(self, lived: float) -> float:
        """Has it started again; gives the seconds until then."""
        self._deaths_in_a_row = 1 if lived >= STEADY_TIME else self._deaths_in_a_row + 1
        delay = RESTART_DELAYS[min(self._deaths_in_a_row, len(RESTART_DELAYS)) - 1]
        if self._blameless:
            delay = min(delay, BLAMELESS_DELAY)
        self._restart = self._reactor.callLater(delay, self.start)
        return delay
