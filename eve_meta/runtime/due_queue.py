"""Keys that fall due, each at a time of its own, and one timer for all of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from twisted.internet.interfaces import IReactorTime

from eve_meta.runtime.timer import Timer
from eve_meta.values.deadlines import Deadlines

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
        self._timer = Timer(clock, self._fire)
        self._deadlines: Deadlines[K] = Deadlines()

    def put(self, key: K, due: float) -> None:
        """Let *key* fall due at the time *due* of the clock, in seconds, and at no other time."""
        self._deadlines.set(key, due)
        self._arm()

    def discard(self, key: K) -> None:
        """Take *key* out of the queue, if it is there."""
        self._deadlines.remove(key)

    def clear(self) -> None:
        """Take all keys out of the queue."""
        self._deadlines = Deadlines()

    def pause(self) -> None:
        """Let no key fall due until :meth:`resume`."""
        self._paused = True
        self._timer.cancel()

    def resume(self) -> None:
        """Let keys fall due, those at once whose time came during the pause."""
        self._paused = False
        self._arm()

    def _arm(self) -> None:
        due = self._deadlines.next()
        if due is not None and not self._paused:
            self._timer.start_at(due)

    def _fire(self) -> None:
        keys = self._deadlines.take_due(self._clock.seconds())
        # Before the call, so that an exception in it stops no other key.
        self._arm()
        if keys:
            self._fall_due(keys)
