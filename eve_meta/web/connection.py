"""One connection of a guest: whose it is, what it may hold, and when it ends.

Whose it is comes from the kernel, once, before a byte is read. Requests are answered one at a time and in order. The
guest decides how fast it sends and reads, we decide how long that may take and how much of it is kept: one piece of
what it sends beyond its request, and of our answers what fits the transport's buffer. While that is full nothing is
read, so a guest that sends and never reads stops itself.

At each moment a connection waits for one thing (:class:`_Wait`) until one deadline. Deadlines are looked at by the
site's sweep: to set one is an assignment, where a timer for each request would cost more than parsing it.
"""

from __future__ import annotations

import enum
import socket
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from eve_meta.values.request_kind import RequestKind
from eve_meta.web.answer import NO_TAP, PASSWORD_NOT_KEPT, REFUSED
from eve_meta.web.limits import SLICE
from eve_meta.web.request import Need, Refusal, Request, RequestReader
from eve_meta.web.response import Response
from eve_meta.web.sockets import limit_hops
from eve_meta.wire.counts import Drop
from eve_meta.wire.requests import kind_of

if TYPE_CHECKING:
    from eve_meta.web.site import Site
    from eve_meta.web.tap import GuestAllowance

NO_TAG = 0
"""Counts and limits connections from no tap; no tap has this tag."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Peer(Protocol):
    """What a connection needs of its peer's address."""

    host: str
    port: int


class Wire(Protocol):
    """What a connection needs of its transport, which is more than Twisted's ``ITransport`` promises.

    ``twisted.internet.tcp.Server`` has it.
    """

    def getHandle(self) -> socket.socket: ...
    def getPeer(self) -> Peer: ...
    def write(self, data: bytes) -> None: ...
    def loseConnection(self) -> None: ...
    def loseWriteConnection(self) -> None: ...
    def abortConnection(self) -> None: ...
    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None: ...
    def unregisterProducer(self) -> None: ...
    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...


class _Wait(enum.Enum):
    """What the connection waits for."""

    REQUEST = enum.auto()
    """The whole of a request that has begun; the first begins when the connection is accepted."""

    NEXT = enum.auto()
    """The first byte of another request."""

    ANSWER = enum.auto()
    """The supervisor, on whose word the answer depends. Nothing is read meanwhile."""

    READER = enum.auto()
    """The guest's reading on, before there is more to send."""

    FLUSH = enum.auto()
    """The guest's reading the last bytes; then we close."""

    LINGER = enum.auto()
    """The guest's close, after a refusal. What it sends meanwhile is thrown away."""


_ENDING = (_Wait.FLUSH, _Wait.LINGER)


@implementer(IHalfCloseableProtocol, IPushProducer)
class Connection(TwistedProtocol):
    """Answers one guest's requests.

    :ivar deadline: when to call :meth:`expire`, in seconds of the site's monotonic clock.
    """

    _wire: Wire
    _tap: GuestAllowance | None = None
    _peer: Peer

    def __init__(self, site: Site) -> None:
        self._site = site
        self._reader = RequestReader(site.memo)
        self._blocked = False  # the transport's buffer is full
        self._eof = False  # the guest will send no more, but may read on, as nc does
        self._body = b""  # the body that is being sent, from _sent on
        self._sent = 0
        self._asked: Request | None = None  # the request whose answer we wait for ourselves
        self._last = False  # the answer that is being sent is the last one
        self._linger = False  # and the guest may not be done with sending
        self._began = site.monotonic()  # when its request did, or we accepted it
        self._wait = _Wait.REQUEST
        self.deadline = self._began + site.limits.request_time

    @property
    def tag(self) -> int:
        """Whose it is; :data:`NO_TAG` when it is nobody's, or at its end."""
        return NO_TAG if self._tap is None else self._tap.tag

    # -- what the reactor tells --

    def connectionMade(self) -> None:
        """Find out whose connection it is; refuse one too many."""
        self._wire = cast(Wire, self.transport)
        tag = self._site.identify(self._wire.getHandle())
        tap = self._site.tap(NO_TAG if tag is None else tag)
        if not tap.admit(self):
            # Without an answer: one that is written before the request was read is mostly lost in the reset that
            # follows, and to read the request is what the limit is there to save.
            self._site.counts.add(tap.tag, Drop.REFUSED_CONNECTIONS.value)
            self._wire.abortConnection()
            return
        self._tap = tap
        self._peer = self._wire.getPeer()
        self._wire.registerProducer(self, True)
        if tag is None:
            # Not a byte of theirs is read.
            self._send(tap, NO_TAP)
            self._linger = True
            self._advance(tap)

    def dataReceived(self, data: bytes) -> None:
        """Take what the guest sent."""
        if self._tap is not None and self._wait not in _ENDING:
            if self._wait is _Wait.NEXT:
                self._began = self._site.monotonic()
            self._reader.receive(data)
            self._advance(self._tap)

    def readConnectionLost(self) -> None:
        """The guest has sent all that it will; it may still wait for answers."""
        self._eof = True
        if self._wait in _ENDING:
            self._wire.loseConnection()
        elif self._tap is not None:
            self._advance(self._tap)

    def writeConnectionLost(self) -> None:
        """Our half is closed, as :data:`_Wait.LINGER` wants it."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        """The connection is gone, whoever ended it."""
        if self._tap is not None:
            self._tap.connections.discard(self)
            self._tap = None

    def pauseProducing(self) -> None:
        """The transport's buffer is full."""
        self._blocked = True
        self._wire.pauseProducing()

    def resumeProducing(self) -> None:
        """The transport's buffer is empty again."""
        self._blocked = False
        if self._tap is not None:
            self._advance(self._tap)
        self._read_on()

    def stopProducing(self) -> None:
        """The transport is gone; :meth:`connectionLost` follows."""

    # -- what the site tells --

    def expire(self) -> None:
        """The deadline has passed."""
        if self._tap is None:
            return
        if self._wait is _Wait.REQUEST:
            if self._reader.pending:
                self._refuse(self._tap, Drop.TIMEOUT, HTTPStatus.REQUEST_TIMEOUT)
            else:
                self._site.counts.add(self._tap.tag, Drop.TIMEOUT.value)
            self._end()
        elif self._wait is _Wait.NEXT:
            self._end()
        elif self._wait is _Wait.ANSWER:
            self._answer_came(PASSWORD_NOT_KEPT, self._asked)
        else:
            if self._wait is not _Wait.LINGER:
                self._site.counts.add(self._tap.tag, Drop.SLOW_READER.value)
            self._wire.abortConnection()

    def revoke(self) -> None:
        """The tag means something else from now on: not one more byte, not even of an answer that was begun."""
        if self._tap is not None:
            self._site.counts.add(self._tap.tag, Drop.REVOKED.value)
            self._wire.abortConnection()

    def end_if_idle(self) -> None:
        """End, unless something of a request is here."""
        if self._tap is not None and self._wait in (_Wait.REQUEST, _Wait.NEXT) and not self._reader.pending:
            self._end()

    def finish(self) -> None:
        """Begin no answer any more; one that was begun is the last."""
        if self._tap is not None and self._wait not in _ENDING:
            self._asked = None
            self._last = True
            if not self._body:
                self._end()

    def rewire(self, wire: Wire) -> None:
        """The connection goes on on another transport."""
        self._wire = wire

    # -- what follows --

    def _advance(self, tap: GuestAllowance) -> None:
        """Do all that can be done now, then wait for the one thing that is missing."""
        limits = self._site.limits
        answered = False
        while not (self._blocked or self._asked is not None or self._wait in _ENDING):
            if self._body:
                self._write_body(tap)
            elif self._last:
                self._end()
            elif (request := self._next_request(tap)) is not None:
                answered = True
                response = self._site.respond(tap, request, self._peer.host, self._peer.port)
                if isinstance(response, Response):
                    self._send(tap, response, request)
                else:
                    self._wait_for(response, request)
            elif not self._last:
                break
        if self._asked is not None or self._wait in _ENDING:
            return
        if self._blocked:
            self._await(_Wait.READER, limits.write_time)
        elif answered or self._wait is not _Wait.REQUEST:
            # Else some bytes of a request came, which has its deadline already.
            if self._reader.pending:
                self._await(_Wait.REQUEST, limits.request_time)
            else:
                self._await(_Wait.NEXT, limits.idle_time)

    def _wait_for(self, response: Deferred[Response], request: Request) -> None:
        self._asked = request
        self._await(_Wait.ANSWER, self._site.limits.answer_time)
        # Or the guest could make us keep all that it sends meanwhile.
        self._wire.pauseProducing()
        response.addCallback(self._answer_came, request)

    def _answer_came(self, response: Response, request: Request | None) -> None:
        # Unless it came too late: for the guest, or after we gave up.
        if self._tap is not None and request is not None and request is self._asked:
            self._asked = None
            self._send(self._tap, response, request)
            self._advance(self._tap)
            self._read_on()

    def _read_on(self) -> None:
        if not (self._blocked or self._eof or self._asked is not None):
            self._wire.resumeProducing()

    def _next_request(self, tap: GuestAllowance) -> Request | None:
        try:
            while (found := self._reader.next()) is Need.CONTINUE:
                self._wire.write(_CONTINUE)
        except Refusal as refusal:
            self._refuse(tap, Drop.MALFORMED, refusal.status)
            return None
        if isinstance(found, Request):
            return found
        if self._eof:
            if self._reader.pending:
                self._refuse(tap, Drop.MALFORMED, HTTPStatus.BAD_REQUEST)
            self._last = True
        return None

    def _refuse(self, tap: GuestAllowance, why: Drop, status: HTTPStatus) -> None:
        self._site.counts.add(tap.tag, why.value)
        self._send(tap, REFUSED[status])
        self._linger = True

    def _send(self, tap: GuestAllowance, response: Response, request: Request | None = None) -> None:
        self._last = response.close or request is None or not request.keep_alive or self._site.draining
        if response.hop_limited:
            limit_hops(self._wire.getHandle(), self._site.hop_limit)
        kind = RequestKind.UNREAD if request is None else kind_of(request.path)
        head = response.head(date=self._site.now().date, close=self._last)
        body = b"" if request is not None and request.method == b"HEAD" else response.body
        if len(body) <= SLICE:
            # One write is one segment, where it fits.
            self._wire.write(head + body)
        else:
            self._wire.write(head)
            (self._body, self._sent) = (body, 0)
        now = self._site.monotonic()
        self._site.ledger.add(tap.tag, kind, int(response.status), now)
        # Refusals of what is no request are not timed: they would show how long the guest took.
        if not self._body and request is not None:
            self._answered(tap, now)

    def _write_body(self, tap: GuestAllowance) -> None:
        # Twisted copies what it has not sent yet: the whole of a large body for each of a tap's connections would be
        # much. While more than 64 KiB are in its buffer it has us blocked.
        piece = self._body[self._sent : self._sent + SLICE]
        self._sent += len(piece)
        if self._sent == len(self._body):
            self._body = b""
        self._wire.write(piece)
        if not self._body:
            self._answered(tap, self._site.monotonic())

    def _answered(self, tap: GuestAllowance, now: float) -> None:
        self._site.ledger.time(tap.tag, now - self._began)
        self._began = now  # of a request that is here already

    def _end(self) -> None:
        limits = self._site.limits
        # Twisted would wait for ever for a paused producer.
        self._wire.unregisterProducer()
        if (self._linger or self._reader.pending) and not self._eof:
            self._await(_Wait.LINGER, limits.linger_time)
            self._wire.loseWriteConnection()
        else:
            self._await(_Wait.FLUSH, limits.write_time)
            self._wire.loseConnection()

    def _await(self, wait: _Wait, seconds: float) -> None:
        self._wait = wait
        self.deadline = self._site.monotonic() + seconds
