"""One connection of a guest: which tap it came through, what it may hold, and when it ends.

The kernel names the tap, once, before a byte is read. Requests are answered one at a time and in order. The guest
decides how fast it sends and reads; the worker decides how long that may take and how much of it is kept: one piece of
what the guest sends beyond its request, and of the answers what fits the transport's buffer. While that is full nothing
is read, so a guest that sends and never reads stops itself.

In one turn of the reactor the guest of a tap is answered a few times only. A connection that could go on waits in the
queue of its tap's allowance (:mod:`eve_meta.web.allowance`) for another turn. Meanwhile nothing is read and no deadline
passes: it is the worker that delays.

At each moment a connection waits for one thing (:class:`_Wait`) until one deadline. The sweep of
:mod:`eve_meta.web.guests` looks at the deadlines: to set one is an assignment, where a timer for each request would
cost more than parsing it.
"""

from __future__ import annotations

import enum
from http import HTTPStatus
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from eve_meta.values.content import Content
from eve_meta.values.request_kind import RequestKind
from eve_meta.web.allowance import NO_TAG, GuestAllowance
from eve_meta.web.answer import NO_TAP, PASSWORD_NOT_KEPT, REFUSED, TOO_MANY
from eve_meta.web.answering import Answering
from eve_meta.web.limits import SLICE
from eve_meta.web.request import Need, Refusal, Request, RequestReader
from eve_meta.web.response import Response
from eve_meta.web.sockets import limit_hops
from eve_meta.web.transport import Peer, Wire
from eve_meta.wire.counts import Drop, Note

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class _Wait(enum.Enum):
    """What a connection waits for."""

    REQUEST = enum.auto()
    """The whole of a request that has begun; the first begins when the connection is accepted."""

    NEXT = enum.auto()
    """The first byte of another request."""

    ANSWER = enum.auto()
    """The supervisor, on which the answer depends. Until it answers, nothing is read."""

    READER = enum.auto()
    """The guest, which is to read before more is sent."""

    FLUSH = enum.auto()
    """The guest, which is to read the last bytes before the connection is closed."""

    LINGER = enum.auto()
    """The guest's end of the connection, after a refusal. What the guest still sends is thrown away."""


_ENDING = (_Wait.FLUSH, _Wait.LINGER)


@implementer(IHalfCloseableProtocol, IPushProducer)
class Connection(TwistedProtocol):
    """One guest's connection, as Twisted's protocol of it and as an :class:`~eve_meta.web.allowance.OpenConnection`.

    :ivar deadline: when to call :meth:`expire`, in seconds of the guests' monotonic clock.
    """

    _wire: Wire
    _allowance: GuestAllowance | None = None
    _peer: Peer

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._reader = RequestReader(answering.memo)
        self._blocked = False  # the transport's buffer is full
        self._queued = False  # it waits for another turn of the reactor
        self._eof = False  # the guest will send no more, but may read on, as nc does
        self._body: bytes | Content = b""  # the body that is being sent, from _sent on
        self._sent = 0
        self._pinned = 0  # bytes of it for which the allowance is charged
        self._asked: Request | None = None  # the request whose answer the supervisor has yet to decide
        self._last = False  # the answer that is being sent is the last one
        self._linger = False  # the guest may still be sending when the last answer has gone
        self._began = answering.monotonic()  # when its request began, or the connection was accepted
        self._wait = _Wait.REQUEST
        self.deadline = self._began + answering.limits.request_time

    @property
    def tag(self) -> int:
        """The tag of the guest's tap; :data:`NO_TAG` when the connection came through no tap, or has ended."""
        return NO_TAG if self._allowance is None else self._allowance.tag

    # -- called by the transport --

    def connectionMade(self) -> None:
        """Find out through which tap the connection came; refuse one too many."""
        self._wire = cast(Wire, self.transport)
        allowance = self._answering.guests.admit(self, self._wire.getHandle())
        if allowance is None:
            # Without an answer: one that is written before the request was read is mostly lost in the reset that
            # follows, and to read the request is what the limit is there to save.
            self._wire.abortConnection()
            return
        self._allowance = allowance
        self._peer = self._wire.getPeer()
        self._wire.registerProducer(self, True)
        if allowance.tag == NO_TAG:
            # Not a byte that such a client sends is read.
            self._send(allowance, NO_TAP)
            self._linger = True
            self._advance(allowance)
        elif allowance.left <= 0:
            self._queue(allowance)

    def dataReceived(self, data: bytes) -> None:
        """Take what the guest sent."""
        if self._allowance is not None and self._wait not in _ENDING:
            if self._wait is _Wait.NEXT:
                self._began = self._answering.monotonic()
            self._reader.receive(data)
            self._advance(self._allowance)

    def readConnectionLost(self) -> None:
        """Note that the guest has sent all that it will; it may still wait for answers."""
        self._eof = True
        if self._wait in _ENDING:
            self._wire.loseConnection()
        elif self._allowance is not None:
            self._advance(self._allowance)

    def writeConnectionLost(self) -> None:
        """Do nothing: the worker's half is closed, as :data:`_Wait.LINGER` wants it."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Let go of the allowance: the connection is gone, whoever ended it."""
        if self._allowance is not None:
            if self._pinned:
                self._unpin(self._allowance)
            if self._queued:
                self._allowance.leave(self)
            self._allowance.connections.discard(self)
            self._allowance = None

    def pauseProducing(self) -> None:
        """Read and send no more: the transport's buffer is full."""
        self._blocked = True
        self._wire.pauseProducing()

    def resumeProducing(self) -> None:
        """Go on: the transport's buffer is empty again."""
        self._blocked = False
        if self._allowance is not None:
            self._advance(self._allowance)
        self._read_on()

    def stopProducing(self) -> None:
        """Do nothing: the transport is gone, and :meth:`connectionLost` follows."""

    # -- called by the guests' bookkeeping (OpenConnection) --

    def expire(self) -> None:
        """End what has lasted until the deadline; a connection that waits for its turn is looked at after that."""
        if self._allowance is None or self._queued:
            return
        if self._wait is _Wait.REQUEST:
            if self._reader.pending:
                self._refuse(self._allowance, Drop.TIMEOUT, HTTPStatus.REQUEST_TIMEOUT)
            else:
                self._answering.counts.add(self._allowance.tag, Drop.TIMEOUT.value)
            self._end()
        elif self._wait is _Wait.NEXT:
            self._end()
        elif self._wait is _Wait.ANSWER:
            self._answer_came(PASSWORD_NOT_KEPT, self._asked)
        else:
            if self._wait is not _Wait.LINGER:
                self._answering.counts.add(self._allowance.tag, Drop.SLOW_READER.value)
            self._wire.abortConnection()

    def revoke(self) -> None:
        """Cut the connection: its tag has another tap or domain now. No byte more is sent, even of a begun answer."""
        if self._allowance is not None:
            self._answering.counts.add(self._allowance.tag, Drop.REVOKED.value)
            if self._queued:
                # Twisted's transport is gone in the next turn only, which may be this connection's.
                self._allowance.leave(self)
            self._wire.abortConnection()

    def end_if_idle(self) -> None:
        """End, unless some bytes of a request are here, may be here, or an answer is under way."""
        is_idle = self._wait in (_Wait.REQUEST, _Wait.NEXT) and not (self._queued or self._reader.pending)
        if self._allowance is not None and is_idle:
            self._end()

    def finish(self) -> None:
        """Begin no further answer; an answer that was begun is the last."""
        if self._allowance is not None and self._wait not in _ENDING:
            self._asked = None
            self._last = True
            if not self._body:
                self._end()

    def take_turn(self) -> None:
        """Go on in another turn of the reactor."""
        self._queued = False
        tag = self.tag
        try:
            if self._allowance is not None:
                self._advance(self._allowance)
            self._read_on()
        except Exception as error:
            # A defect of ours, for which a transport would end the connection, too.
            self._answering.failed(tag, error)
            if self._allowance is not None:
                self._wire.abortConnection()

    def rewire(self, wire: Wire) -> None:
        """Go on on another transport, *wire*."""
        self._wire = wire

    # -- from one request to the next --

    def _advance(self, allowance: GuestAllowance) -> None:
        """Do all that can be done now, then wait for the one thing that is missing."""
        answered = False
        while not (self._blocked or self._queued or self._asked is not None or self._wait in _ENDING):
            if self._last and not self._body:
                self._end()
                return
            if allowance.left <= 0 and (self._body or self._reader.pending):
                self._queue(allowance)
            elif self._body:
                self._write_body(allowance)
            elif (request := self._next_request(allowance)) is not None:
                answered = True
                response = self._answering.respond(allowance, request, self._peer.host, self._peer.port)
                if isinstance(response, Response):
                    self._send(allowance, response, request)
                else:
                    self._wait_for(response, request)
            elif not self._last:
                break
        if self._asked is None and self._wait not in _ENDING:
            self._wait_for_guest(answered)

    def _wait_for_guest(self, answered: bool) -> None:
        limits = self._answering.limits
        if self._blocked or self._body:
            self._await(_Wait.READER, limits.write_time)
        elif answered or self._wait is not _Wait.REQUEST:
            # In the remaining case more bytes of an incomplete request came, and it keeps the deadline that it has.
            if self._reader.pending:
                self._await(_Wait.REQUEST, limits.request_time)
            else:
                self._await(_Wait.NEXT, limits.idle_time)

    def _queue(self, allowance: GuestAllowance) -> None:
        self._queued = True
        allowance.queue(self)
        # Nothing is read until then, or the guest could make the worker keep all that it sends.
        self._wire.pauseProducing()

    def _wait_for(self, response: Deferred[Response], request: Request) -> None:
        self._asked = request
        self._await(_Wait.ANSWER, self._answering.limits.answer_time)
        # Nothing is read until the answer comes, or the guest could make the worker keep all that it sends.
        self._wire.pauseProducing()
        response.addCallback(self._answer_came, request)

    def _answer_came(self, response: Response, request: Request | None) -> None:
        # An answer that comes too late is dropped: its guest has gone, or its deadline has passed.
        if self._allowance is not None and request is not None and request is self._asked:
            self._asked = None
            self._send(self._allowance, response, request)
            self._advance(self._allowance)
            self._read_on()

    def _read_on(self) -> None:
        if not (self._blocked or self._queued or self._eof or self._asked is not None):
            self._wire.resumeProducing()

    def _next_request(self, allowance: GuestAllowance) -> Request | None:
        try:
            while (request := self._reader.next()) is Need.CONTINUE:
                self._wire.write(_CONTINUE)
        except Refusal as refusal:
            self._refuse(allowance, Drop.MALFORMED, refusal.status)
            return None
        if isinstance(request, Request):
            return request
        if self._eof:
            if self._reader.pending:
                self._refuse(allowance, Drop.MALFORMED, HTTPStatus.BAD_REQUEST)
            self._last = True
        return None

    def _refuse(self, allowance: GuestAllowance, why: Drop, status: HTTPStatus) -> None:
        self._answering.counts.add(allowance.tag, why.value)
        self._send(allowance, REFUSED[status])
        self._linger = True

    def _send(self, allowance: GuestAllowance, response: Response, request: Request | None = None) -> None:
        body = b"" if request is not None and request.method == b"HEAD" else response.body
        if is_long := len(body) > SLICE:
            if isinstance(body, Content):
                pass  # it is held anyway
            elif allowance.pin(len(body)):
                self._pinned = len(body)
            else:
                self._answering.counts.add(allowance.tag, Note.TOO_MUCH_UNREAD.value)
                response, body, is_long = TOO_MANY, TOO_MANY.body, False
        self._last = response.close or request is None or not request.keep_alive or self._answering.draining
        if response.hop_limited:
            limit_hops(self._wire.getHandle(), self._answering.hop_limit)
        kind = RequestKind.UNREAD if request is None else request.rule.kind
        head = response.head(date=self._answering.now().date, close=self._last)
        if is_long:
            self._wire.write(head)
            (self._body, self._sent) = (body, 0)
        else:
            # In one write, so that head and body leave as one segment where they fit.
            self._wire.write(head + body)  # type: ignore[operator]  # a Content is long
        allowance.spend()
        now = self._answering.monotonic()
        self._answering.requests.add(allowance.tag, kind, int(response.status), now)
        # A refusal of what is no request is not timed: the time would be the guest's, not the answer's.
        if not self._body and request is not None:
            self._answered(allowance, now)

    def _write_body(self, allowance: GuestAllowance) -> None:
        # Twisted copies what it has not sent yet, and the whole of a large body for each connection of a tap would be
        # much. While its buffer holds more than 64 KiB it has paused this producer. A slice of a content is read from
        # the memory that all share (pread(2)) only here.
        allowance.spend()
        body_slice = self._body[self._sent : self._sent + SLICE]
        self._sent += len(body_slice)
        if self._sent == len(self._body):
            self._body = b""
            if self._pinned:
                self._unpin(allowance)
        self._wire.write(body_slice)
        if not self._body:
            self._answered(allowance, self._answering.monotonic())

    def _unpin(self, allowance: GuestAllowance) -> None:
        allowance.unpin(self._pinned)
        self._pinned = 0

    def _answered(self, allowance: GuestAllowance, now: float) -> None:
        self._answering.requests.time(allowance.tag, now - self._began)
        self._began = now  # for a request that is here already

    def _end(self) -> None:
        limits = self._answering.limits
        # Twisted closes when no producer is registered any more; for a paused one it would wait for ever.
        self._wire.unregisterProducer()
        if (self._linger or self._reader.pending) and not self._eof:
            self._await(_Wait.LINGER, limits.linger_time)
            self._wire.loseWriteConnection()
        else:
            self._await(_Wait.FLUSH, limits.write_time)
            self._wire.loseConnection()

    def _await(self, wait: _Wait, seconds: float) -> None:
        self._wait = wait
        self.deadline = self._answering.monotonic() + seconds
