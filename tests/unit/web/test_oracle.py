"""Bytes that two readers might read in two ways."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.web import oracle
from tests.unit.web.oracle import EXPLAINED, Explanation, Refused, Taken


@settings(max_examples=500)
@given(st.randoms(use_true_random=False))
def test_what_we_and_h11_both_take_is_the_same_request(random: Random) -> None:
    oracle.check(oracle.request(random))


@settings(max_examples=200)
@given(st.binary(max_size=100))
def test_any_bytes(data: bytes) -> None:
    oracle.check(data)
    oracle.check(b"GET / HTTP/1.1\r\nHost: a\r\n" + data)


@pytest.mark.parametrize("each", EXPLAINED, ids=lambda each: each.reason)
def test_each_explanation_explains_something_that_no_other_does(each: Explanation) -> None:
    case = oracle.difference(each.example)
    assert case is not None
    assert [other.reason for other in EXPLAINED if other.applies(case)] == [each.reason]


def test_no_explanation_excuses_two_readings_of_one_request() -> None:
    """Where both readers take a request, they agree, without exception."""
    random = Random(1)
    taken = 0
    for _ in range(20_000):
        data = oracle.request(random)
        (ours, theirs) = (oracle.ours(data), oracle.theirs(data))
        if isinstance(ours, Taken) and isinstance(theirs, Taken):
            taken += 1
            assert ours == theirs
        elif isinstance(ours, Taken):
            # All that we take and h11 does not begins with an empty line.
            assert data.startswith(b"\r\n")
            assert isinstance(theirs, Refused)
            assert oracle.theirs(data[2:]) == ours
    assert taken > 1000  # otherwise the test proves little
