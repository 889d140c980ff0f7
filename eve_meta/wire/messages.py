"""The messages between supervisor and worker, as values; :mod:`eve_meta.wire.channel` carries them."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from eve_meta.values.domain import TokenPolicy
from eve_meta.values.eve_node import Node
from eve_meta.wire.boot_reports import TaggedReport
from eve_meta.wire.password import Outcome

MAX_COUNTED_TAGS = 500
"""Tags in one :class:`Counts`; a worker that counted for more tells them in several."""


@frozen(kw_only=True)
class PutTap:
    """The tap of *tag* and, as payload, its domain; without a payload its domain is unknown.

    The other fields are the domain's, as :class:`eve_meta.web.table.Grants` has them, and the tag's *generation*
    (:mod:`eve_meta.wire.requests`).
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
class CountsRequest:
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
    """What guests asked for since the last time: as payload, rows of :mod:`eve_meta.wire.requests`."""


@frozen(kw_only=True)
class Timed:
    """How long answers took since the last time: as payload, rows of :mod:`eve_meta.wire.latency`."""


@frozen(kw_only=True)
class SetPassword:
    """The guest of *tag* posted, as payload, a password: keep it. One at a time for each tag."""

    tag: int


@frozen(kw_only=True)
class PasswordDone:
    """What became of the :class:`SetPassword` of *tag*. What the worker needs to know of it was said before."""

    tag: int
    outcome: Outcome


ToWorker = PutTap | RemoveTap | PutNode | Begin | Drain | CountsRequest | PasswordDone


@frozen(kw_only=True)
class BootReports:
    """What guests reported of themselves since the last time."""

    reports: tuple[TaggedReport, ...]


ToSupervisor = Counts | Asked | Timed | BootReports | SetPassword | Drained
