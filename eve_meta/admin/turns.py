"""Doing something for each of thousands of taps without keeping the reactor from its other work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Cooperator

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 20
"""Taps of which one turn of the reactor takes care: a millisecond's worth."""


def in_turns(reactor: IReactorTime, call: Callable[[T], R], values: Iterable[T]) -> Deferred[list[R]]:
    """What *call* gives for each of *values*, which it is called with in many turns of the reactor."""
    made: list[R] = []

    def steps() -> Iterator[None]:
        for index, value in enumerate(list(values), 1):
            made.append(call(value))
            if index % AT_ONCE == 0:
                yield

    cooperator = Cooperator(
        # One step a turn. Twisted's own would go on for 10 ms.
        terminationPredicateFactory=lambda: lambda: True,
        scheduler=lambda step: reactor.callLater(0, step),
    )
    return cooperator.coiterate(steps()).addCallback(lambda _: made)
