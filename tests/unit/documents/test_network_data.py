"""``network_data.json``: its content, beyond nova's too. test_cloud_init.py has cloud-init read it."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface
from typing import Any
from uuid import UUID

import pytest
from attrs import evolve

from eve_meta.documents.versions import OPENSTACK_VERSIONS
from eve_meta.values.domain import Domain
from eve_meta.values.nic import Bond, BondMode, Nic, Subnet, SubnetType, Vlan
from tests.unit.documents.reading import FULL, find, load, network_data_of, nic, read, routes, static

DHCP = Subnet(type=SubnetType.IPV4_DHCP)

GOLDEN = (
    '{"links": [{"id": "vnet0", "vif_id": "b0000000-0000-4000-8000-000000000000", "type": "ovs", "mtu": 1450,'
    ' "ethernet_mac_address": "fa:16:3e:00:00:01"}], "networks": [{"id": "network0", "type": "ipv4", "link": "vnet0",'
    ' "ip_address": "10.1.2.10", "netmask": "255.255.255.0", "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0",'
    ' "gateway": "10.1.2.1"}, {"network": "192.168.50.0", "netmask": "255.255.255.0", "gateway": "10.1.2.254"}],'
    ' "network_id": "a0000000-0000-4000-8000-000000000000", "services": [{"type": "dns", "address": "10.1.2.2"}]}],'
    ' "services": [{"type": "dns", "address": "10.1.2.2"}]}'
)


@pytest.mark.parametrize("version", [*OPENSTACK_VERSIONS, "latest"])
def test_the_bytes_are_the_same_in_every_version(version: str) -> None:
    assert read(FULL, f"/openstack/{version}/network_data.json") == GOLDEN


@pytest.mark.parametrize(
    "nics",
    [(), (nic(),), (nic(static("10.0.0.5/24"), mac=None),), (nic(DHCP, mac=None), nic(tap="vnet1"))],
    ids=["no nic", "no subnet", "no mac", "none with both"],
)
def test_without_subnets_the_file_is_404_and_not_listed(nics: tuple[Nic, ...]) -> None:
    domain = Domain(name="vm", nics=nics)
    for version in (*OPENSTACK_VERSIONS, "latest"):
        assert find(domain, f"/openstack/{version}/network_data.json") is None
        assert "network_data.json" not in str(read(domain, f"/openstack/{version}"))


def test_a_static_ipv6_subnet_has_its_address_and_routes() -> None:
    content = network_data_of(
        nic(static("2001:db8::5/64", gateway=ip_address("fe80::1"), dns=(ip_address("2001:db8::53"),)))
    )
    [network] = content["networks"]
    del network["network_id"]
    assert network == {
        "id": "network0",
        "type": "ipv6",
        "link": "vnet0",
        "ip_address": "2001:db8::5",
        "netmask": "ffff:ffff:ffff:ffff::",
        "gateway": "fe80::1",
        "routes": [{"network": "::", "netmask": "::", "gateway": "fe80::1"}],
        "services": [{"type": "dns", "address": "2001:db8::53"}],
    }


@pytest.mark.parametrize("kind", [SubnetType.IPV4_DHCP, SubnetType.IPV6_DHCP])
def test_dhcp_has_only_its_type(kind: SubnetType) -> None:
    subnet = Subnet(
        type=kind,
        address=ip_interface("10.0.0.5/24" if kind.version == 4 else "2001:db8::5/64"),
        dns=(ip_address("10.0.0.2"),),
    )
    content = network_data_of(nic(subnet))
    [network] = content["networks"]
    assert list(network) == ["id", "type", "link", "network_id"]
    assert network["type"] == kind.value
    # The name servers are listed for the guest as a whole, as nova does.
    assert content["services"] == [{"type": "dns", "address": "10.0.0.2"}]


def test_routes_that_are_given_beside_dhcp_are_told() -> None:
    subnet = Subnet(
        type=SubnetType.IPV4_DHCP,
        gateway=ip_address("10.0.0.1"),
        routes=routes([("10.5.0.0/16", "10.0.0.2")]),
    )
    [network] = network_data_of(nic(subnet))["networks"]
    del network["network_id"]
    assert network == {
        "id": "network0",
        "type": "ipv4_dhcp",
        "link": "vnet0",
        "routes": [
            {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.0.1"},
            {"network": "10.5.0.0", "netmask": "255.255.0.0", "gateway": "10.0.0.2"},
        ],
    }


@pytest.mark.parametrize(
    ("address", "gateway", "route_to_gateway"),
    [
        ("10.0.0.9/32", "169.254.0.1", ("169.254.0.1", "255.255.255.255", "0.0.0.0")),
        ("10.1.2.10/24", "10.1.3.1", ("10.1.3.1", "255.255.255.255", "0.0.0.0")),
        ("2001:db8::9/64", "2001:db8:1::1", ("2001:db8:1::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::")),
        ("2001:db8::9/128", "fe80::1", None),
    ],
)
def test_a_gateway_outside_the_subnet(address: str, gateway: str, route_to_gateway: tuple[str, ...] | None) -> None:
    [network] = network_data_of(nic(static(address, gateway=ip_address(gateway))))["networks"]
    assert network["gateway"] == gateway
    default, *others = network["routes"]
    assert default["network"] == default["netmask"] == ("::" if ":" in gateway else "0.0.0.0")
    assert default["gateway"] == gateway
    assert [tuple(other.values()) for other in others] == ([] if route_to_gateway is None else [route_to_gateway])


def test_a_gateway_in_the_subnet_is_a_route_alone() -> None:
    [network] = network_data_of(nic(static("10.0.0.5/24", gateway=ip_address("10.0.0.1"))))["networks"]
    assert "gateway" not in network
    assert len(network["routes"]) == 1


@pytest.mark.parametrize(
    "kind", [SubnetType.IPV6_SLAAC, SubnetType.IPV6_DHCPV6_STATEFUL, SubnetType.IPV6_DHCPV6_STATELESS]
)
def test_other_dynamic_ipv6_types_keep_address_and_routes(kind: SubnetType) -> None:
    known = Subnet(type=kind, address=ip_interface("2001:db8::5/64"), gateway=ip_address("fe80::1"))
    first, second = network_data_of(nic(known, Subnet(type=kind)))["networks"]
    keys = ["id", "type", "link", "ip_address", "netmask", "routes", "network_id", "services"]
    assert list(first) == keys
    assert list(second) == [key for key in keys if key not in ("ip_address", "netmask")]
    assert first["type"] == second["type"] == kind.value
    assert first["routes"] == [{"network": "::", "netmask": "::", "gateway": "fe80::1"}]
    assert second["routes"] == []


def test_all_subnets_of_all_nics_are_included_and_numbered() -> None:
    content = network_data_of(
        nic(static("10.0.0.5/24"), static("10.0.1.5/24"), static("2001:db8::5/64"), static("2001:db8:1::5/64")),
        nic(DHCP, tap="vnet1", mac="fa:16:3e:00:00:02"),
    )
    assert [(n["id"], n["link"], n.get("ip_address")) for n in content["networks"]] == [
        ("network0", "vnet0", "10.0.0.5"),
        ("network1", "vnet0", "10.0.1.5"),
        ("network2", "vnet0", "2001:db8::5"),
        ("network3", "vnet0", "2001:db8:1::5"),
        ("network4", "vnet1", None),
    ]


def test_a_nic_without_subnets_beside_one_with_some_uses_dhcp() -> None:
    content = network_data_of(nic(), nic(static("10.0.0.5/24"), tap="vnet1", mac="fa:16:3e:00:00:02"))
    assert [(n["type"], n["link"]) for n in content["networks"]] == [("ipv4_dhcp", "vnet0"), ("ipv4", "vnet1")]


def test_a_nic_without_a_mac_is_left_out() -> None:
    content = network_data_of(nic(DHCP, mac=None), nic(DHCP, tap="vnet1"))
    assert [link["id"] for link in content["links"]] == ["vnet1"]
    assert [network["link"] for network in content["networks"]] == ["vnet1"]


def test_the_default_route_comes_first_and_no_route_twice() -> None:
    given = routes([("192.168.50.0/24", "10.0.0.9"), ("192.168.50.0/24", "10.0.0.9"), ("0.0.0.0/0", "10.0.0.1")])
    expected = [
        {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.0.1"},
        {"network": "192.168.50.0", "netmask": "255.255.255.0", "gateway": "10.0.0.9"},
    ]
    for gateway in (None, ip_address("10.0.0.1")):
        content = network_data_of(nic(static("10.0.0.5/24", routes=given, gateway=gateway)))
        assert content["networks"][0]["routes"] == expected


def test_the_gateway_goes_before_another_default_route() -> None:
    content = network_data_of(
        nic(static("10.0.0.5/24", routes=routes([("0.0.0.0/0", "10.0.0.254")]), gateway=ip_address("10.0.0.1")))
    )
    assert [route["gateway"] for route in content["networks"][0]["routes"]] == ["10.0.0.1", "10.0.0.254"]


@pytest.mark.parametrize(
    ("address", "netmask"),
    [
        ("10.0.0.5/32", "255.255.255.255"),
        ("10.0.0.5/20", "255.255.240.0"),
        ("2001:db8::5/128", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("2001:db8::5/48", "ffff:ffff:ffff::"),
    ],
)
def test_a_netmask_is_written_in_full(address: str, netmask: str) -> None:
    assert network_data_of(nic(static(address)))["networks"][0]["netmask"] == netmask


def test_no_name_server_twice() -> None:
    one, two = ip_address("10.0.0.2"), ip_address("2001:db8::53")
    content = network_data_of(nic(static("10.0.0.5/24", dns=(one, one, two)), evolve(DHCP, dns=(two, one))))
    assert content["services"] == [{"type": "dns", "address": "10.0.0.2"}, {"type": "dns", "address": "2001:db8::53"}]


def test_the_zone_of_an_address_stays_on_the_host() -> None:
    content = network_data_of(
        nic(static("fe80::5%eth0/64", gateway=ip_address("fe80::1%eth0"), dns=(ip_address("fe80::53%eth0"),)))
    )
    assert "%" not in str(content)
    assert content["networks"][0]["ip_address"] == "fe80::5"


@pytest.mark.parametrize("kind", ["bridge", "dvs", "hw_veb", "hyperv", "ovs", "tap", "vhostuser", "vif"])
def test_link_types_that_guests_know(kind: str) -> None:
    assert network_data_of(nic(DHCP, type=kind))["links"][0]["type"] == kind


@pytest.mark.parametrize("kind", ["phy", "ethernet", "macvtap", "TAP", "vlan", "bond"])
def test_any_other_link_type_is_phy(kind: str) -> None:
    assert network_data_of(nic(DHCP, type=kind))["links"][0]["type"] == "phy"


def test_a_given_mtu_is_included_beside_dhcp() -> None:
    assert network_data_of(nic(DHCP, mtu=1450))["links"][0]["mtu"] == 1450
    assert network_data_of(nic(DHCP))["links"][0]["mtu"] is None


@pytest.mark.parametrize(
    ("nics", "ids"),
    [
        ([{"tap": "vnet0"}, {"tap": "vnet1"}], ["vnet0", "vnet1"]),
        ([{"tap": "vnet0", "link": "lan"}, {"tap": "vnet1"}], ["lan", "vnet1"]),
        ([{"tap": None}, {"tap": None}], ["interface0", "interface1"]),
        ([{"tap": None, "link": "lan"}, {"tap": None, "link": "lan"}], ["lan", "interface1"]),
        ([{"tap": "vnet0"}, {"tap": "vnet1", "link": "vnet0"}], ["vnet0", "vnet1"]),
        ([{"tap": None, "link": "interface1"}, {"tap": None}], ["interface1", "interface2"]),
        ([{"tap": "a", "vlan": 7}, {"tap": None, "link": "a.7"}], ["a", "a.7", "interface1"]),
        ([{"tap": None, "link": "a.7"}, {"tap": "a", "vlan": 7}], ["a.7", "a", "interface1"]),
        ([{"link": "interface1.7"}, {"tap": None, "vlan": 7}], ["interface1.7", "interface1", "interface2"]),
    ],
)
def test_no_two_links_have_one_id(nics: list[dict[str, Any]], ids: list[str]) -> None:
    made = [nic(DHCP, mac=f"fa:16:3e:00:00:0{number}", **more) for number, more in enumerate(nics)]
    assert [link["id"] for link in network_data_of(*made)["links"]] == ids


def test_a_vlan_is_a_link_of_its_own_with_all_networks_on_it() -> None:
    vif = UUID("b0000000-0000-4000-8000-000000000000")
    content = network_data_of(nic(static("10.0.0.5/24"), DHCP, id=vif, vlan=7, mtu=1450))
    assert content["links"] == [
        {"id": "vnet0", "vif_id": str(vif), "type": "tap", "mtu": 1450, "ethernet_mac_address": "fa:16:3e:00:00:01"},
        {
            "id": "vnet0.7",
            "vif_id": str(vif),
            "type": "vlan",
            "mtu": 1450,
            "vlan_link": "vnet0",
            "vlan_id": 7,
            "vlan_mac_address": "fa:16:3e:00:00:01",
        },
    ]
    assert [network["link"] for network in content["networks"]] == ["vnet0.7", "vnet0.7"]


def test_a_vlan_that_the_hardware_tags_is_left_out() -> None:
    domain = Domain(name="vm", nics=(nic(DHCP, type="hw_veb", vlan=7),))
    content = load(domain, "/openstack/latest/network_data.json")
    assert [link["type"] for link in content["links"]] == ["hw_veb"]
    assert load(domain, "/openstack/latest/meta_data.json")["devices"][0]["vlan"] == 7


def test_a_bond_is_a_link_of_links_and_so_are_vlans_on_it() -> None:
    vif = UUID("b0000000-0000-4000-8000-000000000000")
    network = UUID("a0000000-0000-4000-8000-000000000000")
    domain = Domain(
        name="vm",
        search=("example.org",),
        nics=(nic(), nic(tap="vnet1", mac="fa:16:3e:00:00:02")),
        bonds=(
            Bond(
                nics=("fa:16:3e:00:00:02", "vnet0"),
                mode=BondMode.ACTIVE_BACKUP,
                miimon=100,
                id=vif,
                network_id=network,
                mtu=9000,
                subnets=(static("10.1.2.10/24", dns=(ip_address("10.1.2.2"),)),),
                vlans=(Vlan(id=101, mtu=1500, network_id=network, subnets=(static("10.1.101.10/24"),)),),
            ),
        ),
    )
    content = load(domain, "/openstack/latest/network_data.json")
    assert [link["id"] for link in content["links"]] == ["vnet0", "vnet1", "bond0", "bond0.101"]
    assert content["links"][2:] == [
        {
            "id": "bond0",
            "vif_id": str(vif),
            "type": "bond",
            "mtu": 9000,
            "ethernet_mac_address": "fa:16:3e:00:00:02",
            "bond_links": ["vnet1", "vnet0"],
            "bond_mode": "active-backup",
            "bond_miimon": 100,
        },
        {
            "id": "bond0.101",
            "vif_id": str(vif),
            "type": "vlan",
            "mtu": 1500,
            "vlan_link": "bond0",
            "vlan_id": 101,
            "vlan_mac_address": "fa:16:3e:00:00:02",
        },
    ]
    assert content["networks"] == [
        {
            "id": "network0",
            "type": "ipv4",
            "link": "bond0",
            "ip_address": "10.1.2.10",
            "netmask": "255.255.255.0",
            "routes": [],
            "network_id": str(network),
            "services": [{"type": "dns", "address": "10.1.2.2"}],
            "dns_nameservers": ["10.1.2.2"],
            "dns_search": ["example.org"],
        },
        {
            "id": "network1",
            "type": "ipv4",
            "link": "bond0.101",
            "ip_address": "10.1.101.10",
            "netmask": "255.255.255.0",
            "routes": [],
            "network_id": str(network),
            "services": [],
        },
    ]
    assert content["services"] == [{"type": "dns", "address": "10.1.2.2", "search": ["example.org"]}]
    assert read(domain, "/latest/meta-data/local-ipv4") == "10.1.2.10"


def test_a_bond_has_ids_and_a_mac_of_its_own_where_none_are_given() -> None:
    bond = Bond(nics=("vnet0",), mode=BondMode.BALANCE_RR)
    content = load(Domain(name="vm", nics=(nic(),), bonds=(bond,)), "/openstack/latest/network_data.json")
    physical, joined = content["links"]
    assert joined["ethernet_mac_address"] == physical["ethernet_mac_address"]
    assert joined["vif_id"] != physical["vif_id"]
    # Without subnets it uses DHCP, and its NIC alone has none.
    assert [(network["type"], network["link"]) for network in content["networks"]] == [("ipv4_dhcp", "bond0")]


def test_a_bond_whose_nics_are_others_is_left_out() -> None:
    bond = Bond(nics=("vnet8", "vnet9"), mode=BondMode.BALANCE_RR)
    content = load(Domain(name="vm", nics=(nic(DHCP),), bonds=(bond,)), "/openstack/latest/network_data.json")
    assert [(link["id"], link["type"]) for link in content["links"]] == [("vnet0", "tap")]


def test_invented_ids_are_stable() -> None:
    two = (nic(DHCP), nic(DHCP, tap="vnet1", mac="fa:16:3e:00:00:02"))
    content = network_data_of(*two)
    assert content == network_data_of(*two)
    ids = [link["vif_id"] for link in content["links"]] + [network["network_id"] for network in content["networks"]]
    assert len({UUID(made) for made in ids}) == 4
    other = load(Domain(name="other", nics=two), "/openstack/latest/network_data.json")
    assert other["links"][0]["vif_id"] != content["links"][0]["vif_id"]
