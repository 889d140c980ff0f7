"""What guests asked for: the labels, what a worker tells of it, and what is kept."""

from __future__ import annotations

import contextlib
import math
import struct
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eve_meta.ledger import MAX_COUNT, MAX_KINDS, MAX_ROWS, Label, Ledger, Record, Row, Seen, label_of, pack, unpack
from eve_meta.web.path import normalise

ROW = struct.Struct("=HBHIddI")


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/openstack", Label.OPENSTACK),
        ("/openstack/latest/", Label.OPENSTACK),
        ("/openstack/latest/meta_data.json", Label.META_DATA),
        ("/openstack/2012-08-10/user_data", Label.USER_DATA),
        ("/openstack/latest/vendor_data.json", Label.VENDOR_DATA),
        ("/openstack/latest/vendor_data2.json", Label.VENDOR_DATA2),
        ("/openstack/latest/network_data.json", Label.NETWORK_DATA),
        ("/openstack/content/0000", Label.CONTENT),
        ("/openstack/2013-04-04/password", Label.PASSWORD),
        ("/openstack/latest/meta_data.json/x", Label.OPENSTACK),
        ("/openstack/latest/secret", Label.OPENSTACK),
        ("/", Label.EC2),
        ("/ec2", Label.EC2),
        ("/ec2/2009-04-04/meta-data/instance-id", Label.EC2_META_DATA),
        ("/latest", Label.EC2),
        ("/latest/meta-data/", Label.EC2_META_DATA),
        ("/2009-04-04/user-data", Label.EC2_USER_DATA),
        ("/latest/dynamic/instance-identity/document", Label.EC2_DYNAMIC),
        ("/latest/api/token", Label.TOKEN),
        ("/latest/api", Label.OTHER),
        ("/nocloud/", Label.NOCLOUD),
        ("/nocloud/meta-data", Label.NOCLOUD_META_DATA),
        ("/nocloud/user-data", Label.NOCLOUD_USER_DATA),
        ("/nocloud/vendor-data", Label.NOCLOUD_VENDOR_DATA),
        ("/nocloud/network-config", Label.NOCLOUD_NETWORK_CONFIG),
        ("/nocloud/seed/meta-data", Label.NOCLOUD),
        ("/eve/v1/network.json", Label.EVE),
        ("/computeMetadata/v1/instance", Label.OTHER),
    ],
)
def test_what_a_path_asks_for(path: str, label: Label) -> None:
    assert label_of(normalise(path.encode())) is label


@given(
    st.lists(st.sampled_from(["openstack", "ec2", "nocloud", "latest", "api", "token", "meta-data", "x"]) | st.text())
)
def test_every_path_has_a_label(path: list[str]) -> None:
    assert label_of(tuple(path)) in Label


# -- at the worker --


def test_the_worker_adds_up_by_kind() -> None:
    began: list[None] = []
    ledger = Ledger(lambda: began.append(None))
    for now in (1.0, 2.0, 4.0):
        ledger.add(7, Label.META_DATA, 200, now)
    ledger.add(7, Label.META_DATA, 503, 5.0)
    ledger.add(8, Label.META_DATA, 200, 6.0)
    assert len(began) == 1
    assert ledger.take() == [
        Row(7, Label.META_DATA, 200, 3, 1.0, 4.0),
        Row(7, Label.META_DATA, 503, 1, 5.0, 5.0),
        Row(8, Label.META_DATA, 200, 1, 6.0, 6.0),
    ]
    assert ledger.take() == []


def test_what_the_guest_of_one_domain_did_is_never_the_next_ones() -> None:
    ledger = Ledger(lambda: None)
    ledger.add(7, Label.META_DATA, 503, 1.0)
    ledger.begin(7, 1)
    ledger.add(7, Label.META_DATA, 200, 2.0)
    ledger.begin(7, 1)  # the same domain, with another key
    ledger.add(7, Label.META_DATA, 200, 3.0)
    ledger.begin(7, 2)
    ledger.add(7, Label.META_DATA, 200, 4.0)
    assert ledger.take() == [
        Row(7, Label.META_DATA, 503, 1, 1.0, 1.0, 0),
        Row(7, Label.META_DATA, 200, 2, 2.0, 3.0, 1),
        Row(7, Label.META_DATA, 200, 1, 4.0, 4.0, 2),
    ]
    ledger.begin(7, 0)
    ledger.add(7, Label.META_DATA, 503, 5.0)
    assert [row.generation for row in ledger.take()] == [0]


def test_how_long_answers_took_is_told_by_tag() -> None:
    began: list[None] = []
    ledger = Ledger(lambda: began.append(None))
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
    st.sampled_from(Label),
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
    many = [Row(tag, Label.OTHER, 404, 1, 0.0, 0.0) for tag in range(MAX_ROWS + 1)]
    assert [len(unpack(packed)) for packed in pack(many)] == [MAX_ROWS, 1]


@pytest.mark.parametrize(
    "packed",
    [
        b"x",
        ROW.pack(1, len(Label), 200, 1, 0.0, 0.0, 0),
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


def kept(*rows: Row, since: float = 0.0, now: float = 100.0) -> Record:
    record = Record(since)
    for row in rows:
        record.add(row, now)
    return record


def test_first_and_last_are_of_all_workers() -> None:
    record = kept(
        Row(7, Label.META_DATA, 200, 3, 5.0, 6.0),
        Row(7, Label.META_DATA, 200, 1, 2.0, 3.0),
        Row(7, Label.OPENSTACK, 503, 1, 1.0, 1.0),
    )
    assert record.kinds == [(Label.OPENSTACK, 503, Seen(1, 1.0, 1.0)), (Label.META_DATA, 200, Seen(4, 2.0, 6.0))]
    assert record.statuses == {"200": 4, "503": 1}


@pytest.mark.parametrize(
    ("first", "last"),
    [(9.0, 11.0), (11.0, 10.5), (99.0, 101.0), (math.nan, 50.0), (50.0, math.nan), (-math.inf, math.inf)],
    ids=str,
)
def test_times_that_cannot_be_true_are_no_ones(first: float, last: float) -> None:
    assert kept(Row(7, Label.META_DATA, 200, 1, first, last), since=10.0).kinds == []


def test_what_is_kept_of_a_guest_has_an_end() -> None:
    statuses = [status.value for status in HTTPStatus]
    every = [Row(7, label, status, 1, 1.0, 1.0) for label in Label for status in statuses]
    record = kept(*every, *every)
    assert len(record.kinds) <= MAX_KINDS + len(statuses)
    assert sum(record.statuses.values()) == 2 * len(every)
