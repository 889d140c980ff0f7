"""Thousands of taps are read in many turns of the reactor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from eve_meta.admin.turns import AT_ONCE, in_turns


class Turns:
    """A reactor whose turns the test makes."""

    def __init__(self) -> None:
        self._calls: list[Callable[[], None]] = []

    def callLater(self, delay: float, call: Callable[[], None]) -> None:
        assert delay == 0
        self._calls.append(call)

    def turn(self) -> None:
        calls, self._calls = self._calls, []
        for call in calls:
            call()


def test_each_turn_works_on_a_few() -> None:
    reactor, got = Turns(), cast(list[list[int]], [])
    called: list[int] = []

    def call(value: int) -> int:
        called.append(value)
        return value * 2

    in_turns(cast(Any, reactor), call, range(3 * AT_ONCE + 1)).addCallback(got.append)
    for turn in range(1, 4):
        reactor.turn()
        assert (len(called), got) == (turn * AT_ONCE, [])
    reactor.turn()
    assert got == [[value * 2 for value in range(3 * AT_ONCE + 1)]]


def test_no_values_give_no_results() -> None:
    reactor, got = Turns(), cast(list[list[int]], [])
    in_turns(cast(Any, reactor), int, []).addCallback(got.append)
    reactor.turn()
    assert got == [[]]
