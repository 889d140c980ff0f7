"""The kinds of requests, and the rows of request counts on their path from a worker to the supervisor."""

from __future__ import annotations

import contextlib
import struct
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eve_meta.documents.path import normalise
from eve_meta.values.request_kind import RequestKind
from eve_meta.wire.requests import MAX_COUNT, MAX_ROWS, Row, kind_of, pack, unpack

ROW = struct.Struct("=HBHIddI")


@pytest.mark.parametrize(
    ("path", "kind"),
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
def test_a_path_has_the_kind_of_the_document_that_it_leads_to(path: str, kind: RequestKind) -> None:
    assert kind_of(normalise(path.encode())) is kind


@given(
    st.lists(st.sampled_from(["openstack", "ec2", "nocloud", "latest", "api", "token", "meta-data", "x"]) | st.text())
)
def test_every_path_has_a_kind(path: list[str]) -> None:
    assert kind_of(tuple(path)) in RequestKind


# -- rows --


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
