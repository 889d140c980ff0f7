"""Thousands of taps are read in many turns of the reactor."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import maybeDeferred

from eve_meta.runtime.turns import AT_ONCE, encoded, in_turns


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


def test_a_long_answer_is_encoded_in_many_turns_and_is_the_same_json() -> None:
    reactor, got = Turns(), cast(list[str], [])
    taps = [{"tap": f"vnet{number}", "drops": {"arp": number}} for number in range(2 * AT_ONCE + 1)]
    answer = {"version": '"1"', "taps": taps, "none": [], "few": [None, 1.5], "heals": {"rules": 1}}
    encoded(cast(Any, reactor), answer).addCallback(got.append)
    for _ in range(2):
        reactor.turn()
        assert got == []
    reactor.turn()
    assert got == [json.dumps(answer)]
    wholes: list[Any] = [taps[:3], None, {}, []]
    for whole in wholes:
        encoded(cast(Any, reactor), whole).addCallback(got.append)
        assert got[-1] == json.dumps(whole)


def test_an_answer_that_json_cannot_hold_is_a_failure() -> None:
    failed: list[Any] = []
    for answer in ({"a": object()}, [object()]):
        maybeDeferred(encoded, cast(Any, Turns()), answer).addErrback(failed.append)
    assert [each.type for each in failed] == [TypeError, TypeError]
