"""A worker as the supervisor sees it: its process, which is started, stopped, and started again when it dies.

The law: a worker without its link, one that does not answer, or one that sends what no sound worker sends, is killed,
and another process takes its place; however often that happens, it costs the guests of other workers little time.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IProcessTransport, IReactorProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from eve_meta.runtime.sealed import descriptor_pair
from eve_meta.runtime.timer import Timer
from eve_meta.supervisor.worker_events import WorkerEvents
from eve_meta.supervisor.worker_feed import MakeEntry
from eve_meta.supervisor.worker_link import LinkReactor, WorkerLink
from eve_meta.supervisor.worker_log import WorkerLog
from eve_meta.values.problem import Problem
from eve_meta.wire.channel import CHANNEL_FD, DESCRIPTORS_FD, FIRST_LISTENER_FD
from eve_meta.wire.messages import PutTap, RemoveTap

PROGRAM: tuple[str, ...] = ("-I", "-m", "eve_meta.web.worker")
"""The arguments of Python that make it a worker; -I: nothing is imported from the current directory."""

RESTART_DELAYS = (0.0, 0.1, 0.5, 1.0, 5.0)
"""Seconds until a worker that died is started again: after its n-th death in a row, the n-th of these."""

STEADY_TIME = 10.0
"""Seconds that a worker must live for its next death to count as the first in a row."""

DRAIN_TIMEOUT = 4.0
"""Seconds that a worker has to drain: it gives its guests two (:data:`eve_meta.web.worker.END_TIME`)."""

STOP_TIMEOUT = 3.0
"""Seconds that a worker has to end when it is stopped; then it is killed."""


class ProcessReactor(IReactorProcess, LinkReactor):
    """What a worker's process needs of the reactor."""


@frozen(kw_only=True)
class WorkerConfig:
    """How workers are started.

    :ivar ids: the users that they run as, each worker as the one at its number, which is its group as well.
    :ivar root: the empty folder that is their whole file system.
    :ivar birth: makes a context within which one child is born as the first of a pid namespace of its own.
    :ivar domain_wait: as ``[web] domain_wait`` of the configuration, in seconds.
    :ivar hop_limit: as ``[web] hop_limit``.
    :ivar hosts: as ``[web] hosts``.
    """

    ids: Sequence[int]
    root: Path
    birth: Callable[[], AbstractContextManager[None]]
    domain_wait: int
    hop_limit: int
    hosts: tuple[str, ...]


class WorkerProcess(ProcessProtocol):
    """One worker, however often it is started.

    :param get_listeners: returns the sockets for a new process to accept on, or raises
        :class:`~eve_meta.values.problem.Problem`.
    :param in_namespace: makes a context within which a child is born in the private network namespace.
    :param events: acts on what happens to the worker, and takes what it sends about its guests.
    :ivar pid: the process, None while there is none.
    :ivar accepts: whether the worker has begun to accept connections.
    :ivar restarts: how often it died.
    :ivar forbidden_calls: how often it died of a system call that a worker may not make.
    :ivar hangs: how often it was killed because it did not answer.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: ProcessReactor,
        config: WorkerConfig,
        number: int,
        *,
        get_listeners: Callable[[], Sequence[socket.socket]],
        in_namespace: Callable[[], AbstractContextManager[None]],
        events: WorkerEvents,
    ) -> None:
        self._reactor = reactor
        self._config = config
        self._number = number
        self._get_listeners = get_listeners
        self._in_namespace = in_namespace
        self._events = events
        self._process: IProcessTransport | None = None
        self._link: WorkerLink | None = None
        self._output: WorkerLog | None = None
        self._born = 0.0
        self._deaths_in_a_row = 0
        self._restart = Timer(reactor, self.start)
        self._drained: Deferred[None] | None = None
        self._stopped: Deferred[None] | None = None
        self.pid: int | None = None
        self.accepts = False
        self.restarts = 0
        self.hangs = 0
        self.forbidden_calls = 0

    @property
    def uid(self) -> int:
        """The user that the worker runs as, and its group."""
        return self._config.ids[self._number]

    def start(self) -> None:
        """Start a process and have it sent its taps; where that is impossible, try again later."""
        try:
            self._spawn()
        except (OSError, Problem) as error:
            self._log.error(
                "worker {number} cannot start: {error}; the next try is in {delay} s",
                number=self._number,
                error=error,
                delay=self._start_later(0.0),
            )

    def _spawn(self) -> None:
        listeners = self._get_listeners()
        ours, theirs = socket.socketpair()
        sender, receiver = descriptor_pair()
        with ours, theirs, receiver:
            ours.setblocking(False)
            # Before the process starts: were it to fail afterwards, the process would have to be ended again.
            link = WorkerLink(self._reactor, ours.fileno(), sender, self, self._events)
            arguments = (
                *(sys.executable, *PROGRAM),
                *("--root", str(self._config.root)),
                *("--uid", str(self.uid), "--gid", str(self.uid)),
                *("--listeners", str(len(listeners))),
                *("--domain-wait", str(self._config.domain_wait)),
                *("--hop-limit", str(self._config.hop_limit)),
                *(f"--host={host}" for host in self._config.hosts),
            )
            files: dict[int, int | str] = {2: "r", CHANNEL_FD: theirs.fileno(), DESCRIPTORS_FD: receiver.fileno()}
            files |= {fd: listener.fileno() for fd, listener in enumerate(listeners, FIRST_LISTENER_FD)}
            try:
                with self._in_namespace(), self._config.birth():
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
        self._born = self._reactor.seconds()
        self._output = WorkerLog(
            self._reactor,
            self._number,
            pause=lambda: self._read_output(False),
            resume=lambda: self._read_output(True),
        )
        if self._link is not None:
            self._link.ignore()  # the link of the process before; part of what that sent may still be unread
        self._link = link
        self._events.started()

    def drain(self) -> Deferred[None]:
        """Have the process accept no more connections and answer what was requested, and start no other process.

        The result comes when it has, when it is gone, or after :data:`DRAIN_TIMEOUT`.
        """
        self._drained = Deferred()
        drained = self._drained
        self.accepts = False
        self._restart.cancel()
        if self._process is None or self._link is None:
            self.link_drained()
        else:
            self._link.drain()
            timeout = Timer(self._reactor, self.link_drained)
            timeout.start(DRAIN_TIMEOUT)
            drained.addCallback(lambda _: timeout.cancel())
        return drained

    def stop(self) -> Deferred[None]:
        """End the process; the result comes when it is gone."""
        self._stopped = Deferred()
        stopped = self._stopped
        self._restart.cancel()
        if self._process is None:
            stopped.callback(None)
        elif self._link is not None:
            # A signal as well: where only the channel ends, as when we die, the worker finishes its answers first.
            with contextlib.suppress(ProcessExitedAlready, PermissionError):
                self._process.signalProcess("HUP")
            self._link.abort()
            timeout = Timer(self._reactor, self.kill)
            timeout.start(STOP_TIMEOUT)
            stopped.addCallback(lambda _: timeout.cancel())
        return stopped

    # A worker without a process is sent nothing: its next process is sent everything when it starts.

    def send_now(self, message: PutTap | RemoveTap) -> None:
        """Send the worker *message*, as :meth:`eve_meta.supervisor.worker_feed.WorkerFeed.send_now`."""
        if self._link is not None:
            self._link.feed.send_now(message)

    def put(self, tag: int, make: MakeEntry) -> None:
        """Send the worker what *make* makes, as :meth:`eve_meta.supervisor.worker_feed.WorkerFeed.put`."""
        if self._link is not None:
            self._link.feed.put(tag, make)

    def beat(self) -> None:
        """Look whether the process still answers, as :meth:`eve_meta.supervisor.worker_link.WorkerLink.beat`."""
        if self._link is not None:
            self._link.beat()

    def confirm_table(self, at: float) -> None:
        """As :meth:`eve_meta.supervisor.worker_link.WorkerLink.confirm_table`."""
        if self._link is not None:
            self._link.confirm_table(at)

    def begin(self) -> None:
        """Let the worker accept connections as soon as it knows all that it is being sent."""
        link = self._link
        if link is None:
            return

        def begun(_: None) -> None:
            # Unless the result came because the link was closed.
            if self._link is link:
                self.accepts = True
                self._events.accepting()

        link.begin().addCallback(begun)

    def request_counts(self) -> Deferred[None]:
        """As :meth:`eve_meta.supervisor.worker_link.WorkerLink.request_counts`; without a link, done at once."""
        return succeed(None) if self._link is None else self._link.request_counts()

    # -- the owner of its link (LinkOwner) --

    def link_drained(self) -> None:
        """End the wait of :meth:`drain`."""
        if self._drained is not None and not self._drained.called:
            self._drained.callback(None)

    def link_distrusted(self, reason: str) -> None:
        """Kill the process for what it sent."""
        self._log.error("worker {number} is killed: it sent {reason}", number=self._number, reason=reason)
        self.kill()

    def link_hung(self, seconds: float) -> None:
        """Kill the process: its guests would wait for it for ever."""
        self.hangs += 1
        self._log.error(
            "worker {number} (pid {pid}) is killed: it has not answered its supervisor for {seconds:.0f} s",
            number=self._number,
            pid=self.pid,
            seconds=seconds,
        )
        self._events.hung()
        self.kill()

    def link_closed(self, link: WorkerLink) -> None:
        """Kill the process: without its link it would serve what is no longer true."""
        if link is not self._link:
            return  # the link of a process that is gone, or that could not be started
        self._link = None
        self.accepts = False
        if self._stopped is None:
            self.kill()

    def kill(self) -> None:
        """End the process at once, and take nothing more from it; another process follows."""
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
        # A pipe that is paused would never reach its end, and Twisted would never call processEnded().
        if self._output is not None:
            self._output.ended()

    # -- the end of the process --

    def processEnded(self, reason: Failure) -> None:
        if self._output is not None:
            self._output.closed()
        self._process = None
        self.accepts = False
        pid, self.pid = self.pid, None
        if self._drained is not None:
            self.link_drained()
        if self._stopped is not None:
            self._stopped.callback(None)
        if self._drained is not None or self._stopped is not None:
            return
        lived = self._reactor.seconds() - self._born
        self.restarts += 1
        if getattr(reason.value, "signal", None) == signal.SIGSYS:
            self.forbidden_calls += 1
            self._log.error(
                "worker {number} (pid {pid}) was killed for a system call that no worker makes: it is compromised, or "
                "has a defect; 'journalctl -k --grep type=1326' shows the call's number",
                number=self._number,
                pid=pid,
            )
            self._events.made_forbidden_call(pid)
        self._log.error(
            "worker {number} (pid {pid}) ended after {lived:.1f} s: {reason}; it starts again in {delay} s",
            number=self._number,
            pid=pid,
            lived=lived,
            reason=reason.getErrorMessage(),
            delay=self._start_later(lived),
        )

    def _start_later(self, lived: float) -> float:
        """Have the worker started again; return the seconds until then."""
        self._deaths_in_a_row = 1 if lived >= STEADY_TIME else self._deaths_in_a_row + 1
        delay = RESTART_DELAYS[min(self._deaths_in_a_row, len(RESTART_DELAYS)) - 1]
        self._restart.start(delay)
        return delay
