"""Calls that fall due: one pending call of a function, however often somebody asks for it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Timer:
    """At most one pending call of *call*, by the clock of *reactor*."""

    def __init__(self, reactor: IReactorTime, call: Callable[[], None]) -> None:
        self._reactor = reactor
        self._call = call
        self._pending: IDelayedCall | None = None

    @property
    def is_pending(self) -> bool:
        """Whether a call is pending."""
        return self._pending is not None

    def start(self, delay: float = 0.0) -> None:
        """Have the call made in *delay* seconds, or earlier where an earlier one is pending.

        With a *delay* of 0 the call is made in a later turn of the reactor, never before this returns.
        """
        self.start_at(self._reactor.seconds() + delay)

    def start_at(self, due: float) -> None:
        """Have the call made at *due*, in seconds of the reactor's clock, or earlier where an earlier one is pending.

        A time that has passed means as soon as possible.
        """
        if self._pending is not None:
            if self._pending.getTime() <= due:
                return
            self._pending.cancel()
        self._pending = self._reactor.callLater(max(0.0, due - self._reactor.seconds()), self._fall_due)

    def cancel(self) -> None:
        """Drop the pending call, if there is one."""
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None

    def _fall_due(self) -> None:
        self._pending = None
        self._call()
