"""A guest that takes more than its share."""

from __future__ import annotations

from typing import cast

from eve_meta.web.allowance import GuestAllowance
from eve_meta.web.connection import Connection
from eve_meta.web.limits import Limits

LIMITS = Limits(max_connections=2, rate=2.0, burst=4.0)


def taken(tap: GuestAllowance, now: float, tries: int = 100) -> int:
    """How many of *tries* requests are allowed at *now*."""
    return sum(tap.take(now) for _ in range(tries))


def test_a_flood_gets_the_burst_and_then_the_rate() -> None:
    tap = GuestAllowance(1, LIMITS, 100.0)
    assert taken(tap, 100.0) == 4
    assert taken(tap, 100.4) == 0
    assert taken(tap, 100.5) == 1
    assert taken(tap, 102.5) == 4


def test_an_allowance_does_not_grow_over_night() -> None:
    tap = GuestAllowance(1, LIMITS, 0.0)
    assert taken(tap, 100000.0) == 4


def test_what_a_guest_owes_is_remembered_after_it_hung_up() -> None:
    tap = GuestAllowance(1, LIMITS, 0.0)
    assert tap.is_idle(0.0)
    tap.take(0.0)
    assert not tap.is_idle(0.4)
    assert tap.is_idle(0.5)


def test_a_connection_too_many_is_not_counted_in() -> None:
    tap = GuestAllowance(1, LIMITS, 0.0)
    first, second, third = (cast(Connection, object()) for _ in range(3))
    assert tap.admit(first)
    assert tap.admit(second)
    assert not tap.admit(third)
    assert not tap.is_idle(100.0)
    tap.connections.discard(first)
    assert tap.admit(third)


def test_the_defaults_let_ten_boots_at_once_pass() -> None:
    assert taken(GuestAllowance(1, Limits(), 0.0), 0.0, tries=10 * 35) == 350
