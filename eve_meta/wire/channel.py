"""What supervisor and worker tell each other over their socket pair.

A frame is a length (32 bits), a message as one line of JSON, and a payload of bytes that need no decoding on the way: a
domain, which the worker keeps as it is until its guest asks. Neither side waits for the other.

The supervisor trusts nothing that a worker says: a guest may have taken it over. It reads small frames only, of known
messages, and ends the worker for any other.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any, cast

import cattrs
from cattrs.strategies import configure_tagged_union
from twisted.internet.interfaces import IReactorSocket, ITCPTransport
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from eve_meta.values.domain import MAX_USER_DATA
from eve_meta.values.plain import make_converter
from eve_meta.wire.messages import ToSupervisor, ToWorker

MAX_TO_WORKER = 2 * MAX_USER_DATA + 1024 * 1024
"""Bytes of a frame to the worker: a domain whose user data, in base64, is as large as it may be, and all else."""

MAX_TO_SUPERVISOR = 128 * 1024
"""Bytes of a frame to the supervisor: :data:`eve_meta.wire.requests.MAX_ROWS` rows have 116 KiB;
:data:`eve_meta.wire.messages.MAX_COUNTED_TAGS` tags with all names there are, and a number of ten digits for each, 230
bytes a tag. A password has 1 KB."""

CHANNEL_FD = 3
FIRST_LISTENER_FD = 4
"""The file descriptors that a worker is born with: its end of the socket pair, and from there on listening sockets."""


def _make_converter() -> cattrs.Converter:
    converter = make_converter()
    configure_tagged_union(ToWorker | ToSupervisor, converter, tag_name="message")
    return converter


_CONVERTER = _make_converter()


class Channel(Int32StringReceiver):
    """One end of the socket pair.

    :param received: called with each message and its payload.
    :param closed: called once, when the other end is gone or sent what no message is.
    :param max_length: bytes of the longest frame to accept.
    :param admit: told the bytes of each frame before anything is made of it; a frame that it does not admit is none.
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

    def send(self, message: ToWorker | ToSupervisor, payload: bytes = b"") -> None:
        """Sends *message*; it may be read later, but in order."""
        plain = _CONVERTER.unstructure(message, unstructure_as=ToWorker | ToSupervisor)
        self.sendString(json.dumps(plain).encode() + b"\n" + payload)  # type: ignore[no-untyped-call]

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
        """Ends the connection, now: to what is still to be sent the other end may never listen."""
        if self.transport is not None:
            cast(ITCPTransport, self.transport).abortConnection()

    def adopt(self, reactor: IReactorSocket, fd: int) -> None:
        """Lets *reactor* read the socket *fd*, of which it makes a copy of its own."""
        reactor.adoptStreamConnection(fd, socket.AF_UNIX, _OneProtocol(self))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closed()


class _OneProtocol(ServerFactory):
    """What the reactor wants where a connection is there already: a factory that gives its protocol."""

    noisy = False

    def __init__(self, protocol: Channel) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: object) -> Channel:
        return self._protocol


def _structure(plain: Any) -> ToWorker | ToSupervisor:
    if not isinstance(plain, dict) or not isinstance(plain.get("message"), str):
        raise ValueError(f"expected a message, got {plain!r}")
    try:
        message: ToWorker | ToSupervisor = _CONVERTER.structure(plain, ToWorker | ToSupervisor)  # type: ignore[arg-type]
        return message
    except KeyError:
        raise ValueError(f"expected a message, got {plain!r}") from None
