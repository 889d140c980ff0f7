"""A guest that takes more than its share."""

from __future__ import annotations

from typing import cast

from eve_meta.web.allowance import GuestAllowance
from eve_meta.web.connection import Connection
from eve_meta.web.limits import Limits

LIMITS = Limits(max_connections=2, rate=2.0, burst=4.0)


def taken(allowance: GuestAllowance, now: float, tries: int = 100) -> int:
    """Return how many of *tries* requests are allowed at *now*."""
    return sum(allowance.take(now) for _ in range(tries))


def test_a_flood_gets_the_burst_and_then_the_rate() -> None:
    allowance = GuestAllowance(1, LIMITS, 100.0)
    assert taken(allowance, 100.0) == 4
    assert taken(allowance, 100.4) == 0
    assert taken(allowance, 100.5) == 1
    assert taken(allowance, 102.5) == 4


def test_an_allowance_never_exceeds_the_burst() -> None:
    allowance = GuestAllowance(1, LIMITS, 0.0)
    assert taken(allowance, 100000.0) == 4


def test_a_used_up_allowance_outlives_its_connections() -> None:
    allowance = GuestAllowance(1, LIMITS, 0.0)
    assert allowance.is_idle(0.0)
    allowance.take(0.0)
    assert not allowance.is_idle(0.4)
    assert allowance.is_idle(0.5)


def test_a_connection_too_many_is_not_admitted() -> None:
    allowance = GuestAllowance(1, LIMITS, 0.0)
    first, second, third = (cast(Connection, object()) for _ in range(3))
    assert allowance.admit(first)
    assert allowance.admit(second)
    assert not allowance.admit(third)
    assert not allowance.is_idle(100.0)
    allowance.connections.discard(first)
    assert allowance.admit(third)


def test_the_defaults_let_ten_boots_at_once_pass() -> None:
    assert taken(GuestAllowance(1, Limits(), 0.0), 0.0, tries=10 * 35) == 350
