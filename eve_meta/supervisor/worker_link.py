"""The link between the supervisor and one process of a worker, seen from the supervisor.

The law: what the process sends is believed as far as a sound worker could have sent it. A process that sends anything
else, or more than a sound one does, is to be killed, and nothing more is taken from it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorSocket, IReactorTime

from eve_meta.runtime.timer import Timer
from eve_meta.supervisor.heartbeat import BEAT
from eve_meta.supervisor.worker_contents import WorkerContents
from eve_meta.supervisor.worker_events import WorkerEvents
from eve_meta.supervisor.worker_feed import WorkerFeed
from eve_meta.values.bucket import TokenBucket
from eve_meta.wire import password
from eve_meta.wire.channel import MAX_TO_SUPERVISOR, Channel
from eve_meta.wire.latency import unpack_times
from eve_meta.wire.messages import (
    Begin,
    BootReports,
    Counts,
    CountsRequest,
    Drain,
    Drained,
    LatencyRows,
    PasswordDone,
    Ping,
    Pong,
    RequestRows,
    SetPassword,
    TableCurrent,
    ToSupervisor,
    ToWorker,
)
from eve_meta.wire.password import Outcome
from eve_meta.wire.requests import unpack

T = TypeVar("T")

COUNTS_TIMEOUT = 1.0
"""Seconds that whoever requests a worker's counts waits for them."""

INPUT_RATE = 2 * 1024 * 1024
"""Bytes a second that a worker may send in the long run; a worker that sends more is killed. The 20,000 answers that it
gives at most come to 500 KB when no two are of one kind; 1,000 tags with all counts there are, to 230 KB; 1,000 guests
that post passwords to a full disk as fast as the worker lets them, to 1 MB. More would keep the supervisor from the
taps."""

INPUT_BURST = 8 * 1024 * 1024
"""Bytes that a worker may send at once: after a second in which it, or the supervisor, was not scheduled."""

FRAME_COST = 1024
"""Bytes that a frame counts for besides its own: the cost of small frames is in their number."""


HANG_BEATS = 8
"""Beats (:data:`eve_meta.supervisor.heartbeat.BEAT`), two seconds, for which a process may leave a ping unanswered. A
sound worker answers within one turn of its reactor, which takes milliseconds; a longer pause is the end of its guests'
patience, too."""

START_BEATS = 120
"""Beats, thirty seconds, for which a new process may leave its first ping unanswered: it has to import its modules, on
a host that may be busy with its own start."""


class LinkReactor(IReactorSocket, IReactorTime):
    """What a link needs of the reactor."""


class LinkOwner(Protocol):
    """The owner of a link: the worker whose process is at its other end."""

    def link_drained(self) -> None:
        """Act on the process having no guest connected any more."""

    def link_distrusted(self, reason: str) -> None:
        """Act, once, on the process having sent what no sound worker sends: *reason* completes "it sent"."""

    def link_hung(self, seconds: float) -> None:
        """Act, once, on the process not having answered for *seconds*."""

    def link_closed(self, link: WorkerLink) -> None:
        """Act, once, on the end of *link*."""


class WorkerLink:
    """The supervisor's end of the socket pair with one process.

    :param fd: that end, which is non-blocking, and of which the link makes a copy of its own.
    :param descriptors: sends descriptors to the process (:func:`eve_meta.runtime.sealed.descriptor_pair`); the link
        closes it.
    :param owner: acts on what concerns the process itself.
    :param events: takes what the process sends about its guests.
    :ivar feed: the messages about taps for the process.
    """

    def __init__(
        self, reactor: LinkReactor, fd: int, descriptors: socket.socket, owner: LinkOwner, events: WorkerEvents
    ) -> None:
        self._reactor = reactor
        self._owner = owner
        self._events = events
        self._is_distrusted = self._is_closed = False
        self._allowance = TokenBucket(rate=INPUT_RATE, burst=INPUT_BURST, now=reactor.seconds())
        self._counts_requests: dict[int, Deferred[None]] = {}
        self._counts_number = 0
        self._ping = 0  # the number of the last ping
        self._pong = 0  # the number of the last one that was answered
        self._silent_beats = 0
        self._channel = Channel(self._received, self._channel_closed, MAX_TO_SUPERVISOR, self._admit)
        self._channel.adopt(reactor, fd)
        self._contents = WorkerContents(self._channel.send, descriptors)
        self.feed = WorkerFeed(reactor, self._channel, self._contents)

    def drain(self) -> None:
        """Have the process accept no more connections, answer what was requested, and then send ``Drained``."""
        self._channel.send(Drain())

    def ignore(self) -> None:
        """Take nothing more that the process sends."""
        self._is_distrusted = True

    def abort(self) -> None:
        """Close the link at once."""
        self._contents.close()
        self._channel.abort()

    def beat(self) -> None:
        """Check whether the process has answered the last ping, and send it the next one.

        Silence is counted in calls of this method, not by the clock. Between two calls the reactor has read all that
        the process had sent; and a supervisor that is stopped, busy, or suspended with its machine, makes no calls for
        as long, so that it takes none of its own absence for the silence of the process.
        """
        if self._is_distrusted:
            return
        if self._pong == self._ping:
            self._silent_beats = 0
            self._ping += 1
            self._channel.send(Ping(number=self._ping))
            return
        self._silent_beats += 1
        if self._silent_beats == (HANG_BEATS if self._pong else START_BEATS):
            self._owner.link_hung(self._silent_beats * BEAT)

    def confirm_table(self, at: float) -> None:
        """Let the process believe its table, which was true at *at*, for a while longer.

        It may precede what is still pending in :attr:`feed`: there is nothing in it that revokes.

        :param at: in seconds of ``CLOCK_MONOTONIC``.
        """
        self._channel.send(TableCurrent(at=at))

    def begin(self) -> Deferred[None]:
        """Let the process accept connections as soon as it knows all that it is being sent.

        The result comes when it has begun, or the link is closed.
        """
        self.feed.send_after_pending(Begin())
        # The process handles one message after the other: when it answers this one, it has begun.
        return self._request_counts()

    def request_counts(self) -> Deferred[None]:
        """Request the process's counts; the result comes when they have, or after :data:`COUNTS_TIMEOUT`.

        Where they have come, the process also knows all that it was being sent before.
        """
        done = self._request_counts()
        timeout = Timer(self._reactor, partial(self._counts_came, self._counts_number))
        timeout.start(COUNTS_TIMEOUT)
        done.addCallback(lambda _: timeout.cancel())
        return done

    def _request_counts(self) -> Deferred[None]:
        self._counts_number += 1
        done = self._counts_requests[self._counts_number] = Deferred()
        self.feed.send_after_pending(CountsRequest(number=self._counts_number))
        return done

    def _counts_came(self, number: int) -> None:
        waiting = self._counts_requests.pop(number, None)
        if waiting is not None:
            waiting.callback(None)

    def _received(self, message: ToWorker | ToSupervisor, payload: bytes) -> None:
        match message:
            case Pong():
                if message.number == self._ping:
                    self._pong = self._ping
            case Counts():
                self._events.counted(message)
                self._counts_came(message.number)
            case RequestRows():
                self._decode(unpack, payload, self._events.asked)
            case LatencyRows():
                self._decode(unpack_times, payload, self._events.timed)
            case BootReports():
                self._events.reported(message)
            case Drained():
                self._owner.link_drained()
            case SetPassword():
                self._decode(password.read, payload, lambda text: self._posted(message.tag, text))
            case _:
                self._distrust("what only the supervisor sends")

    def _decode(self, decode: Callable[[bytes], T], payload: bytes, take: Callable[[T], None]) -> None:
        try:
            decoded = decode(payload)
        except ValueError:
            self._distrust("what no sound worker sends")
            return
        take(decoded)

    def _posted(self, tag: int, text: str) -> None:
        def answer(outcome: Outcome) -> None:
            # Only to the process that asked: the next one does not wait for this answer.
            if not self._is_closed:
                self._channel.send(PasswordDone(tag=tag, outcome=outcome))

        self._events.posted(tag, text, answer)

    def _admit(self, size: int) -> bool:
        if not self._allowance.take(self._reactor.seconds(), size + FRAME_COST):
            self._distrust("more than any sound worker sends")
        return not self._is_distrusted

    def _distrust(self, reason: str) -> None:
        if not self._is_distrusted:
            self._is_distrusted = True
            self._owner.link_distrusted(reason)

    def _channel_closed(self) -> None:
        self._is_closed = True
        self._contents.close()
        self._owner.link_closed(self)
        for number in list(self._counts_requests):
            self._counts_came(number)
