"""What supervisor and worker tell each other over their socket pair.

A frame is a length (32 bits), a message as one line of JSON, and a payload of bytes that need no decoding on the way: a
domain, which the worker keeps as it is until its guest asks. Neither side waits for the other.

The supervisor trusts nothing that a worker says: a guest may have taken it over. It reads small frames only, of known
messages, and ends the worker for any other.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from typing import Any, cast

import cattrs
from attrs import field, frozen
from cattrs.strategies import configure_tagged_union
from twisted.internet.interfaces import IReactorSocket, ITCPTransport
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from eve_meta.codec import make_converter
from eve_meta.domain import MAX_USER_DATA, TokenPolicy
from eve_meta.eve import Node
from eve_meta.password import Outcome
from eve_meta.reports import Told

MAX_TO_WORKER = 2 * MAX_USER_DATA + 1024 * 1024
"""Bytes of a frame to the worker: a domain whose user data, in base64, is as large as it may be, and all else."""

MAX_TO_SUPERVISOR = 128 * 1024
"""Bytes of a frame to the supervisor: :data:`eve_meta.ledger.MAX_ROWS` rows have 116 KiB; :data:`MAX_COUNTED_TAGS` tags
with all names there are, and a number of ten digits for each, 230 bytes a tag. A password has 1 KB."""

MAX_COUNTED_TAGS = 500
"""Tags in one :class:`Counts`; a worker that counted for more tells them in several."""

CHANNEL_FD = 3
FIRST_LISTENER_FD = 4
"""The file descriptors that a worker is born with: its end of the socket pair, and from there on listening sockets."""


@frozen(kw_only=True)
class PutTap:
    """The tap of *tag* and, as payload, its domain; without a payload its domain is unknown.

    The other fields are the domain's, as :class:`eve_meta.web.table.Extras` has them, and the tag's *generation*
    (:mod:`eve_meta.ledger`).
    """

    tag: int
    tap: str
    since: float
    generation: int = 0
    tokens: TokenPolicy = TokenPolicy.OFF
    token_key: bytes = field(default=b"", repr=False)
    password: str | None = field(default=None, repr=False)


@frozen(kw_only=True)
class RemoveTap:
    """The tap of *tag* is gone: close what is open for it."""

    tag: int


@frozen(kw_only=True)
class PutNode:
    """What all applications of an EVE-OS node are told alike."""

    node: Node


@frozen(kw_only=True)
class Begin:
    """The table is complete: accept connections."""


@frozen(kw_only=True)
class Drain:
    """Another daemon follows: accept no more, answer what was asked, then say :class:`Drained`."""


@frozen(kw_only=True)
class Drained:
    """No guest is connected any more, or the time for that is over."""


@frozen(kw_only=True)
class Report:
    """Say your counts now, under this number."""

    number: int


@frozen(kw_only=True)
class Counts:
    """What happened since the last time: tag → what → how often. *number* is the report's that asked, 0 for none; all
    else that there was to report came before."""

    counts: Mapping[str, Mapping[str, int]]
    number: int = 0


@frozen(kw_only=True)
class Asked:
    """What guests asked for since the last time: as payload, rows of :mod:`eve_meta.ledger`."""


@frozen(kw_only=True)
class Timed:
    """How long answers took since the last time: as payload, rows of :mod:`eve_meta.latency`."""


@frozen(kw_only=True)
class SetPassword:
    """The guest of *tag* posted, as payload, a password: keep it. One at a time for each tag."""

    tag: int


@frozen(kw_only=True)
class PasswordDone:
    """What became of the :class:`SetPassword` of *tag*. What the worker needs to know of it was said before."""

    tag: int
    outcome: Outcome


ToWorker = PutTap | RemoveTap | PutNode | Begin | Drain | Report | PasswordDone


@frozen(kw_only=True)
class Reported:
    """What guests reported of themselves since the last time."""

    reports: tuple[Told, ...]


ToSupervisor = Counts | Asked | Timed | Reported | SetPassword | Drained


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

    def stringReceived(self, string: bytes) -> None:  # noqa: N802  # Twisted's name
        if not self._admit(len(string)):
            return
        head, _, payload = string.partition(b"\n")
        try:
            message = _structure(json.loads(head))
        except (ValueError, RecursionError, cattrs.BaseValidationError):
            self.abort()
            return
        self._received(message, payload)

    def lengthLimitExceeded(self, length: int) -> None:  # noqa: N802  # Twisted's name
        self.abort()

    def abort(self) -> None:
        """Ends the connection, now: to what is still to be sent the other end may never listen."""
        if self.transport is not None:
            cast(ITCPTransport, self.transport).abortConnection()

    def adopt(self, reactor: IReactorSocket, fd: int) -> None:
        """Lets *reactor* read the socket *fd*, of which it makes a copy of its own."""
        reactor.adoptStreamConnection(fd, socket.AF_UNIX, _OneProtocol(self))

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802  # Twisted's name
        self._closed()


class _OneProtocol(ServerFactory):
    """What the reactor wants where a connection is there already: a factory that gives its protocol."""

    noisy = False

    def __init__(self, protocol: Channel) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: object) -> Channel:  # noqa: N802  # Twisted's name
        return self._protocol


def _structure(plain: Any) -> ToWorker | ToSupervisor:
    if not isinstance(plain, dict) or not isinstance(plain.get("message"), str):
        raise ValueError(f"expected a message, got {plain!r}")
    try:
        message: ToWorker | ToSupervisor = _CONVERTER.structure(plain, ToWorker | ToSupervisor)  # type: ignore[arg-type]
        return message
    except KeyError:
        raise ValueError(f"expected a message, got {plain!r}") from None
