"""``network-config`` of NoCloud: how the guest sets up its network, in cloud-init's version 2, netplan's form.

It says what ``network_data.json`` says. How cloud-init turns the one into the other (``convert_net_json`` and its
netplan renderer) is what this follows, where there is a choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eve_meta.documents.network import DHCP_ONLY, guest_nics, plain, routes_of
from eve_meta.values.domain import Domain
from eve_meta.values.nic import Route, Subnet, SubnetType


def network_config(domain: Domain) -> dict[str, Any] | None:
    """The network configuration of *domain*, or None when there is nothing to say about any of its NICs."""
    nics = guest_nics(domain)
    if not nics:
        return None
    ethernets: dict[str, Any] = {}
    vlans: dict[str, Any] = {}
    for index, told in enumerate(nics):
        # A name of ours, not the tap's: it may become one of a device, and with a VLAN's number behind it must still be
        # within the kernel's 15 bytes.
        name = f"nic{index}"
        mtu = {} if told.nic.mtu is None else {"mtu": told.nic.mtu}
        ethernets[name] = {"match": {"macaddress": told.mac}} | mtu
        if told.vlan is None:
            # No set-name: the guest keeps its own name for the NIC, which all of cloud-init's renderers find by the MAC
            # address.
            ethernets[name] |= _addressing(told.subnets)
        else:
            # Here there must be one: only netplan knows what "link" means, the others take it for a device's name.
            ethernets[name]["set-name"] = name
            vlans[f"{name}.{told.vlan}"] = {"id": told.vlan, "link": name} | mtu | _addressing(told.subnets)
    return {"version": 2, "ethernets": ethernets} | ({"vlans": vlans} if vlans else {})


def _addressing(subnets: Sequence[Subnet]) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    if any(subnet.type is SubnetType.IPV4_DHCP for subnet in subnets):
        keys["dhcp4"] = True
    ipv6 = [subnet.type for subnet in subnets if subnet.type.version == 6]
    if ipv6:
        # By autoconfiguration or DHCPv6: both begin with a router's advertisement, and "dhcp6" heeds what that says.
        # Where all addresses are static, what any neighbour advertises is nothing to the guest.
        dynamic = not all(kind.static for kind in ipv6)
        if dynamic:
            keys["dhcp6"] = True
        keys["accept-ra"] = dynamic
    addresses = [
        f"{plain(subnet.address.ip)}/{subnet.address.network.prefixlen}"
        for subnet in subnets
        if subnet.type.static and subnet.address is not None
    ]
    if addresses:
        keys["addresses"] = list(dict.fromkeys(addresses))
    # Not gateway4 and gateway6: netplan has deprecated them.
    routes = dict.fromkeys(route for subnet in subnets if subnet.type not in DHCP_ONLY for route in routes_of(subnet))
    if routes:
        keys["routes"] = [_route(route, subnets) for route in routes]
    dns = dict.fromkeys(plain(address) for subnet in subnets for address in subnet.dns)
    if dns:
        keys["nameservers"] = {"addresses": list(dns)}
    return keys


def _route(route: Route, subnets: Sequence[Subnet]) -> dict[str, Any]:
    keys: dict[str, Any] = {"to": str(route.to), "via": plain(route.via)}
    near = route.via.version == 6 and route.via.is_link_local
    if not near and not any(subnet.address and route.via in subnet.address.network for subnet in subnets):
        # A router beyond all networks of the NIC, as with an address that has a /32 for itself. The kernel refuses such
        # a route unless it is told that the router is there.
        keys["on-link"] = True
    return keys
