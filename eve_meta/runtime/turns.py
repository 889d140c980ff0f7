"""Work on each of thousands of taps or domains that leaves the reactor time for its other work."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Cooperator

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 20
"""Taps that are worked on in one turn of the reactor: a millisecond's worth."""

TURN = 0.01
"""Seconds of one kind of work in one turn of the reactor. Several kinds may have work in the same turn, and a lease
(:data:`eve_meta.wire.messages.LEASE_TIME`) must not end meanwhile."""


def end_of_turn(reactor: IReactorTime) -> Callable[[], bool]:
    """Return a function that returns whether the work that begins now has taken :data:`TURN`, and has to make way."""
    end = reactor.seconds() + TURN
    return lambda: reactor.seconds() >= end


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


def encoded(reactor: IReactorTime, answer: Any) -> Deferred[str]:
    """Return *answer* as JSON, a part at a time: at once, the status of 5,000 taps takes 50 ms. The text comes later.

    The items of *answer*, where it is a list, and of lists among its values, where it is an object, are the parts.
    """
    if not isinstance(answer, dict):
        return _encoded_items(reactor, answer)
    names = [json.dumps(name) for name in answer]
    texts = gatherResults([_encoded_items(reactor, value) for value in answer.values()], consumeErrors=True)
    return texts.addCallback(
        lambda texts: f"{{{', '.join(f'{name}: {text}' for name, text in zip(names, texts, strict=True))}}}"
    )


def _encoded_items(reactor: IReactorTime, value: Any) -> Deferred[str]:
    if not isinstance(value, list) or len(value) <= AT_ONCE:
        return succeed(json.dumps(value))
    return in_turns(reactor, json.dumps, value).addCallback(lambda texts: f"[{', '.join(texts)}]")
