"""Durations of answers on their path from a worker, which may be compromised, to the supervisor."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eve_meta.wire.latency import BUCKETS, MAX_SUM, MAX_TIMES, Histogram, Times, pack_times, unpack_times

ROW = struct.Struct(f"=HId{BUCKETS}I")

numbers = st.integers(0, 2**32 - 1)
times = st.builds(
    Times,
    st.integers(0, 0xFFFF),
    numbers,
    st.floats(0, MAX_SUM),
    st.lists(numbers, min_size=BUCKETS, max_size=BUCKETS).map(tuple),
)


@given(st.lists(times))
def test_rows_that_are_packed_are_unpacked_unchanged(rows: list[Times]) -> None:
    assert [row for packed in pack_times(rows) for row in unpack_times(packed)] == rows


def test_many_rows_are_packed_into_several_payloads() -> None:
    many = [Histogram().times(tag, 0) for tag in range(MAX_TIMES + 1)]
    assert [len(unpack_times(packed)) for packed in pack_times(many)] == [MAX_TIMES, 1]


@pytest.mark.parametrize("total", [-1.0, float("nan"), float("inf"), 2 * MAX_SUM])
def test_sums_of_seconds_that_cannot_be_true_are_refused(total: float) -> None:
    with pytest.raises(ValueError, match="expected seconds"):
        unpack_times(ROW.pack(1, 0, total, *[0] * BUCKETS))


@given(st.binary(max_size=200))
def test_bytes_are_unpacked_or_raise_a_value_error(packed: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert len(unpack_times(packed)) * ROW.size == len(packed)


def test_histograms_of_workers_add_up() -> None:
    one, other = Histogram(), Histogram()
    one.add(0.0002)
    other.add(0.0002)
    other.add(3.0)
    one.add_all(other.times(7, 0))
    assert (one.buckets[1], one.buckets[-2], sum(one.buckets)) == (2, 1, 3)
    assert one.total == pytest.approx(3.0004)
