"""A guest that takes more than its share."""

from __future__ import annotations

from functools import partial
from typing import cast

from attrs import define

from eve_meta.web.allowance import GuestAllowance, OpenConnection
from eve_meta.web.limits import Limits
from tests.unit.turns import TurnClock

LIMITS = Limits(max_connections=2, rate=2.0, burst=4.0, max_answers_a_turn=3)


def allowance_of(limits: Limits, now: float = 0.0, reactor: TurnClock | None = None) -> GuestAllowance:
    return GuestAllowance(1, limits, now, next_turn=partial((reactor or TurnClock()).callLater, 0))


def taken(allowance: GuestAllowance, now: float, tries: int = 100) -> int:
    """Return how many of *tries* requests are allowed at *now*."""
    return sum(allowance.take(now) for _ in range(tries))


def test_a_flood_gets_the_burst_and_then_the_rate() -> None:
    allowance = allowance_of(LIMITS, 100.0)
    assert taken(allowance, 100.0) == 4
    assert taken(allowance, 100.4) == 0
    assert taken(allowance, 100.5) == 1
    assert taken(allowance, 102.5) == 4


def test_an_allowance_never_exceeds_the_burst() -> None:
    assert taken(allowance_of(LIMITS), 100000.0) == 4


def test_a_used_up_allowance_outlives_its_connections() -> None:
    allowance = allowance_of(LIMITS)
    assert allowance.is_idle(0.0)
    allowance.take(0.0)
    assert not allowance.is_idle(0.4)
    assert allowance.is_idle(0.5)


def test_a_connection_too_many_is_not_admitted() -> None:
    allowance = allowance_of(LIMITS)
    first, second, third = (cast(OpenConnection, object()) for _ in range(3))
    assert allowance.admit(first, 1)
    assert allowance.admit(second, 1)
    assert not allowance.admit(third, 1)
    assert not allowance.is_idle(100.0)
    allowance.connections.discard(first)
    assert allowance.admit(third, 1)


def test_the_defaults_let_ten_boots_at_once_pass() -> None:
    assert taken(allowance_of(Limits()), 0.0, tries=10 * 35) == 350


# -- the share of a turn --


@define(eq=False)
class Asking:
    """A connection on which so many requests wait, and that is answered when its turn comes."""

    allowance: GuestAllowance
    requests: int

    def take_turn(self) -> None:
        while self.requests and self.allowance.left > 0:
            self.requests -= 1
            self.allowance.spend()
        if self.requests:
            self.allowance.queue(cast(OpenConnection, self))


def test_what_exceeds_the_share_of_a_turn_waits_for_the_next_in_its_order() -> None:
    reactor = TurnClock()
    allowance = allowance_of(LIMITS, reactor=reactor)
    waiting = [Asking(allowance, requests) for requests in (4, 1, 3)]
    for asking in waiting:
        asking.take_turn()
    left = [[asking.requests for asking in waiting]]
    while reactor.getDelayedCalls():
        reactor.turn()
        left.append([asking.requests for asking in waiting])
    assert left == [[1, 1, 3], [0, 0, 2], [0, 0, 0]]
    assert allowance.left == 1


def test_a_connection_that_leaves_the_queue_takes_no_turn() -> None:
    reactor = TurnClock()
    allowance = allowance_of(LIMITS, reactor=reactor)
    first, second, third = (Asking(allowance, requests) for requests in (3, 1, 1))
    for asking in (first, second, third):
        asking.take_turn()
    allowance.leave(cast(OpenConnection, second))
    reactor.turn()
    assert [asking.requests for asking in (first, second, third)] == [0, 1, 0]


def test_the_share_is_whole_again_with_the_first_connection_of_a_turn_unless_it_is_spent() -> None:
    """So a guest that asks for one thing after the other never makes the reactor do anything for its share."""
    reactor = TurnClock()
    allowance = allowance_of(LIMITS, reactor=reactor)
    for turn in range(1, 20):
        connection = cast(OpenConnection, object())
        allowance.admit(connection, turn)
        allowance.spend()
        allowance.connections.discard(connection)
    assert reactor.getDelayedCalls() == []
    connection = cast(OpenConnection, object())
    allowance.admit(connection, 19)
    allowance.spend()
    allowance.spend()
    assert allowance.left == 0
    assert allowance.admit(cast(OpenConnection, object()), 20)
    assert allowance.left == 0
    reactor.turn()
    assert allowance.left == LIMITS.max_answers_a_turn
