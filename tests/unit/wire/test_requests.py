"""The rows of request counts on their path from a worker to the supervisor."""

from __future__ import annotations

import contextlib
import struct
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eve_meta.values.request_kind import RequestKind
from eve_meta.wire.requests import MAX_COUNT, MAX_ROWS, Row, pack, unpack

ROW = struct.Struct("=HBHIddI")


rows = st.builds(
    Row,
    st.integers(0, 0xFFFF),
    st.sampled_from(RequestKind),
    st.sampled_from([status.value for status in HTTPStatus]),
    st.integers(1, MAX_COUNT),
    st.floats(allow_nan=False),
    st.floats(allow_nan=False),
    st.integers(0, 2**32 - 1),
)


@given(st.lists(rows))
def test_rows_that_are_packed_are_unpacked_unchanged(rows: list[Row]) -> None:
    assert [row for packed in pack(rows) for row in unpack(packed)] == rows


def test_many_rows_are_packed_into_several_payloads() -> None:
    many = [Row(tag, RequestKind.OTHER, 404, 1, 0.0, 0.0) for tag in range(MAX_ROWS + 1)]
    assert [len(unpack(packed)) for packed in pack(many)] == [MAX_ROWS, 1]


@pytest.mark.parametrize(
    "packed",
    [
        b"x",
        ROW.pack(1, len(RequestKind), 200, 1, 0.0, 0.0, 0),
        ROW.pack(1, 0, 299, 1, 0.0, 0.0, 0),
        ROW.pack(1, 0, 200, 0, 0.0, 0.0, 0),
        ROW.pack(1, 0, 200, 1, 0.0, 0.0, 0) * (MAX_ROWS + 1),
    ],
    ids=["a piece of a row", "no kind", "no status", "no count", "too many"],
)
def test_bytes_that_no_sound_worker_packs_are_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match="expected"):
        unpack(packed)


@given(st.binary(max_size=200))
def test_bytes_are_unpacked_or_raise_a_value_error(packed: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert len(unpack(packed)) * ROW.size == len(packed)
