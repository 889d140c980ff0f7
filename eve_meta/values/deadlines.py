"""Deadlines of many keys, and the keys that have fallen due.

No clock is read: each call hands in the time, in seconds of one monotonic clock. The cost of a call depends on how many
keys are due, not on how many wait.
"""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heappop, heappush
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Deadlines(Generic[K]):
    """At most one deadline for each key."""

    def __init__(self) -> None:
        self._due: dict[K, tuple[float, int]] = {}
        # The heap also holds deadlines that were replaced or removed. The number distinguishes them from those in use,
        # and keeps the order of equal times.
        self._heap: list[tuple[float, int, K]] = []
        self._number = 0

    def __contains__(self, key: K) -> bool:
        return key in self._due

    def set(self, key: K, due: float) -> None:
        """Let *key* fall due at *due*, in place of its earlier deadline."""
        self._number += 1
        self._due[key] = (due, self._number)
        heappush(self._heap, (due, self._number, key))

    def remove(self, key: K) -> None:
        """Remove the deadline of *key*, if there is one."""
        self._due.pop(key, None)

    def next(self) -> float | None:
        """Return the earliest deadline, None where there is none."""
        self._drop_stale()
        return self._heap[0][0] if self._heap else None

    def take_due(self, now: float) -> list[K]:
        """Remove the keys that have fallen due at *now*, and return them, the earliest first."""
        keys = []
        while (due := self.next()) is not None and due <= now:
            key = heappop(self._heap)[2]
            del self._due[key]
            keys.append(key)
        return keys

    def _drop_stale(self) -> None:
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][:2]:
            heappop(self._heap)
