"""NoCloud's ``network-config``: its content. test_cloud_init_nocloud.py has cloud-init read it."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface
from typing import Any

import pytest

from eve_meta.values.domain import Domain
from eve_meta.values.nic import Nic, Subnet, SubnetType
from tests.unit.documents.reading import FULL, load, nic, read, routes, static

DHCP = Subnet(type=SubnetType.IPV4_DHCP)

MATCH = {"match": {"macaddress": "fa:16:3e:00:00:01"}}

GOLDEN = (
    '{"version": 2, "ethernets": {"nic0": {"match": {"macaddress": "fa:16:3e:00:00:01"}, "mtu": 1450,'
    ' "addresses": ["10.1.2.10/24"], "routes": [{"to": "0.0.0.0/0", "via": "10.1.2.1"},'
    ' {"to": "192.168.50.0/24", "via": "10.1.2.254"}], "nameservers": {"addresses": ["10.1.2.2"]}}}}'
)


def test_the_document_is_yaml_in_one_line() -> None:
    assert read(FULL, "/nocloud/network-config") == GOLDEN


def config_of(*nics: Nic) -> Any:
    return load(Domain(name="vm", nics=nics), "/nocloud/network-config")


def ethernet(*subnets: Subnet, **more: Any) -> Any:
    """Return the configuration of a domain's only NIC, without the match."""
    config = config_of(nic(*subnets, **more))["ethernets"]["nic0"]
    assert config.pop("match") == MATCH["match"]
    return config


@pytest.mark.parametrize(
    "nics",
    [(), (nic(),), (nic(static("10.0.0.5/24"), mac=None),), (nic(DHCP, mac=None), nic(tap="vnet1"))],
    ids=["no nic", "no subnet", "no mac", "none with both"],
)
def test_without_subnets_the_configuration_is_an_empty_mapping(nics: tuple[Nic, ...]) -> None:
    assert config_of(*nics) == {}


def test_a_nic_without_subnets_beside_one_with_some_uses_dhcp() -> None:
    second = nic(static("10.0.0.5/24"), tap="vnet1", mac="fa:16:3e:00:00:02")
    assert config_of(nic(), second)["ethernets"] == {
        "nic0": {**MATCH, "dhcp4": True},
        "nic1": {"match": {"macaddress": "fa:16:3e:00:00:02"}, "addresses": ["10.0.0.5/24"]},
    }


def test_dhcp_has_no_address_and_the_routes_that_are_given() -> None:
    subnet = Subnet(
        type=SubnetType.IPV4_DHCP,
        address=ip_interface("10.0.0.5/24"),
        gateway=ip_address("10.0.0.1"),
        dns=(ip_address("10.0.0.2"),),
        routes=routes([("10.9.0.0/16", "10.0.0.9")]),
    )
    assert ethernet(subnet) == {
        "dhcp4": True,
        "routes": [{"to": "0.0.0.0/0", "via": "10.0.0.1"}, {"to": "10.9.0.0/16", "via": "10.0.0.9"}],
        "nameservers": {"addresses": ["10.0.0.2"]},
    }


@pytest.mark.parametrize(
    "kind",
    [
        SubnetType.IPV6_DHCP,
        SubnetType.IPV6_SLAAC,
        SubnetType.IPV6_DHCPV6_STATEFUL,
        SubnetType.IPV6_DHCPV6_STATELESS,
    ],
)
def test_dynamic_ipv6_follows_router_advertisements(kind: SubnetType) -> None:
    assert ethernet(Subnet(type=kind, address=ip_interface("2001:db8::5/64"))) == {"dhcp6": True, "accept-ra": True}


def test_a_given_ipv6_gateway_is_a_route() -> None:
    subnet = Subnet(type=SubnetType.IPV6_SLAAC, gateway=ip_address("fe80::1"))
    assert ethernet(subnet)["routes"] == [{"to": "::/0", "via": "fe80::1"}]


def test_static_ipv6_ignores_router_advertisements() -> None:
    subnet = static("2001:db8::5/64", gateway=ip_address("fe80::1"))
    assert ethernet(subnet) == {
        "accept-ra": False,
        "addresses": ["2001:db8::5/64"],
        "gateway6": "fe80::1",
        "routes": [{"to": "::/0", "via": "fe80::1"}],
    }
    assert ethernet(subnet, Subnet(type=SubnetType.IPV6_SLAAC))["accept-ra"] is True


def test_without_ipv6_subnets_there_are_no_ipv6_keys() -> None:
    assert set(ethernet(static("10.0.0.5/24"))) == {"addresses"}


def test_all_subnets_of_a_nic_are_included_once() -> None:
    one, two = ip_address("10.0.0.2"), ip_address("2001:db8::53")
    gateway = ip_address("10.0.0.1")
    config = ethernet(
        static("10.0.0.5/24", gateway=gateway, dns=(one, two)),
        static("10.0.0.5/24", gateway=gateway, dns=(one,)),
        static("10.0.1.5/16", routes=routes([("10.9.0.0/16", "10.0.0.9"), ("10.9.0.0/16", "10.0.0.9")])),
        DHCP,
    )
    assert config == {
        "dhcp4": True,
        "addresses": ["10.0.0.5/24", "10.0.1.5/16"],
        "routes": [{"to": "0.0.0.0/0", "via": "10.0.0.1"}, {"to": "10.9.0.0/16", "via": "10.0.0.9"}],
        "nameservers": {"addresses": ["10.0.0.2", "2001:db8::53"]},
    }


@pytest.mark.parametrize(
    ("address", "gateway", "beyond"),
    [
        ("10.0.0.5/24", "10.0.0.1", False),
        ("10.0.0.5/32", "10.0.0.1", True),
        ("10.0.0.5/32", "169.254.0.1", True),
        ("2001:db8::5/64", "2001:db8::1", False),
        ("2001:db8::5/128", "2001:db8::1", True),
        ("2001:db8::5/128", "fe80::1", False),
    ],
)
def test_a_router_beyond_the_network_is_on_the_link(address: str, gateway: str, beyond: bool) -> None:
    config = ethernet(static(address, gateway=ip_address(gateway)))
    route, *others = config["routes"]
    assert route.get("on-link", False) is beyond
    # Renderers that do not know on-link: ifupdown has the key for a gateway, networkd the route to it.
    told = gateway if beyond or gateway == "fe80::1" else None
    assert config.get("gateway6" if ":" in gateway else "gateway4") == told
    length, none = (128, "::") if ":" in gateway else (32, "0.0.0.0")
    assert others == ([{"to": f"{gateway}/{length}", "via": none}] if beyond else [])


def test_the_zone_of_an_address_stays_on_the_host() -> None:
    config = ethernet(static("fe80::5%eth0/64", gateway=ip_address("fe80::1%eth0"), dns=(ip_address("fe80::53%eth0"),)))
    assert "%" not in str(config)
    assert config["addresses"] == ["fe80::5/64"]


def test_a_vlan_is_a_device_of_its_own_with_the_whole_configuration() -> None:
    config = config_of(nic(static("10.0.0.5/24"), DHCP, vlan=7, mtu=1450, link="a-long-name-of-it", tap="vnet0"))
    assert config == {
        "version": 2,
        "ethernets": {"nic0": {**MATCH, "mtu": 1450, "set-name": "nic0"}},
        "vlans": {"nic0.7": {"id": 7, "link": "nic0", "mtu": 1450, "dhcp4": True, "addresses": ["10.0.0.5/24"]}},
    }


def test_a_vlan_that_the_hardware_tags_is_left_out() -> None:
    assert "vlans" not in config_of(nic(DHCP, type="hw_veb", vlan=7))
