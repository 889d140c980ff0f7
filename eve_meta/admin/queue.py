"""The queue of operators' questions: one is answered at a time, users take turns, and the daemon rests after each.

So however much operators ask, the daemon has three quarters of its time for guests and for root, holds one answer at a
time in memory, and whoever asks without end delays nobody by more than a question.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime

REST = 3.0
"""The rest after a question, as a multiple of the time that the question took."""

MAX_REST = 1.0
"""Seconds that a rest lasts at most. The time that a question took includes waiting for a thread or a slow reader."""

Work = Callable[[], "Deferred[Any]"]
"""Answers a question; the result comes when the answer is read."""


class Queue:
    """The questions that wait, by user."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._waiting: dict[int, deque[Work]] = {}
        self._busy = False

    def add(self, user: int, work: Work) -> None:
        """Call *work* when its turn comes."""
        self._waiting.setdefault(user, deque()).append(work)
        self._next()

    def _next(self) -> None:
        if self._busy or not self._waiting:
            return
        self._busy = True
        user = next(iter(self._waiting))
        of_user = self._waiting.pop(user)
        work = of_user.popleft()
        if of_user:
            self._waiting[user] = of_user  # behind all other users
        began = self._reactor.seconds()

        def rest(_: object) -> None:
            took = self._reactor.seconds() - began
            self._reactor.callLater(min(MAX_REST, REST * took), self._rested)

        maybeDeferred(work).addBoth(rest)

    def _rested(self) -> None:
        self._busy = False
        self._next()
