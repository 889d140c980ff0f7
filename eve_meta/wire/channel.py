"""The channel between supervisor and worker: messages in frames over a socket pair.

A frame is a length (32 bits), a message as one line of JSON, and a payload of bytes that the channel does not decode,
such as a domain, which the worker keeps as it is until its guest asks, or user data. Neither side waits for the other.

The supervisor trusts no message of a worker, which may be compromised. It reads only small frames with known messages,
and ends a worker that sends anything else.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable
from typing import Any, cast

import cattrs
from cattrs.strategies import configure_tagged_union
from twisted.internet.interfaces import IReactorSocket, ITCPTransport
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from eve_meta.values.checks import name_type
from eve_meta.values.plain import make_converter
from eve_meta.wire.domain import MAX_DESCRIPTION
from eve_meta.wire.messages import ToSupervisor, ToWorker

MAX_TO_WORKER = MAX_DESCRIPTION + 1024 * 1024
"""The most bytes of a frame to the worker: those of a domain without its contents, and the rest of the message. The
three documents of an EVE-OS node (:data:`eve_meta.values.eve_node.MAX_NODE_DATA`) in base64 are shorter. Contents come
in frames of :data:`eve_meta.supervisor.worker_contents.FRAME` bytes, or not by this channel at all."""

MAX_TO_SUPERVISOR = 128 * 1024
"""The most bytes of a frame to the supervisor. :data:`eve_meta.wire.requests.MAX_ROWS` rows have 116 KiB; the counts of
:data:`eve_meta.wire.messages.MAX_COUNTED_TAGS` tags have 230 bytes a tag where every name has a number of ten digits. A
password has 1 KB."""

_LENGTH = struct.Struct("!I")
"""What precedes each frame, as Int32StringReceiver sends it."""

CHANNEL_FD = 3
DESCRIPTORS_FD = 4
FIRST_LISTENER_FD = 5
"""The descriptors that a worker inherits: its end of the channel, the socket by which it receives descriptors of sealed
memory (:mod:`eve_meta.runtime.sealed`), and from the third on listening sockets."""


def _make_converter() -> cattrs.Converter:
    converter = make_converter()
    configure_tagged_union(ToWorker | ToSupervisor, converter, tag_name="message")
    return converter


_CONVERTER = _make_converter()


class Channel(Int32StringReceiver):
    """One end of the socket pair.

    :param received: called with each message and its payload.
    :param closed: called once, when the other end has closed the connection or sent something that is no message.
    :param max_length: the most bytes of a frame; a longer one ends the connection.
    :param admit: called with the size of each frame in bytes before the frame is parsed; where it returns False, the
        frame is dropped.
    """

    def __init__(
        self,
        received: Callable[[ToWorker | ToSupervisor, bytes], None],
        closed: Callable[[], None],
        max_length: int,
        admit: Callable[[int], bool] = lambda _: True,
    ) -> None:
        self.MAX_LENGTH = max_length
        self._admit = admit
        self._received = received
        self._closed = closed
        self._is_aborted = False
        self._pieces: list[bytes] = []  # of a frame, or its length, that has not arrived whole
        self._missing = 0  # bytes of it

    def send(self, message: ToWorker | ToSupervisor, payload: bytes = b"") -> None:
        """Send *message*. The other end reads messages later, in the order in which they were sent."""
        plain = _CONVERTER.unstructure(message, unstructure_as=ToWorker | ToSupervisor)
        self.sendString(json.dumps(plain).encode() + b"\n" + payload)  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:
        # Twisted's own method joins what it has of a frame with each piece that comes. Of a frame of 22 MB it copies
        # four gigabytes, while the pings and all else that is behind that frame has to wait.
        self._pieces.append(data)
        self._missing -= len(data)
        if self._missing > 0:
            return
        data = b"".join(self._pieces)
        begin = 0
        while True:
            content = begin + _LENGTH.size
            end = content if len(data) < content else content + _LENGTH.unpack_from(data, begin)[0]
            if end - content > self.MAX_LENGTH:
                self.lengthLimitExceeded(end - content)
            elif len(data) < end or len(data) < content:
                self._pieces, self._missing = [data[begin:]], end - len(data)
                return
            else:
                self.stringReceived(data[content:end])
            if self._is_aborted:
                self._pieces = []
                return
            begin = end

    def stringReceived(self, string: bytes) -> None:
        if not self._admit(len(string)):
            return
        head, _, payload = string.partition(b"\n")
        try:
            message = _structure(json.loads(head))
        except (ValueError, RecursionError, cattrs.BaseValidationError):
            self.abort()
            return
        self._received(message, payload)

    def lengthLimitExceeded(self, length: int) -> None:
        self.abort()

    def abort(self) -> None:
        """End the connection at once, unsent frames with it: the other end may never read them."""
        self._is_aborted = True
        if self.transport is not None:
            cast(ITCPTransport, self.transport).abortConnection()

    def adopt(self, reactor: IReactorSocket, fd: int) -> None:
        """Have *reactor* read the socket *fd*, of which it makes a copy."""
        reactor.adoptStreamConnection(fd, socket.AF_UNIX, OneProtocol(self))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closed()


class OneProtocol(ServerFactory):
    """The factory that the reactor wants for a connection that exists already: it gives that connection's protocol."""

    noisy = False

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: object) -> Protocol:
        return self._protocol


def _structure(plain: Any) -> ToWorker | ToSupervisor:
    if not isinstance(plain, dict) or not isinstance(plain.get("message"), str):
        raise ValueError(f"expected a message, got {name_type(plain)}")  # not quoted: a message may hold a password
    try:
        message: ToWorker | ToSupervisor = _CONVERTER.structure(plain, ToWorker | ToSupervisor)  # type: ignore[arg-type]
        return message
    except KeyError:
        raise ValueError("expected a message that is known, got another") from None
