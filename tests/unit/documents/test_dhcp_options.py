"""The bytes of DHCP options: the examples of the RFCs, and any routes and names."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eve_meta.documents.dhcp_options import Code, option, routes, search_list
from tests.unit.documents import dhcp_reading
from tests.unit.strategies import hostnames

ROUTER = IPv4Address("192.0.2.1")


def test_an_option_has_its_code_and_length() -> None:
    assert option(Code.SUBNET_MASK, bytes([255, 255, 255, 0])) == bytes([1, 4, 255, 255, 255, 0])


@pytest.mark.parametrize(
    ("network", "descriptor"),
    [
        ("0.0.0.0/0", [0]),
        ("10.0.0.0/8", [8, 10]),
        ("10.0.0.0/24", [24, 10, 0, 0]),
        ("10.17.0.0/16", [16, 10, 17]),
        ("10.27.129.0/24", [24, 10, 27, 129]),
        ("10.229.0.128/25", [25, 10, 229, 0, 128]),
        ("10.198.122.47/32", [32, 10, 198, 122, 47]),
    ],
)
def test_the_destinations_of_rfc_3442(network: str, descriptor: list[int]) -> None:
    assert routes([(IPv4Network(network), ROUTER)]) == bytes(descriptor) + ROUTER.packed


def test_the_search_list_of_rfc_3397() -> None:
    assert search_list(["eng.apple.com", "marketing.apple.com"]) == (
        b"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04"
    )


def test_a_name_that_is_the_end_of_an_earlier_one() -> None:
    assert search_list(["a.example.org", "example.org", "b.a.example.org"]) == (
        b"\x01a\x07example\x03org\x00\xc0\x02\x01b\xc0\x00"
    )


networks = st.builds(
    lambda address, width: IPv4Network((int(address), width), strict=False), st.ip_addresses(v=4), st.integers(0, 32)
)


@given(st.lists(st.tuples(networks, st.ip_addresses(v=4))))
def test_any_routes(wanted: list[tuple[IPv4Network, IPv4Address]]) -> None:
    assert dhcp_reading.routes(routes(wanted)) == wanted


# Few labels, so that names have ends in common.
labels = st.sampled_from(["a", "b", "example", "org", "a-b"])
related = st.lists(labels, min_size=1, max_size=4).map(".".join)


@given(st.lists(related | hostnames, max_size=12))
def test_any_search_list(names: list[str]) -> None:
    assert dhcp_reading.names(search_list(names)) == names
