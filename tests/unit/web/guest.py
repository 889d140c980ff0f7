"""A guest and its connection, without sockets: what it sends goes straight to a Connection, what it reads is kept."""

from __future__ import annotations

import json
import math
import socket
from collections import Counter
from http.client import HTTPMessage, parse_headers
from io import BytesIO
from typing import Any, cast

from attrs import frozen
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from eve_meta.runtime.sealed import descriptor_pair
from eve_meta.supervisor.worker_contents import Progress, WorkerContents
from eve_meta.values.domain import Domain
from eve_meta.web.answering import Answering
from eve_meta.web.connection import Connection
from eve_meta.web.guests import Guests
from eve_meta.web.limits import Limits
from eve_meta.web.table import NO_GRANTS, Grants
from eve_meta.web.transport import Peer
from eve_meta.wire.domain import DomainWriter

TAG = 7
TAP = "vnet7"
UUID = "1a831fa7-c50b-4693-a16e-fb8171f1b69e"
OTHER_UUID = "2b831fa7-c50b-4693-a16e-fb8171f1b69e"
TODAY = 1_780_000_000.0
"""2026-05-28: seconds since the epoch at which the tests' clock stands."""

BUFFER = 64 * 1024
"""Bytes beyond which Twisted pauses a producer (``FileDescriptor.bufferSize``)."""


def domain(uuid: str = UUID, **fields: Any) -> bytes:
    """Return the JSON of a small domain."""
    return json.dumps({"uuid": uuid, "name": "web1", "hostname": "web1.example.org", **fields}).encode()


def describe(answering: Answering, *domains: Domain) -> list[bytes]:
    """Return the JSON of *domains* by which the supervisor describes them; put their contents into the table first."""
    contents = answering.guests.table.contents
    sender, contents.descriptors = descriptor_pair()
    writer = DomainWriter()
    with sender, contents.descriptors:
        sent = WorkerContents(contents.apply, sender)
        for tag, domain in enumerate(domains):
            while sent.send_missing(tag, domain.contents) is not Progress.COMPLETE:
                pass
        return [writer.write(domain, sent.number_of) for domain in domains]


def get(path: str, *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    """Return the bytes of a request without a body."""
    lines = [f"{method} {path} HTTP/{version}", "Host: 169.254.169.254", *fields]
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


def counted(answering: Answering, tag: int = TAG) -> dict[str, int]:
    """Return what the guest of *tag* did since the last call: answers by status, and the other counters."""
    counts = Counter(answering.guests.tally.counts.take().get(tag, {}))
    for row in answering.guests.tally.requests.take():
        if row.tag == tag:
            counts[str(row.status)] += row.number
    return dict(counts)


@frozen
class Answer:
    """An answer as a guest reads it."""

    status: int
    fields: HTTPMessage
    body: bytes


def answers(received: bytes) -> list[Answer]:
    """Return the answers in *received*, none of which is to HEAD; the last may be incomplete."""
    stream = BytesIO(received)
    found = []
    while line := stream.readline():
        (version, status, _phrase) = line.split(b" ", 2)
        assert version == b"HTTP/1.1"
        fields = parse_headers(stream)
        length = int(fields.get("Content-Length", "0"))
        body = stream.read(length)
        assert len(body) == length, "an answer cut off"
        found.append(Answer(int(status), fields, body))
    return found


@frozen
class Address:
    host: str = "10.0.0.5"
    port: int = 40000


class FakeWire:
    """What :class:`twisted.internet.tcp.Server` does for a protocol, one reactor turn at each :meth:`turn`."""

    family = socket.AF_INET

    def __init__(self, tag: int | None) -> None:
        self.tag = tag
        self.options: list[tuple[int, int, int]] = []
        self.received = bytearray()
        self.buffer = bytearray()
        self.reading = True
        self.takes = True  # whether the guest reads
        self.closing = False
        self.half_closed = False
        self.ended = ""
        self.protocol: Any = None
        self._producer: Any = None
        self._paused = False
        self._half_closing = False

    def getHandle(self) -> socket.socket:
        return cast(socket.socket, self)

    def setsockopt(self, *option: int) -> None:
        assert len(option) == 3
        self.options.append(option)

    def getPeer(self) -> Peer:
        return cast(Peer, Address())

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        assert not self._half_closing, "written after the half-close"
        if self.ended:
            return
        self.buffer += data
        if self._producer is not None and len(self.buffer) > BUFFER:
            self._paused = True
            self._producer.pauseProducing()

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        assert streaming
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = not self.closing

    def loseConnection(self) -> None:
        self.closing = True
        self.reading = False

    def loseWriteConnection(self) -> None:
        self._half_closing = True

    def abortConnection(self) -> None:
        self._end("aborted", ConnectionAborted())

    def turn(self) -> bool:
        """Let the guest read what has been sent; return whether anything happened."""
        if self.ended or not self.takes:
            return False
        moved = bool(self.buffer)
        self.received += self.buffer
        self.buffer.clear()
        if self._paused and self._producer is not None:
            self._paused = False
            self._producer.resumeProducing()
            return True
        if self.closing:
            self._end("closed", ConnectionDone())
            return True
        if self._half_closing and not self.half_closed:
            self.half_closed = True
            self.protocol.writeConnectionLost()
            return True
        return moved

    def _end(self, how: str, reason: Exception) -> None:
        if not self.ended:
            self.ended = how
            self.protocol.connectionLost(Failure(reason))  # as Twisted left it


class Guest:
    """A guest behind the tap of *tag*, connected to *answering*."""

    def __init__(self, answering: Answering, tag: int | None = TAG) -> None:
        self._clock = cast(Clock, answering.guests._clock)
        self.wire = FakeWire(tag)
        self.wire.protocol = Connection(answering)
        self.wire.protocol.makeConnection(self.wire)
        self.read_now()

    def send(self, *pieces: bytes) -> list[Answer]:
        """Send *pieces* one after the other; return all answers so far."""
        for piece in pieces:
            self.send_blindly(piece)
        return self.answers

    def send_blindly(self, piece: bytes) -> None:
        """Send *piece* and read, but do not look at what was read."""
        self.send_now(piece)
        self.read()

    def send_now(self, piece: bytes) -> None:
        """Send *piece*; it gets through where the transport reads."""
        if self.wire.reading and not self.wire.ended:
            self.wire.protocol.dataReceived(piece)

    def shut(self) -> None:
        """Close the guest's half of the connection: the guest sends no more."""
        if not self.wire.ended:
            self.wire.protocol.readConnectionLost()
            self.read()

    def read(self) -> None:
        """Read all that is sent until the reactor has nothing to do any more."""
        while self.read_now() or self._reactor_goes_on():
            pass

    def read_now(self) -> bool:
        """Read all that has been sent; return whether anything happened."""
        read = False
        while self.wire.turn():
            read = True
        return read

    def _reactor_goes_on(self) -> bool:
        due = any(call.getTime() <= self._clock.seconds() for call in self._clock.getDelayedCalls())
        self._clock.advance(0)
        return due

    @property
    def answers(self) -> list[Answer]:
        """The answers that the guest has read so far."""
        return answers(bytes(self.wire.received))

    @property
    def statuses(self) -> list[int]:
        """The status codes of those answers."""
        return [answer.status for answer in self.answers]

    @property
    def ended(self) -> str:
        """How the connection ended: "closed", "aborted", "half-closed" by us, or "" while it lives."""
        return self.wire.ended or ("half-closed" if self.wire.half_closed else "")


def make_answering(
    clock: Clock,
    *,
    limits: Limits | None = None,
    known: bytes | Domain | None = None,
    grants: Grants = NO_GRANTS,
    hop_limit: int = 1,
    confirmed: bool = True,
) -> Answering:
    """Return an Answering that serves the guest of :data:`TAG`.

    :param known: the guest's domain; by default that of :func:`domain`.
    :param confirmed: whether the table is current, for ever.
    """

    def identify(connection: socket.socket) -> int | None:
        return cast(FakeWire, connection).tag

    answering = Answering(
        clock,
        Guests(clock, identify=identify, limits=limits, monotonic=clock.seconds),
        hop_limit=hop_limit,
        uptime=clock.seconds,
        wall=lambda: TODAY + clock.seconds(),
    )
    if confirmed:
        answering.current_until = math.inf
    if isinstance(known, Domain):
        (known,) = describe(answering, known)
    answering.guests.put(TAG, TAP, clock.seconds(), domain() if known is None else known, grants)
    return answering
