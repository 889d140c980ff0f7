"""The messages between supervisor and worker, as values; :mod:`eve_meta.wire.channel` carries them."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from eve_meta.values.domain import TokenPolicy
from eve_meta.values.eve_node import Node
from eve_meta.wire.boot_reports import TaggedReport
from eve_meta.wire.password import Outcome

LEASE_TIME = 2.0
"""Seconds for which a worker may believe its table, from the moment at which the supervisor knew it to be true. A tap
that changes hands shows the next holder nothing of the one before for longer than that, whatever keeps the supervisor;
and a supervisor that is kept for less costs no guest an answer."""

MAX_COUNTED_TAGS = 500
"""The most tags in one :class:`Counts`; a worker that counted for more sends several."""


@frozen(kw_only=True)
class PutTap:
    """Put the tap of *tag* into the table, with its domain as the payload; no payload means that the domain is unknown.

    The payload is JSON (:mod:`eve_meta.wire.domain`); the contents that it names precede this message.
    *tokens*, *token_key* and *password* are the domain's, as :class:`eve_meta.web.table.Grants` describes them;
    *generation* is the tag's (:mod:`eve_meta.wire.requests`).
    """

    tag: int
    tap: str
    since: float
    generation: int = 0
    tokens: TokenPolicy = TokenPolicy.OFF
    token_key: bytes = field(default=b"", repr=False)
    password: str | None = field(default=None, repr=False)


@frozen(kw_only=True)
class PutContents:
    """Keep small contents, for domains that name them by these numbers.

    The payload has their bytes one after the other, as many of each as *sizes* says.
    """

    numbers: tuple[int, ...]
    sizes: tuple[int, ...]


@frozen(kw_only=True)
class PutSealedContent:
    """Keep a large content of *size* bytes, for domains that name it by *number*.

    Its bytes are in sealed memory (:mod:`eve_meta.runtime.sealed`), whose descriptor the worker has received under the
    same number when it reads this. *digest* is the SHA-256 of the bytes in hexadecimal digits.
    """

    number: int
    size: int
    digest: str


@frozen(kw_only=True)
class DropContents:
    """Forget the contents of these numbers, which no domain in the table names any more."""

    numbers: tuple[int, ...]


@frozen(kw_only=True)
class RemoveTap:
    """Remove the tap of *tag*, which is gone, and close its connections."""

    tag: int


@frozen(kw_only=True)
class PutNode:
    """Replace the values that all applications of an EVE-OS node read alike."""

    node: Node


@frozen(kw_only=True)
class TableCurrent:
    """Believe the table until :data:`LEASE_TIME` seconds after *at*.

    At *at* the supervisor had acted on all that had happened, and everything that it revoked by then precedes this
    message. So the message counts from the moment that it is about, however long it was on its way.

    :ivar at: in seconds of ``CLOCK_MONOTONIC``. All processes of a host read the same one, and it stands still while
        the host sleeps: then no tap changes hands either, and nobody has to wait for the supervisor afterwards.
    """

    at: float


@frozen(kw_only=True)
class Ping:
    """Answer with a :class:`Pong` of this number at once, to show that you still work."""

    number: int


@frozen(kw_only=True)
class Pong:
    """The answer to the :class:`Ping` of this number."""

    number: int


@frozen(kw_only=True)
class Begin:
    """Accept connections as soon as the table is current: it is complete."""


@frozen(kw_only=True)
class Drain:
    """Accept no more connections, answer what has arrived, then send :class:`Drained`: another daemon follows."""


@frozen(kw_only=True)
class Drained:
    """The worker has no connection any more, or its time to drain is over."""


@frozen(kw_only=True)
class CountsRequest:
    """Send your counts now, under this number."""

    number: int


@frozen(kw_only=True)
class Counts:
    """The counts since the last such message: tag → name → how often.

    *number* is that of the :class:`CountsRequest` that this answers, 0 for none. All else that the worker had to send
    precedes this message.
    """

    counts: Mapping[str, Mapping[str, int]]
    number: int = 0


@frozen(kw_only=True)
class RequestRows:
    """The requests since the last such message; the payload has rows of :mod:`eve_meta.wire.requests`."""


@frozen(kw_only=True)
class LatencyRows:
    """The durations of answers since the last such message; the payload has rows of :mod:`eve_meta.wire.latency`."""


@frozen(kw_only=True)
class SetPassword:
    """Store the password in the payload, which the guest of *tag* posted. There is one at a time for each tag."""

    tag: int


@frozen(kw_only=True)
class PasswordDone:
    """The outcome of the :class:`SetPassword` of *tag*. A :class:`PutTap` with the password precedes this message."""

    tag: int
    outcome: Outcome


ToWorker = (
    PutContents
    | PutSealedContent
    | DropContents
    | PutTap
    | RemoveTap
    | PutNode
    | TableCurrent
    | Ping
    | Begin
    | Drain
    | CountsRequest
    | PasswordDone
)


@frozen(kw_only=True)
class BootReports:
    """The reports of guests' cloud-init since the last such message."""

    reports: tuple[TaggedReport, ...]


ToSupervisor = Pong | Counts | RequestRows | LatencyRows | BootReports | SetPassword | Drained
