"""Keys that fall due, each at a time of its own, and one timer for all of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Generic, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime

K = TypeVar("K", bound=Hashable)


class DueQueue(Generic[K]):
    """Keys with the time at which each falls due. A queue is paused until :meth:`resume` is called.

    :param clock: the reactor.
    :param fall_due: called with the keys whose time has come, the earliest first. They have left the queue by then.
    """

    def __init__(self, clock: IReactorTime, fall_due: Callable[[Sequence[K]], None]) -> None:
        self._clock = clock
        self._fall_due = fall_due
        self._paused = True
        self._timer: IDelayedCall | None = None
        # An entry whose number is not its key's any more was discarded or replaced. It stays until its time has come.
        # The numbers also keep the keys, which may have no order, out of comparisons.
        self._heap: list[tuple[float, int, K]] = []
        self._number_of: dict[K, int] = {}
        self._numbers = count()

    def put(self, key: K, due: float) -> None:
        """Let *key* fall due at the time *due* of the clock, in seconds, and at no other time."""
        number = self._number_of[key] = next(self._numbers)
        heappush(self._heap, (due, number, key))
        self._arm()

    def discard(self, key: K) -> None:
        """Take *key* out of the queue, if it is there."""
        self._number_of.pop(key, None)

    def clear(self) -> None:
        """Take all keys out of the queue."""
        self._heap.clear()
        self._number_of.clear()

    def pause(self) -> None:
        """Let no key fall due until :meth:`resume`."""
        self._paused = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def resume(self) -> None:
        """Let keys fall due, those at once whose time came during the pause."""
        self._paused = False
        self._arm()

    def _arm(self) -> None:
        while self._heap and not self._is_current(self._heap[0]):
            heappop(self._heap)
        if self._paused or not self._heap:
            return
        due = self._heap[0][0]
        if self._timer is not None and self._timer.getTime() > due:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._fire)

    def _is_current(self, entry: tuple[float, int, K]) -> bool:
        _, number, key = entry
        return self._number_of.get(key) == number

    def _fire(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        keys = []
        while self._heap and self._heap[0][0] <= now:
            entry = heappop(self._heap)
            if self._is_current(entry):
                del self._number_of[entry[2]]
                keys.append(entry[2])
        # Before the call, so that an exception in it stops no other key.
        self._arm()
        if keys:
            self._fall_due(keys)
