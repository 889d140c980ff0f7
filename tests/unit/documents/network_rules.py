"""A check of ``network_data.json`` by nova's schema (``doc/api_schemas/network_data.json``)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

LINK_TYPES = {"bridge", "dvs", "hw_veb", "hyperv", "ovs", "tap", "vhostuser", "vif", "phy"}
NETWORK_TYPES = {
    4: {"ipv4", "ipv4_dhcp"},
    # The last two are not in the schema, but nova has them all the same.
    6: {"ipv6", "ipv6_dhcp", "ipv6_slaac", "ipv6_dhcpv6-stateful", "ipv6_dhcpv6-stateless"},
}
BOND_MODES = {"802.3ad", "balance-rr", "active-backup", "balance-xor", "broadcast", "balance-tlb", "balance-alb"}
MAC = re.compile(r"([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}")


def check(content: Any) -> None:
    """Fail where *content*, the JSON of a document, does not follow the schema."""
    _keys(content, required=("links", "networks", "services"))
    for link in _list(content["links"]):
        _check_link(link)
    for network in _list(content["networks"]):
        _check_network(network)
    for service in _list(content["services"]):
        _check_service(service)


def _keys(mapping: Any, *, required: Sequence[str], optional: Sequence[str] = ()) -> None:
    assert isinstance(mapping, Mapping)
    assert set(required) <= set(mapping) <= {*required, *optional}, mapping


def _list(value: Any) -> Sequence[Any]:
    assert isinstance(value, list)
    return value


def _check_link(link: Any) -> None:
    if link["type"] == "vlan":
        vlan = ("id", "type", "vlan_id", "vlan_link", "vlan_mac_address")
        _keys(link, required=vlan, optional=("mtu", "vif_id"))
        assert isinstance(link["vlan_link"], str)
        assert type(link["vlan_id"]) is int
        assert 1 <= link["vlan_id"] <= 4094
        mac = link["vlan_mac_address"]
    elif link["type"] == "bond":
        bond = ("ethernet_mac_address", "id", "type", "bond_mode", "bond_links")
        # The last two are not in the schema, but Ironic has them all the same.
        _keys(link, required=bond, optional=("mtu", "vif_id", "bond_miimon", "bond_xmit_hash_policy"))
        assert link["bond_mode"] in BOND_MODES
        assert all(isinstance(each, str) for each in _list(link["bond_links"]))
        mac = link["ethernet_mac_address"]
    else:
        _keys(link, required=("ethernet_mac_address", "id", "type"), optional=("mtu", "vif_id"))
        assert link["type"] in LINK_TYPES
        mac = link["ethernet_mac_address"]
    assert MAC.fullmatch(mac)
    assert isinstance(link["id"], str)
    assert isinstance(link["vif_id"], str)
    assert link["mtu"] is None or (type(link["mtu"]) is int and 1 <= link["mtu"] <= 65535)


def _check_network(network: Any) -> None:
    addressing = ("ip_address", "netmask", "routes", "services")
    # cloud-init's, not the schema's.
    ours = ("gateway", "dns_nameservers", "dns_search")
    _keys(network, required=("id", "link", "network_id", "type"), optional=(*addressing, *ours))
    assert all(isinstance(network[key], str) for key in ("id", "link", "network_id"))
    (version,) = (version for version, types in NETWORK_TYPES.items() if network["type"] in types)
    if network["type"].endswith("_dhcp"):
        assert not {"ip_address", "netmask", "gateway"} & set(network)
    if "gateway" in network:
        _check_address(network["gateway"], version)
    for address in _list(network.get("dns_nameservers", [])):
        _check_address(address, ip_address(address).version)
    assert all(isinstance(each, str) for each in _list(network.get("dns_search", [])))
    if "ip_address" in network:
        _check_address(network["ip_address"], version)
        _check_netmask(network["netmask"], version)
    for route in _list(network.get("routes", [])):
        _keys(route, required=("gateway", "netmask", "network"), optional=("services",))
        _check_address(route["network"], version)
        _check_netmask(route["netmask"], version)
        _check_address(route["gateway"], version)
        prefix = bin(int(ip_address(route["netmask"]))).count("1")
        ip_network((route["network"], prefix))  # nothing is set beyond the mask
    for service in _list(network.get("services", [])):
        _check_service(service)


def _check_address(text: Any, version: int) -> None:
    assert isinstance(text, str)
    assert "%" not in text
    assert ip_address(text).version == version


def _check_netmask(text: Any, version: int) -> None:
    _check_address(text, version)
    address: IPv4Address | IPv6Address = ip_address(text)
    bits = f"{int(address):0{address.max_prefixlen}b}"
    assert "01" not in bits, "ones, then zeros"


def _check_service(service: Any) -> None:
    _keys(service, required=("address", "type"), optional=("search",))  # the latter is cloud-init's
    assert service["type"] == "dns"
    _check_address(service["address"], ip_address(service["address"]).version)
