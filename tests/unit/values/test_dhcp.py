"""A template of DHCP answers refuses, when it is made, whatever would make an answer that no client can use."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest

from eve_meta.values.checks import BadValue
from eve_meta.values.dhcp import MAX_LEASE_TIME, MAX_OPTIONS, SERVER_ID, DhcpTemplate

ADDRESS = IPv4Address("10.0.0.5")
MASK = bytes([1, 4, 255, 255, 255, 0])


def test_a_client_renews_after_half_of_its_lease_and_rebinds_after_seven_eighths() -> None:
    template = DhcpTemplate(ADDRESS, 3600, MASK)
    assert (template.renewal_time, template.rebinding_time) == (1800, 3150)


def test_an_infinite_lease_is_never_renewed() -> None:
    template = DhcpTemplate(ADDRESS, MAX_LEASE_TIME, MASK)
    assert (template.renewal_time, template.rebinding_time) == (MAX_LEASE_TIME, MAX_LEASE_TIME)


@pytest.mark.parametrize("options", [b"", MASK, bytes([43, MAX_OPTIONS - 2]) + bytes(MAX_OPTIONS - 2), bytes([80, 0])])
def test_well_formed_options_are_taken(options: bytes) -> None:
    assert DhcpTemplate(ADDRESS, 3600, options).options == options


@pytest.mark.parametrize(
    ("values", "field", "message"),
    [
        ({"address": SERVER_ID}, "address", "that a guest can have"),
        ({"address": IPv4Address("0.0.0.0")}, "address", "that a guest can have"),
        ({"address": IPv4Address("127.0.0.1")}, "address", "that a guest can have"),
        ({"address": IPv4Address("224.0.0.1")}, "address", "that a guest can have"),
        ({"address": IPv4Address("255.255.255.255")}, "address", "that a guest can have"),
        ({"address": "10.0.0.5"}, "address", "that a guest can have"),
        ({"lease_time": 59}, "lease_time", "seconds, got 59"),
        ({"lease_time": 1 << 32}, "lease_time", "seconds, got 4294967296"),
        ({"lease_time": True}, "lease_time", "seconds, got True"),
        ({"options": bytes([43, 239]) + bytes(239)}, "options", "at most 240 bytes"),
        ({"options": "text"}, "options", "at most 240 bytes"),
        ({"options": MASK[:-1]}, "options", "a part of option 1"),
        ({"options": MASK + b"\3"}, "options", "a part of option 3"),
        ({"options": MASK + MASK}, "options", "option 1 twice"),
        ({"options": MASK + b"\xff"}, "options", "option 255"),
        ({"options": b"\0" + MASK}, "options", "option 0"),
        *(
            ({"options": MASK + bytes([code, 1, 1])}, "options", f"got option {code}")
            for code in (51, 52, 53, 54, 58, 59, 61, 82)
        ),
    ],
)
def test_what_no_client_could_use_is_refused(values: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(BadValue, match=message) as caught:
        DhcpTemplate(**{"address": ADDRESS, "lease_time": 3600, "options": MASK, **values})
    assert caught.value.field == field
