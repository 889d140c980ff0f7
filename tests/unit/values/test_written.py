"""What people may not write although a hypervisor may report it, and what they hardly mean."""

from __future__ import annotations

from typing import Any

import pytest

from eve_meta.values.domain import Domain
from eve_meta.values.plain import make_converter
from eve_meta.values.written import doubtful, refused

MAC = "02:00:00:00:00:04"
OTHER = "02:00:00:00:00:05"


def domain(*nics: dict[str, Any]) -> Domain:
    return make_converter().structure({"name": "web1", "nics": list(nics)}, Domain)


def static(address: str, **more: Any) -> dict[str, Any]:
    return {"type": "ipv6" if ":" in address else "ipv4", "address": address, **more}


def test_one_mac_for_two_nics() -> None:
    (fault,) = refused(domain({"mac": MAC, "subnets": [static("10.0.0.5/24")]}, {"mac": MAC.upper()}))
    assert fault.path == ("nics", 1, "mac")
    assert fault.message == f"expected a MAC address that no other NIC has, got {MAC!r}, which nics[0] has"


def test_one_address_twice_on_a_nic() -> None:
    (fault,) = refused(domain({"mac": MAC, "subnets": [static("10.0.0.5/24"), static("10.0.0.5/16")]}))
    assert fault.path == ("nics", 0, "subnets", 1, "address")
    assert fault.message == "expected an address that no other subnet of the NIC has, got '10.0.0.5/16'"


def test_one_address_on_two_nics_is_doubtful() -> None:
    twice = domain({"mac": MAC, "subnets": [static("10.0.0.5/24")]}, {"mac": OTHER, "subnets": [static("10.0.0.5/24")]})
    assert list(refused(twice)) == []
    (fault,) = doubtful(twice)
    assert fault.path == ("nics", 1, "subnets", 0, "address")
    assert fault.message == "nics[0] has 10.0.0.5, too: the guest answers on one of them"


def test_a_gateway_outside_the_subnet_is_doubtful() -> None:
    (fault,) = doubtful(domain({"mac": MAC, "subnets": [static("10.1.2.10/24", gateway="10.1.3.1")]}))
    assert fault.path == ("nics", 0, "subnets", 0, "gateway")
    assert fault.message.startswith("10.1.3.1 is outside 10.1.2.0/24: the guest is told that it is on the link")


def test_a_route_through_a_router_outside_the_subnet_is_doubtful() -> None:
    routes = [{"to": "10.5.0.0/16", "via": "10.1.2.2"}, {"to": "10.6.0.0/16", "via": "10.1.3.2"}]
    (fault,) = doubtful(domain({"mac": MAC, "subnets": [static("10.1.2.10/24", routes=routes)]}))
    assert fault.path == ("nics", 0, "subnets", 0, "routes", 1, "via")


@pytest.mark.parametrize(
    "subnets",
    [
        [static("10.1.2.10/24", gateway="10.1.2.1")],
        [static("10.1.2.10/32", gateway="169.254.0.1")],  # a routed tap
        [static("10.1.2.10/24", gateway="169.254.1.1")],  # Calico's
        [static("10.1.2.10/32", gateway="10.9.9.9")],
        [static("2001:db8::9/128", gateway="fe80::1")],
        [static("2001:db8::9/64", gateway="fe80::1")],
        [static("10.1.2.10/24", gateway="10.1.3.1"), static("10.1.3.10/24")],  # reached by the NIC's other address
    ],
)
def test_gateways_that_the_guest_reaches(subnets: list[dict[str, Any]]) -> None:
    assert list(doubtful(domain({"mac": MAC, "subnets": subnets}))) == []


def test_what_stands_beside_dhcp_is_doubtful_where_netplan_would_miss_it() -> None:
    routes = [{"to": "10.5.0.0/16", "via": "10.0.0.2"}]
    first, second = doubtful(
        domain({"mac": MAC, "subnets": [{"type": "ipv4_dhcp", "gateway": "10.0.0.1", "routes": routes}]})
    )
    assert (first.path, second.path) == (("nics", 0, "subnets", 0, "gateway"), ("nics", 0, "subnets", 0, "routes"))
    assert first.message == "the guest gets it beside ipv4_dhcp; its netplan does not, unless it reads NoCloud"


def test_what_stands_beside_dhcp_that_the_tap_answers_is_told_by_it() -> None:
    known = {"type": "ipv4_dhcp", "address": "10.0.0.5/24", "gateway": "10.0.0.1"}
    assert list(doubtful(domain({"mac": MAC, "dhcp": "on", "subnets": [known]}))) == []
    for nic in ({"dhcp": "on", "vlan": 7, "subnets": [known]}, {"dhcp": "off", "subnets": [known]}):
        (fault,) = doubtful(domain({"mac": MAC, **nic}))
        assert fault.path == ("nics", 0, "subnets", 0, "gateway")


def test_bonds_and_vlans_are_looked_at_as_nics_are() -> None:
    vlan = {"id": 7, "subnets": [static("10.0.0.5/24", gateway="10.1.3.1")]}
    twice = [static("10.0.0.5/24"), static("10.0.0.5/16")]
    bonded = make_converter().structure(
        {
            "name": "web1",
            "nics": [{"tap": "vnet0", "mac": MAC}],
            "bonds": [{"nics": ["vnet0"], "mode": "balance-rr", "mac": MAC, "subnets": twice, "vlans": [vlan]}],
        },
        Domain,
    )
    # A bond may have the MAC address of its NIC.
    (fault,) = refused(bonded)
    assert fault.path == ("bonds", 0, "subnets", 1, "address")
    assert fault.message == "expected an address that no other subnet of the bond has, got '10.0.0.5/16'"
    address, gateway = doubtful(bonded)
    assert (address.path, gateway.path) == (
        ("bonds", 0, "vlans", 0, "subnets", 0, "address"),
        ("bonds", 0, "vlans", 0, "subnets", 0, "gateway"),
    )
    assert address.message == "bonds[0] has 10.0.0.5, too: the guest answers on one of them"


@pytest.mark.parametrize("address", ["0.0.0.0/24", "127.0.0.2/8", "224.0.0.5/24", "::/64", "::1/128", "ff02::1/64"])
def test_an_address_that_no_nic_can_have(address: str) -> None:
    (fault,) = refused(domain({"mac": MAC, "subnets": [static(address)]}))
    assert fault.path == ("nics", 0, "subnets", 0, "address")
    assert fault.message == f"expected an address that a NIC can have, got {address!r}"


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::a9fe:a9fe", "fd00:ec2::254"])
def test_the_services_address_is_neither_the_guests_nor_a_routers(address: str) -> None:
    network = 16 if "." in address else 64
    (fault,) = refused(domain({"mac": MAC, "subnets": [static(f"{address}/{network}")]}))
    assert fault.path == ("nics", 0, "subnets", 0, "address")
    assert fault.message == f"expected another address than the metadata service's, got '{address}/{network}'"
    own, to = ("10.1.2.10/24", "10.5.0.0/16") if "." in address else ("2001:db8::9/64", "2001:db8:5::/48")
    routed = static(own, gateway=address, routes=[{"to": to, "via": address}])
    first, second = refused(domain({"mac": MAC, "subnets": [routed]}))
    assert first.path == ("nics", 0, "subnets", 0, "gateway")
    assert second.path == ("nics", 0, "subnets", 0, "routes", 0, "via")
    assert first.message == second.message == f"expected another router than the metadata service, got {address!r}"


@pytest.mark.parametrize(("own", "router"), [("10.1.2.10/24", "10.1.2.10"), ("2001:db8::9/64", "2001:db8::9")])
def test_a_guest_is_no_router_of_its_own(own: str, router: str) -> None:
    other = {"mac": OTHER, "subnets": [static(own.replace("/", "0/"), gateway=router)]}  # the kernel refuses that, too
    first, second = refused(domain({"mac": MAC, "subnets": [static(own, gateway=router)]}, other))
    assert (first.path, second.path) == (("nics", 0, "subnets", 0, "gateway"), ("nics", 1, "subnets", 0, "gateway"))
    assert first.message == f"expected the address of a router, got {router!r}, which is the guest's own"


@pytest.mark.parametrize("router", ["127.0.0.1", "239.1.1.1"])
def test_an_address_that_no_router_can_have(router: str) -> None:
    (fault,) = refused(domain({"mac": MAC, "subnets": [static("10.1.2.10/24", gateway=router)]}))
    assert (fault.path[-1], fault.message) == ("gateway", f"expected the address of a router, got {router!r}")


@pytest.mark.parametrize("mac", ["03:00:00:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"])
def test_a_mac_address_of_no_nic(mac: str) -> None:
    (fault,) = refused(domain({"mac": mac}))
    assert fault.path == ("nics", 0, "mac")
    assert fault.message == f"expected the MAC address of a NIC, whose first byte is even, got {mac!r}"


@pytest.mark.parametrize("address", ["10.1.2.0/24", "10.1.2.255/24", "2001:db8::/64"])
def test_the_address_of_the_whole_subnet_is_doubtful(address: str) -> None:
    (fault,) = doubtful(domain({"mac": MAC, "subnets": [static(address)]}))
    assert fault.path == ("nics", 0, "subnets", 0, "address")
    assert fault.message.startswith(f"{address.partition('/')[0]} is ")
    assert list(doubtful(domain({"mac": MAC, "subnets": [static("10.1.2.0/31"), static("2001:db8::/127")]}))) == []


def test_a_gateway_that_is_the_address_of_the_whole_subnet_is_doubtful() -> None:
    (fault,) = doubtful(domain({"mac": MAC, "subnets": [static("10.1.2.10/24", gateway="10.1.2.255")]}))
    assert fault.path == ("nics", 0, "subnets", 0, "gateway")
    assert fault.message == "10.1.2.255 is the broadcast address of 10.1.2.0/24, which no machine can have"


def test_a_second_gateway_is_doubtful() -> None:
    first = static("10.1.2.10/24", gateway="10.1.2.1")
    second = static("10.1.3.10/24", gateway="10.1.3.1")
    message = "nics[0] has a gateway of IPv4, too: a guest can use one of them, and some fail at the second"
    for nics in (
        [{"mac": MAC, "subnets": [first, second]}],
        [{"mac": MAC, "subnets": [first]}, {"mac": OTHER, "subnets": [second]}],
    ):
        (fault,) = doubtful(domain(*nics))
        assert (fault.path[-1], fault.message) == ("gateway", message)
    both = [first, static("10.1.2.11/24", gateway="10.1.2.1"), static("2001:db8::9/64", gateway="fe80::1")]
    assert list(doubtful(domain({"mac": MAC, "subnets": both}))) == []  # one router, however often it is written
