"""A worker: the process that answers guests, started by the supervisor within the private network namespace.

It imports what it needs, gives up every privilege, and only then accepts connections: all that parses what guests send
runs here. It knows nothing but what the supervisor sends it about the taps whose guests it answers. It sends nothing
but what those guests asked for and how often, how long the answers took, and what the guests posted.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReactorCore, IReactorSocket, IReactorTime
from twisted.logger import Logger

from eve_meta.runtime.log import log_to_stderr
from eve_meta.runtime.reactor import reactor
from eve_meta.runtime.sandbox.confine import confine
from eve_meta.runtime.sandbox.policy import Identity
from eve_meta.values.problem import Problem
from eve_meta.web.accept import Acceptor
from eve_meta.web.answering import Answering
from eve_meta.web.confinement import WORKER
from eve_meta.web.guests import Guests
from eve_meta.web.hosts import Hosts
from eve_meta.web.sockets import prepare
from eve_meta.web.table import Grants
from eve_meta.wire.boot_reports import TaggedReport
from eve_meta.wire.channel import CHANNEL_FD, DESCRIPTORS_FD, FIRST_LISTENER_FD, MAX_TO_WORKER, Channel
from eve_meta.wire.latency import pack_times
from eve_meta.wire.messages import (
    MAX_COUNTED_TAGS,
    Begin,
    BootReports,
    Counts,
    CountsRequest,
    Drain,
    Drained,
    DropContents,
    LatencyRows,
    PasswordDone,
    Ping,
    Pong,
    PutContents,
    PutNode,
    PutSealedContent,
    PutTap,
    RemoveTap,
    RequestRows,
    SetPassword,
    TableCurrent,
    ToSupervisor,
    ToWorker,
)
from eve_meta.wire.password import Outcome
from eve_meta.wire.requests import pack

COUNT_INTERVAL = 1.0
"""Seconds at most from a request to the message that counts it; a worker that dies takes this much of the counts along.
"""

REPORTS_FRAME = 32 * 1024
"""Bytes of reports in one frame, roughly; in JSON they may take twice as many."""

PASSWORD_RETRY_TIME = 2.0
"""Seconds after a password could not be stored in which the next one of that tap fails without the supervisor: by
passwords alone guests must not make a worker send more than the supervisor accepts
(:data:`eve_meta.supervisor.worker_link.INPUT_RATE`)."""

END_TIME = 2.0
"""Seconds in which guests can read what they asked for, when this worker ends and the path to them stays."""

IDLE_TIME = 0.5
"""Seconds of :data:`END_TIME` in which a request may still come on an open connection: from a guest that has just
connected, or has not read yet that it should send no more."""

LOOK_EVERY = 0.02
"""Seconds between two looks at whether all connections have ended."""


class WorkerReactor(IReactorCore, IReactorSocket, IReactorTime):
    """The reactor, as far as a worker needs it."""


class Worker:
    """Connects *answering*, which serves guests, with the channel to the supervisor.

    :param listeners: the number of listening sockets, which are the descriptors from
        :data:`~eve_meta.wire.channel.FIRST_LISTENER_FD` on.
    """

    _log = Logger()

    def __init__(self, reactor: WorkerReactor, answering: Answering, listeners: int) -> None:
        self._reactor = reactor
        self._listeners = range(FIRST_LISTENER_FD, FIRST_LISTENER_FD + listeners)
        self._answering = answering
        self._guests = answering.guests
        self._contents = answering.guests.table.contents
        self._tally = answering.guests.tally
        self._channel = Channel(self._received, self._supervisor_gone, MAX_TO_WORKER)
        self._tally.began = self._tally_began
        answering.store_password = self._store_password
        self._tally_due = False
        self._acceptors: list[Acceptor] = []
        self._has_begun = False
        self._may_accept = True
        self._passwords: dict[int, Deferred[Outcome]] = {}
        self._resting: set[int] = set()  # tags whose last password could not be stored a moment ago

    def start(self) -> None:
        """Take the channel over. Connections are accepted when the supervisor sends :class:`Begin`."""
        self._contents.descriptors = socket.socket(fileno=DESCRIPTORS_FD)
        self._channel.adopt(self._reactor, CHANNEL_FD)
        os.close(CHANNEL_FD)

    def _received(self, message: ToWorker | ToSupervisor, payload: bytes) -> None:
        match message:
            case PutTap():
                grants = Grants(tokens=message.tokens, token_key=message.token_key, password=message.password)
                self._tally.requests.begin(message.tag, message.generation)
                self._guests.put(message.tag, message.tap, message.since, payload or None, grants)
            case PutContents() | PutSealedContent() | DropContents():
                self._change_contents(message, payload)
            case RemoveTap():
                self._guests.remove(message.tag)
                self._tally.requests.begin(message.tag, 0)
            case PutNode():
                self._answering.node = message.node
            case TableCurrent():
                self._answering.renew_lease(message.at)
                self._accept()
            case Ping():
                self._channel.send(Pong(number=message.number))
            case Begin():
                self._has_begun = True
                self._accept()
            case Drain():
                self._drain()
            case CountsRequest():
                self._send_tally(message.number)
            case PasswordDone():
                if message.outcome is Outcome.FAILED:
                    self._resting.add(message.tag)
                    self._reactor.callLater(PASSWORD_RETRY_TIME, self._resting.discard, message.tag)
                if (waiting := self._passwords.pop(message.tag, None)) is not None:
                    waiting.callback(message.outcome)

    def _change_contents(self, message: PutContents | PutSealedContent | DropContents, payload: bytes) -> None:
        try:
            self._contents.apply(message, payload)
        except ValueError as error:
            # From here on a number could stand for another domain's content. The next process begins anew.
            self._log.critical("{error}", error=error)
            self._channel.abort()

    def _store_password(self, tag: int, password: str) -> Deferred[Outcome]:
        if tag in self._passwords or tag in self._resting:
            return succeed(Outcome.FAILED)
        waiting = self._passwords[tag] = Deferred()
        self._channel.send(SetPassword(tag=tag), password.encode())
        return waiting

    def _tally_began(self) -> None:
        """Send the tally soon. While nothing is counted there is no timer."""
        if not self._tally_due:
            self._tally_due = True
            self._reactor.callLater(COUNT_INTERVAL, self._send_tally, 0)

    def _send_tally(self, number: int) -> None:
        if number == 0:
            self._tally_due = False
        for packed in pack(self._tally.requests.take()):
            self._channel.send(RequestRows(), packed)
        for packed in pack_times(self._tally.requests.take_times()):
            self._channel.send(LatencyRows(), packed)
        for reports in _in_frames(self._tally.reports.take()):
            self._channel.send(BootReports(reports=reports))
        counts = [(str(tag), tag_counts) for tag, tag_counts in self._tally.counts.take().items()]
        while len(counts) > MAX_COUNTED_TAGS:
            self._channel.send(Counts(counts=dict(counts[:MAX_COUNTED_TAGS])))
            del counts[:MAX_COUNTED_TAGS]
        if counts or number:
            self._channel.send(Counts(counts=dict(counts), number=number))

    def _accept(self) -> None:
        """Accept connections from now on, where the supervisor lets this worker and the table is current.

        A guest that connected before that waits in the listener's queue; accepted earlier, it would get 503.
        """
        if not (self._has_begun and self._may_accept) or self._acceptors:
            return
        if self._answering.monotonic() >= self._answering.current_until:
            return  # the next TableCurrent leads here again
        for fd in self._listeners:
            listener = socket.socket(fileno=fd)
            prepare(listener)
            self._acceptors.append(Acceptor(self._reactor, listener, self._answering))
            self._acceptors[-1].start()

    def _accept_no_more(self) -> None:
        self._may_accept = False
        while self._acceptors:
            self._acceptors.pop().stop()

    def _drain(self) -> None:
        self._accept_no_more()
        self._answering.draining = True
        self._reactor.callLater(IDLE_TIME, self._end_idle)
        self._when_quiet(partial(self._channel.send, Drained()))

    def _end_idle(self) -> None:
        # Also connections whose last answer began before it was known to be the last.
        self._guests.end_idle()
        self._reactor.callLater(LOOK_EVERY, self._end_idle)

    def _supervisor_gone(self) -> None:
        # The supervisor died, and the path to guests stays. But without the supervisor this worker would never learn
        # of a tap's new domain, so no further request is answered.
        self._accept_no_more()
        self._guests.finish()
        self._when_quiet(self.end)

    def _when_quiet(self, then: Callable[[], None], looks: int = round(END_TIME / LOOK_EVERY)) -> None:
        """Call *then* when all connections have ended, or after *looks* looks at whether they have."""
        if self._guests.is_quiet or not looks:
            then()
        else:
            self._reactor.callLater(LOOK_EVERY, self._when_quiet, then, looks - 1)

    def end(self) -> None:
        """Cut all connections and end. Guests learn of the cut now: the path to them is taken down afterwards."""
        self._guests.cut_all()
        # Twisted sends the resets in its next turn.
        self._reactor.callLater(0, self._stop)

    def _stop(self) -> None:
        with contextlib.suppress(ReactorNotRunning):  # it was stopped already
            self._reactor.stop()


def _in_frames(reports: Iterable[TaggedReport]) -> Iterator[tuple[TaggedReport, ...]]:
    frame: list[TaggedReport] = []
    cost = 0
    for report in reports:
        frame.append(report)
        cost += report.report.cost
        if cost >= REPORTS_FRAME:
            yield tuple(frame)
            frame, cost = [], 0
    if frame:
        yield tuple(frame)


class _Stderr(io.TextIOBase):
    """Standard error that loses a line that finds no room: no worker waits for whoever reads the log."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            os.write(2, text.encode(errors="backslashreplace"))
        return len(text)


def main() -> int:
    """Run a worker. The supervisor gives it its arguments.

    :return: the exit status.
    """
    parser = argparse.ArgumentParser(description="A worker of eve-meta; only its supervisor can start one.")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--uid", type=int, required=True)
    parser.add_argument("--gid", type=int, required=True)
    parser.add_argument("--listeners", type=int, required=True)
    parser.add_argument("--domain-wait", type=float, required=True)
    parser.add_argument("--hop-limit", type=int, required=True)
    parser.add_argument("--host", action="append", default=[])
    arguments = parser.parse_args()
    # Out of the session, and so away from the terminal, into which whoever compromises this process could type. Nor
    # does Ctrl-C there reach this process: the supervisor decides when it ends.
    os.setsid()
    # What the service manager sends to all processes at once, when the supervisor is to end and when it has ended.
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGABRT):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.set_blocking(2, False)
    sys.stderr = _Stderr()
    log_to_stderr()
    answering = Answering(
        reactor,
        Guests(reactor),
        domain_wait=arguments.domain_wait,
        hop_limit=arguments.hop_limit,
        hosts=Hosts(arguments.host),
    )
    worker = Worker(reactor, answering, arguments.listeners)
    try:
        confine(WORKER, Identity(uid=arguments.uid, gid=arguments.gid, root=arguments.root))
    except Problem as problem:
        print(f"eve-meta: {problem}", file=sys.stderr)
        return 1
    # The supervisor's signal at its own end. Where the channel closes without one, the supervisor has died.
    signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(worker.end))
    worker.start()
    reactor.run(installSignalHandlers=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
