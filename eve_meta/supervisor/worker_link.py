"""What goes between the supervisor and one process of a worker, seen from the supervisor.

The law: what the process says is believed as far as a sound worker could say it. One that says anything else, or more
than a sound one does, is to be killed, and nothing more of it is heard.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorSocket, IReactorTime

from eve_meta.supervisor.worker_feed import WorkerFeed
from eve_meta.values.bucket import TokenBucket
from eve_meta.wire import password
from eve_meta.wire.channel import MAX_TO_SUPERVISOR, Channel
from eve_meta.wire.latency import Times, unpack_times
from eve_meta.wire.messages import (
    Asked,
    Begin,
    BootReports,
    Counts,
    CountsRequest,
    Drain,
    Drained,
    PasswordDone,
    SetPassword,
    Timed,
    ToSupervisor,
    ToWorker,
)
from eve_meta.wire.password import Outcome
from eve_meta.wire.requests import Row, unpack

T = TypeVar("T")

REPORT_TIMEOUT = 1.0
"""Seconds that whoever asks for a worker's counts waits."""

SAY_RATE = 2 * 1024 * 1024
"""Bytes a second that a worker may say in the long run; one that says more is killed. The 20,000 answers that it gives
at most come to 500 KB when no two are of one kind, 1,000 tags with all counts there are to 230 KB; 1,000 guests that
post passwords to a full disk as fast as the worker lets them, to 1 MB. More would keep the supervisor from the taps."""

SAY_BURST = 8 * 1024 * 1024
"""Bytes that a worker may say at once: after a second in which it was not scheduled, or the supervisor was not."""

FRAME_COST = 1024
"""Bytes that a frame counts for beside its own: what small frames cost is their number."""


class LinkReactor(IReactorSocket, IReactorTime):
    """What a link needs of the reactor."""


@frozen(kw_only=True)
class Hearers:
    """Who hears what a worker says of its guests.

    :ivar counted: called with what it counted.
    :ivar asked: called with what they asked for.
    :ivar timed: called with how long their answers took.
    :ivar reported: called with what they reported of themselves.
    :ivar posted: called with a tag, the password that its guest posted, and a function that takes what became of it.
    """

    counted: Callable[[Counts], None]
    asked: Callable[[list[Row]], None]
    timed: Callable[[list[Times]], None]
    reported: Callable[[BootReports], None]
    posted: Callable[[int, str, Callable[[Outcome], None]], None]


class WorkerLink:
    """The supervisor's end of the socket pair with one process.

    :param fd: that end, which is non-blocking, and of which the link makes a copy of its own.
    :param drained: called when it says that its guests are done.
    :param distrusted: called, once, with what it said that no sound worker says.
    :param closed: called, once, when it says and hears nothing any more.
    :ivar feed: what the process is told of taps.
    """

    def __init__(
        self,
        reactor: LinkReactor,
        fd: int,
        hearers: Hearers,
        *,
        drained: Callable[[], None],
        distrusted: Callable[[str], None],
        closed: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._hearers = hearers
        self._drained = drained
        self._distrusted = distrusted
        self._closed = closed
        self._is_distrusted = self._is_closed = False
        self._allowance = TokenBucket(rate=SAY_RATE, burst=SAY_BURST, now=reactor.seconds())
        self._reports: dict[int, Deferred[None]] = {}
        self._report_number = 0
        self._channel = Channel(self._received, self._channel_closed, MAX_TO_SUPERVISOR, self._admit)
        self._channel.adopt(reactor, fd)
        self.feed = WorkerFeed(reactor, self._channel)

    def drain(self) -> None:
        """Has the process accept no more, answer what was asked, and then say so."""
        self._channel.send(Drain())

    def ignore(self) -> None:
        """Hears no more of what the process says."""
        self._is_distrusted = True

    def abort(self) -> None:
        """Closes the link at once."""
        self._channel.abort()

    def begin(self) -> Deferred[None]:
        """Lets the process accept connections when it knows all that it is being told.

        The result comes when it has begun, or the link is closed.
        """
        self.feed.afterwards(Begin())
        # It does one thing after the other: when it answers this it has begun.
        return self._ask_for_report()

    def report(self) -> Deferred[None]:
        """The result comes when the process has told its counts, or has not within :data:`REPORT_TIMEOUT`.

        It knows then all that it was being told.
        """
        done = self._ask_for_report()
        timeout = self._reactor.callLater(REPORT_TIMEOUT, self._reported, self._report_number)
        done.addCallback(lambda _: timeout.cancel() if timeout.active() else None)
        return done

    def _ask_for_report(self) -> Deferred[None]:
        self._report_number += 1
        done = self._reports[self._report_number] = Deferred()
        self.feed.afterwards(CountsRequest(number=self._report_number))
        return done

    def _reported(self, number: int) -> None:
        waiting = self._reports.pop(number, None)
        if waiting is not None:
            waiting.callback(None)

    def _received(self, message: ToWorker | ToSupervisor, payload: bytes) -> None:
        match message:
            case Counts():
                self._hearers.counted(message)
                self._reported(message.number)
            case Asked():
                self._told(unpack, self._hearers.asked, payload)
            case Timed():
                self._told(unpack_times, self._hearers.timed, payload)
            case BootReports():
                self._hearers.reported(message)
            case Drained():
                self._drained()
            case SetPassword():
                self._told(password.read, lambda text: self._posted(message.tag, text), payload)
            case _:
                self._distrust("only the supervisor says")

    def _told(self, read: Callable[[bytes], T], tell: Callable[[T], None], payload: bytes) -> None:
        try:
            told = read(payload)
        except ValueError:
            self._distrust("no sound worker says")
            return
        tell(told)

    def _posted(self, tag: int, text: str) -> None:
        def answer(outcome: Outcome) -> None:
            # To this very process: the next one does not wait for it.
            if not self._is_closed:
                self._channel.send(PasswordDone(tag=tag, outcome=outcome))

        self._hearers.posted(tag, text, answer)

    def _admit(self, size: int) -> bool:
        if not self._allowance.take(self._reactor.seconds(), size + FRAME_COST):
            self._distrust("is more than any sound worker says")
        return not self._is_distrusted

    def _distrust(self, which: str) -> None:
        if not self._is_distrusted:
            self._is_distrusted = True
            self._distrusted(which)

    def _channel_closed(self) -> None:
        self._is_closed = True
        self._closed()
        for number in list(self._reports):
            self._reported(number)
