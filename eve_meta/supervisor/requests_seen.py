"""What the guest of each tap asked for: how often, first and last, by kind of request and status of the answer."""

from __future__ import annotations

from collections import Counter

from attrs import define

from eve_meta.wire.requests import RequestKind, Row


@define
class Seen:
    """How often something was asked for with one result, and when at first and at last."""

    count: int
    first: float
    last: float


MAX_KINDS = 64
"""Kinds of requests, which are a label and a status, that are kept of each tap. A boot has some 15; with every label
and status that a guest can bring about, 1,000 hostile ones would take 30 MB. What is more counts as "other"."""

# One object for each that there was, however many taps have it.
_KINDS: dict[tuple[RequestKind, int], tuple[RequestKind, int]] = {}


def _kind(label: RequestKind, status: int) -> tuple[RequestKind, int]:
    kind = (label, status)
    return _KINDS.setdefault(kind, kind)


class RequestsSeen:
    """What the guest of one tap asked for, since *since*, when the tap appeared."""

    __slots__ = ("_seen", "_since")

    def __init__(self, since: float) -> None:
        self._since = since
        self._seen: dict[tuple[RequestKind, int], Seen] = {}

    def add(self, row: Row, now: float) -> None:
        """Adds what a worker told at *now*; a row whose times cannot be true is no sound worker's, and is left out."""
        if not self._since <= row.first <= row.last <= now:  # also where one is no number
            return
        kind = _kind(row.label, row.status)
        if kind not in self._seen and len(self._seen) >= MAX_KINDS:
            kind = _kind(RequestKind.OTHER, row.status)
        seen = self._seen.get(kind)
        if seen is None:
            self._seen[kind] = Seen(row.number, row.first, row.last)
            return
        seen.count += row.number
        # Workers tell in no order.
        seen.first = min(seen.first, row.first)
        seen.last = max(seen.last, row.last)

    @property
    def kinds(self) -> list[tuple[RequestKind, int, Seen]]:
        """What was asked for, its status and how often, in the order of the first times."""
        return sorted(
            ((label, status, seen) for (label, status), seen in self._seen.items()), key=lambda kind: kind[2].first
        )

    @property
    def statuses(self) -> Counter[str]:
        """Answers by status."""
        statuses: Counter[str] = Counter()
        for (_, status), seen in self._seen.items():
            statuses[str(status)] += seen.count
        return statuses
