"""What the supervisor keeps of the requests of one tap's guest."""

from __future__ import annotations

import math
from http import HTTPStatus

import pytest

from eve_meta.supervisor.requests_seen import MAX_KINDS, RequestsSeen, Seen
from eve_meta.values.request_kind import RequestKind
from eve_meta.wire.requests import Row


def requests_seen(*rows: Row, since: float = 0.0, now: float = 100.0) -> RequestsSeen:
    requests = RequestsSeen(since)
    for row in rows:
        requests.add(row, now)
    return requests


def test_counts_and_times_are_those_of_all_rows_together() -> None:
    requests = requests_seen(
        Row(7, RequestKind.META_DATA, 200, 3, 5.0, 6.0),
        Row(7, RequestKind.META_DATA, 200, 1, 2.0, 3.0),
        Row(7, RequestKind.OPENSTACK, 503, 1, 1.0, 1.0),
    )
    assert requests.kinds == [
        (RequestKind.OPENSTACK, 503, Seen(1, 1.0, 1.0)),
        (RequestKind.META_DATA, 200, Seen(4, 2.0, 6.0)),
    ]
    assert requests.statuses == {"200": 4, "503": 1}


@pytest.mark.parametrize(
    ("first", "last"),
    [(9.0, 11.0), (11.0, 10.5), (99.0, 101.0), (math.nan, 50.0), (50.0, math.nan), (-math.inf, math.inf)],
    ids=str,
)
def test_a_row_with_impossible_times_is_left_out(first: float, last: float) -> None:
    assert requests_seen(Row(7, RequestKind.META_DATA, 200, 1, first, last), since=10.0).kinds == []


def test_a_guest_fills_a_bounded_number_of_kinds() -> None:
    statuses = [status.value for status in HTTPStatus]
    every = [Row(7, kind, status, 1, 1.0, 1.0) for kind in RequestKind for status in statuses]
    requests = requests_seen(*every, *every)
    assert len(requests.kinds) <= MAX_KINDS + len(statuses)
    assert sum(requests.statuses.values()) == 2 * len(every)
