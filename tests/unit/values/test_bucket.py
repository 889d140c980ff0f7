"""A token bucket admits a burst, then a rate, and never more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eve_meta.values.bucket import TokenBucket


def test_a_full_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(rate=2.0, burst=4.0, now=100.0)
    assert [bucket.take(100.0) for _ in range(5)] == [True] * 4 + [False]
    assert not bucket.take(100.25)
    assert bucket.take(100.5)
    assert not bucket.take(100.5)


def test_a_bucket_holds_its_burst_however_long_it_fills() -> None:
    bucket = TokenBucket(rate=2.0, burst=4.0, now=0.0)
    assert [bucket.take(100_000.0) for _ in range(5)] == [True] * 4 + [False]


def test_an_event_may_cost_many_tokens() -> None:
    bucket = TokenBucket(rate=10, burst=100, now=0.0)
    assert bucket.take(0.0, 60)
    assert not bucket.take(0.0, 60)
    assert bucket.take(2.0, 60)


def test_a_refused_event_takes_nothing() -> None:
    bucket = TokenBucket(rate=1, burst=10, now=0.0)
    assert not bucket.take(0.0, 11)
    assert bucket.take(0.0, 10)


def test_a_bucket_is_full_when_it_is_made_and_when_all_is_filled_up() -> None:
    bucket = TokenBucket(rate=2.0, burst=4.0, now=0.0)
    assert bucket.is_full(0.0)
    bucket.take(0.0)
    assert not bucket.is_full(0.25)
    assert bucket.is_full(0.5)


@given(
    steps=st.lists(st.tuples(st.floats(0, 10), st.floats(0, 50)), max_size=50),
    rate=st.floats(0.1, 10),
    burst=st.floats(1, 100),
)
def test_a_bucket_never_gives_more_than_its_burst_and_rate(
    steps: list[tuple[float, float]], rate: float, burst: float
) -> None:
    bucket = TokenBucket(rate=rate, burst=burst, now=0.0)
    now = given_out = 0.0
    for pause, tokens in steps:
        now += pause
        if bucket.take(now, tokens):
            given_out += tokens
        assert given_out <= burst + rate * now + 1e-6
