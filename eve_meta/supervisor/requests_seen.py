"""The requests of each tap's guest: how many, the first and the last, by kind of request and status of the answer.

The law: a row counts only where its times can be true, and for the generation of its tag alone.

* Times are seconds of ``CLOCK_MONOTONIC``, which is one clock for all processes of a host. So the supervisor can judge
  those of a worker: none lies before the tap appeared, none in the future, and the first not after the last.
* A tag may be assigned to one domain and then to another. Its *generation* counts these assignments, so that the
  requests of the one domain's guest are never taken for the other's: the supervisor hands out the number, a worker
  sends it back with each row (:mod:`eve_meta.wire.requests`), and :mod:`eve_meta.supervisor.tap_state` passes on the
  rows of the current domain alone, and begins a new :class:`RequestsSeen` for the next one.
* A guest chooses how fast the counts grow, never how many there are.
"""

from __future__ import annotations

from collections import Counter

from attrs import define

from eve_meta.values.request_kind import RequestKind
from eve_meta.wire.requests import Row


@define
class Seen:
    """The requests of one kind that got one status.

    :ivar count: their number.
    :ivar first: the time of the first, in seconds of ``CLOCK_MONOTONIC``.
    :ivar last: the time of the last, likewise.
    """

    count: int
    first: float
    last: float


MAX_KINDS = 64
"""Pairs of a kind and a status that are kept for each tap. A boot has some 15; with every kind and status that a guest
can bring about, 1,000 hostile guests would take 30 MB. Requests beyond these are counted as "other"."""

# One tuple for each pair that occurred, however many taps have it.
_KEYS: dict[tuple[RequestKind, int], tuple[RequestKind, int]] = {}


def _shared_key(kind: RequestKind, status: int) -> tuple[RequestKind, int]:
    key = (kind, status)
    return _KEYS.setdefault(key, key)


class RequestsSeen:
    """The requests of one tap's guest.

    :param since: when the tap appeared or got its current domain, in seconds of ``CLOCK_MONOTONIC``.
    """

    __slots__ = ("_seen", "_since")

    def __init__(self, since: float) -> None:
        self._since = since
        self._seen: dict[tuple[RequestKind, int], Seen] = {}

    def add(self, row: Row, now: float) -> None:
        """Add *row*, which a worker sent and which arrived at *now*.

        A row whose times cannot be true comes from no sound worker, and is left out.
        """
        if not self._since <= row.first <= row.last <= now:  # also where one is not a number
            return
        key = _shared_key(row.kind, row.status)
        if key not in self._seen and len(self._seen) >= MAX_KINDS:
            key = _shared_key(RequestKind.OTHER, row.status)
        seen = self._seen.get(key)
        if seen is None:
            self._seen[key] = Seen(row.number, row.first, row.last)
            return
        seen.count += row.number
        # Workers send rows in no particular order.
        seen.first = min(seen.first, row.first)
        seen.last = max(seen.last, row.last)

    @property
    def kinds(self) -> list[tuple[RequestKind, int, Seen]]:
        """Each kind of request, the status of its answers, and their number and times, sorted by the first time."""
        return sorted(
            ((kind, status, seen) for (kind, status), seen in self._seen.items()), key=lambda entry: entry[2].first
        )

    @property
    def statuses(self) -> Counter[str]:
        """The number of answers by status."""
        statuses: Counter[str] = Counter()
        for (_, status), seen in self._seen.items():
            statuses[str(status)] += seen.count
        return statuses
