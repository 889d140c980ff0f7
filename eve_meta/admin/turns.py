"""Work on each of thousands of taps that leaves the reactor time for its other work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Cooperator

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 20
"""Taps that are worked on in one turn of the reactor: a millisecond's worth."""


def in_turns(reactor: IReactorTime, call: Callable[[T], R], values: Iterable[T]) -> Deferred[list[R]]:
    """Call *call* with each of *values*, in many turns of the reactor; the list of its results comes later."""
    made: list[R] = []

    def steps() -> Iterator[None]:
        for index, value in enumerate(list(values), 1):
            made.append(call(value))
            if index % AT_ONCE == 0:
                yield

    cooperator = Cooperator(
        # One step a turn: Twisted's own predicate would let steps go on for 10 ms.
        terminationPredicateFactory=lambda: lambda: True,
        scheduler=lambda step: reactor.callLater(0, step),
    )
    return cooperator.coiterate(steps()).addCallback(lambda _: made)
