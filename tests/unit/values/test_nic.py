"""A NIC, its subnets and routes refuse, when they are made, whatever no guest could use."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eve_meta.values.checks import BadValue
from eve_meta.values.nic import Nic, Route, Subnet, SubnetType, is_device_name


@pytest.mark.parametrize(
    ("kind", "values", "field"),
    [
        (Nic, {"tap": "a/b"}, "tap"),
        (Nic, {"tap": "a" * 16}, "tap"),
        (Nic, {"tap": ".."}, "tap"),
        (Nic, {"mac": "fa:16:3e:00:00"}, "mac"),
        (Nic, {"mtu": 67}, "mtu"),
        (Nic, {"vlan": 0}, "vlan"),
        (Nic, {"tags": ("a,b",)}, "tags"),
        (Subnet, {"type": SubnetType.IPV4}, "address"),
        (Subnet, {"type": SubnetType.IPV4, "address": ip_interface("fd00::1/64")}, "address"),
        (Subnet, {"type": SubnetType.IPV6_SLAAC, "gateway": ip_address("10.0.0.1")}, "gateway"),
        (Route, {"to": ip_network("10.0.0.0/8"), "via": ip_address("fd00::1")}, "via"),
    ],
)
def test_a_value_that_no_guest_could_use_is_refused(kind: type, values: dict[str, Any], field: str) -> None:
    with pytest.raises(BadValue, match="expected") as caught:
        kind(**values)
    assert caught.value.field == field


def test_a_route_of_the_other_version_is_refused() -> None:
    route = Route(to=ip_network("fd00::/8"), via=ip_address("fd00::1"))
    with pytest.raises(BadValue, match="expected 'routes' of IP version 4"):
        Subnet(type=SubnetType.IPV4_DHCP, routes=(route,))


def test_a_mac_is_kept_in_lower_case() -> None:
    assert Nic(mac="FA:16:3E:00:00:0A").mac == "fa:16:3e:00:00:0a"


@given(text=st.text(max_size=20))
def test_the_kernel_accepts_every_device_name(text: str) -> None:
    accepted_by_kernel = (
        0 < len(text.encode()) <= 15 and text not in (".", "..") and not set(text) & set("/: \t\n\r\v\f")
    )
    assert accepted_by_kernel or not is_device_name(text)
