"""What a worker counts of its guests' requests between two messages to the supervisor."""

from __future__ import annotations

import pytest

from eve_meta.values.request_kind import RequestKind
from eve_meta.web.tally import RequestTally
from eve_meta.wire.requests import Row


def test_requests_are_added_up_by_tag_kind_and_status() -> None:
    began: list[None] = []
    tally = RequestTally(lambda: began.append(None))
    for now in (1.0, 2.0, 4.0):
        tally.add(7, RequestKind.META_DATA, 200, now)
    tally.add(7, RequestKind.META_DATA, 503, 5.0)
    tally.add(8, RequestKind.META_DATA, 200, 6.0)
    assert len(began) == 1
    assert tally.take() == [
        Row(7, RequestKind.META_DATA, 200, 3, 1.0, 4.0),
        Row(7, RequestKind.META_DATA, 503, 1, 5.0, 5.0),
        Row(8, RequestKind.META_DATA, 200, 1, 6.0, 6.0),
    ]
    assert tally.take() == []


def test_requests_of_one_domain_are_never_counted_for_the_next() -> None:
    tally = RequestTally(lambda: None)
    tally.add(7, RequestKind.META_DATA, 503, 1.0)
    tally.begin(7, 1)
    tally.add(7, RequestKind.META_DATA, 200, 2.0)
    tally.begin(7, 1)  # the same domain, with another key
    tally.add(7, RequestKind.META_DATA, 200, 3.0)
    tally.begin(7, 2)
    tally.add(7, RequestKind.META_DATA, 200, 4.0)
    assert tally.take() == [
        Row(7, RequestKind.META_DATA, 503, 1, 1.0, 1.0, 0),
        Row(7, RequestKind.META_DATA, 200, 2, 2.0, 3.0, 1),
        Row(7, RequestKind.META_DATA, 200, 1, 4.0, 4.0, 2),
    ]
    tally.begin(7, 0)
    tally.add(7, RequestKind.META_DATA, 503, 5.0)
    assert [row.generation for row in tally.take()] == [0]


def test_latencies_are_added_up_by_tag() -> None:
    began: list[None] = []
    tally = RequestTally(lambda: began.append(None))
    for seconds in (0.0001, 0.00011, 9.9, 11.0):
        tally.time(7, seconds)
    tally.begin(8, 3)
    tally.time(8, 0.0)
    assert began
    seven, eight = tally.take_times()
    assert (seven.tag, seven.generation, seven.buckets) == (7, 0, (1, 1, *(0,) * 9, 1, 1))
    assert seven.total == pytest.approx(20.90021)
    assert (eight.tag, eight.generation, eight.buckets) == (8, 3, (1, *(0,) * 12))
    assert tally.take_times() == []
