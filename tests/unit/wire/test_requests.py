"""What guests asked for: the labels, what a worker tells of it, and what is kept."""

from __future__ import annotations

import contextlib
import math
import struct
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eve_meta.documents.path import normalise
from eve_meta.supervisor.requests_seen import MAX_KINDS, RequestsSeen, Seen
from eve_meta.web.tally import RequestTally
from eve_meta.wire.requests import MAX_COUNT, MAX_ROWS, RequestKind, Row, label_of, pack, unpack

ROW = struct.Struct("=HBHIddI")


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/openstack", RequestKind.OPENSTACK),
        ("/openstack/latest/", RequestKind.OPENSTACK),
        ("/openstack/latest/meta_data.json", RequestKind.META_DATA),
        ("/openstack/2012-08-10/user_data", RequestKind.USER_DATA),
        ("/openstack/latest/vendor_data.json", RequestKind.VENDOR_DATA),
        ("/openstack/latest/vendor_data2.json", RequestKind.VENDOR_DATA2),
        ("/openstack/latest/network_data.json", RequestKind.NETWORK_DATA),
        ("/openstack/content/0000", RequestKind.CONTENT),
        ("/openstack/2013-04-04/password", RequestKind.PASSWORD),
        ("/openstack/latest/meta_data.json/x", RequestKind.OPENSTACK),
        ("/openstack/latest/secret", RequestKind.OPENSTACK),
        ("/", RequestKind.EC2),
        ("/ec2", RequestKind.EC2),
        ("/ec2/2009-04-04/meta-data/instance-id", RequestKind.EC2_META_DATA),
        ("/latest", RequestKind.EC2),
        ("/latest/meta-data/", RequestKind.EC2_META_DATA),
        ("/2009-04-04/user-data", RequestKind.EC2_USER_DATA),
        ("/latest/dynamic/instance-identity/document", RequestKind.EC2_DYNAMIC),
        ("/latest/api/token", RequestKind.TOKEN),
        ("/latest/api", RequestKind.OTHER),
        ("/nocloud/", RequestKind.NOCLOUD),
        ("/nocloud/meta-data", RequestKind.NOCLOUD_META_DATA),
        ("/nocloud/user-data", RequestKind.NOCLOUD_USER_DATA),
        ("/nocloud/vendor-data", RequestKind.NOCLOUD_VENDOR_DATA),
        ("/nocloud/network-config", RequestKind.NOCLOUD_NETWORK_CONFIG),
        ("/nocloud/seed/meta-data", RequestKind.NOCLOUD),
        ("/eve/v1/network.json", RequestKind.EVE),
        ("/computeMetadata/v1/instance", RequestKind.OTHER),
    ],
)
def test_what_a_path_asks_for(path: str, label: RequestKind) -> None:
    assert label_of(normalise(path.encode())) is label


@given(
    st.lists(st.sampled_from(["openstack", "ec2", "nocloud", "latest", "api", "token", "meta-data", "x"]) | st.text())
)
def test_every_path_has_a_label(path: list[str]) -> None:
    assert label_of(tuple(path)) in RequestKind


# -- at the worker --


def test_the_worker_adds_up_by_kind() -> None:
    began: list[None] = []
    ledger = RequestTally(lambda: began.append(None))
    for now in (1.0, 2.0, 4.0):
        ledger.add(7, RequestKind.META_DATA, 200, now)
    ledger.add(7, RequestKind.META_DATA, 503, 5.0)
    ledger.add(8, RequestKind.META_DATA, 200, 6.0)
    assert len(began) == 1
    assert ledger.take() == [
        Row(7, RequestKind.META_DATA, 200, 3, 1.0, 4.0),
        Row(7, RequestKind.META_DATA, 503, 1, 5.0, 5.0),
        Row(8, RequestKind.META_DATA, 200, 1, 6.0, 6.0),
    ]
    assert ledger.take() == []


def test_what_the_guest_of_one_domain_did_is_never_the_next_ones() -> None:
    ledger = RequestTally(lambda: None)
    ledger.add(7, RequestKind.META_DATA, 503, 1.0)
    ledger.begin(7, 1)
    ledger.add(7, RequestKind.META_DATA, 200, 2.0)
    ledger.begin(7, 1)  # the same domain, with another key
    ledger.add(7, RequestKind.META_DATA, 200, 3.0)
    ledger.begin(7, 2)
    ledger.add(7, RequestKind.META_DATA, 200, 4.0)
    assert ledger.take() == [
        Row(7, RequestKind.META_DATA, 503, 1, 1.0, 1.0, 0),
        Row(7, RequestKind.META_DATA, 200, 2, 2.0, 3.0, 1),
        Row(7, RequestKind.META_DATA, 200, 1, 4.0, 4.0, 2),
    ]
    ledger.begin(7, 0)
    ledger.add(7, RequestKind.META_DATA, 503, 5.0)
    assert [row.generation for row in ledger.take()] == [0]


def test_how_long_answers_took_is_told_by_tag() -> None:
    began: list[None] = []
    ledger = RequestTally(lambda: began.append(None))
    for seconds in (0.0001, 0.00011, 9.9, 11.0):
        ledger.time(7, seconds)
    ledger.begin(8, 3)
    ledger.time(8, 0.0)
    assert began
    seven, eight = ledger.take_times()
    assert (seven.tag, seven.generation, seven.buckets) == (7, 0, (1, 1, *(0,) * 9, 1, 1))
    assert seven.total == pytest.approx(20.90021)
    assert (eight.tag, eight.generation, eight.buckets) == (8, 3, (1, *(0,) * 12))
    assert ledger.take_times() == []


# -- on the way --


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
def test_what_is_packed_is_unpacked(rows: list[Row]) -> None:
    assert [row for packed in pack(rows) for row in unpack(packed)] == rows


def test_many_rows_go_in_pieces() -> None:
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
    ids=["a piece of a row", "no label", "no status", "no count", "too many"],
)
def test_what_no_worker_tells_is_no_row(packed: bytes) -> None:
    with pytest.raises(ValueError, match="expected"):
        unpack(packed)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(packed: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert len(unpack(packed)) * ROW.size == len(packed)


# -- kept --


def kept(*rows: Row, since: float = 0.0, now: float = 100.0) -> RequestsSeen:
    record = RequestsSeen(since)
    for row in rows:
        record.add(row, now)
    return record


def test_first_and_last_are_of_all_workers() -> None:
    record = kept(
        Row(7, RequestKind.META_DATA, 200, 3, 5.0, 6.0),
        Row(7, RequestKind.META_DATA, 200, 1, 2.0, 3.0),
        Row(7, RequestKind.OPENSTACK, 503, 1, 1.0, 1.0),
    )
    assert record.kinds == [
        (RequestKind.OPENSTACK, 503, Seen(1, 1.0, 1.0)),
        (RequestKind.META_DATA, 200, Seen(4, 2.0, 6.0)),
    ]
    assert record.statuses == {"200": 4, "503": 1}


@pytest.mark.parametrize(
    ("first", "last"),
    [(9.0, 11.0), (11.0, 10.5), (99.0, 101.0), (math.nan, 50.0), (50.0, math.nan), (-math.inf, math.inf)],
    ids=str,
)
def test_times_that_cannot_be_true_are_no_ones(first: float, last: float) -> None:
    assert kept(Row(7, RequestKind.META_DATA, 200, 1, first, last), since=10.0).kinds == []


def test_what_is_kept_of_a_guest_has_an_end() -> None:
    statuses = [status.value for status in HTTPStatus]
    every = [Row(7, label, status, 1, 1.0, 1.0) for label in RequestKind for status in statuses]
    record = kept(*every, *every)
    assert len(record.kinds) <= MAX_KINDS + len(statuses)
    assert sum(record.statuses.values()) == 2 * len(every)
