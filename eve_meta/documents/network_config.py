"""``network-config`` of NoCloud: the guest's network configuration in cloud-init's version 2, netplan's format.

It has the content of ``network_data.json``. Where there is a choice, it is what cloud-init makes of that file
(``convert_net_json`` and the netplan renderer).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eve_meta.documents.network import DHCP_ONLY, guest_nics, plain, routes_of
from eve_meta.values.domain import Domain
from eve_meta.values.nic import Route, Subnet, SubnetType


def network_config(domain: Domain) -> dict[str, Any] | None:
    """Make the network configuration of *domain*, None where no NIC has a subnet."""
    nics = guest_nics(domain)
    if not nics:
        return None
    ethernets: dict[str, Any] = {}
    vlans: dict[str, Any] = {}
    for index, guest_nic in enumerate(nics):
        # Not the tap's name: this one may become the name of a device in the guest, and with a VLAN's number appended
        # it must still fit the kernel's 15 bytes.
        name = f"nic{index}"
        mtu = {} if guest_nic.nic.mtu is None else {"mtu": guest_nic.nic.mtu}
        ethernets[name] = {"match": {"macaddress": guest_nic.mac}} | mtu
        if guest_nic.vlan is None:
            # No set-name: the guest keeps its own name for the NIC. All of cloud-init's renderers find it by the MAC
            # address.
            ethernets[name] |= _addressing(guest_nic.subnets)
        else:
            # Here set-name is needed: netplan alone resolves "link", the other renderers take it for a device's name.
            ethernets[name]["set-name"] = name
            vlans[f"{name}.{guest_nic.vlan}"] = (
                {"id": guest_nic.vlan, "link": name} | mtu | _addressing(guest_nic.subnets)
            )
    return {"version": 2, "ethernets": ethernets} | ({"vlans": vlans} if vlans else {})


def _addressing(subnets: Sequence[Subnet]) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    if any(subnet.type is SubnetType.IPV4_DHCP for subnet in subnets):
        keys["dhcp4"] = True
    ipv6 = [subnet.type for subnet in subnets if subnet.type.version == 6]
    if ipv6:
        # Autoconfiguration and DHCPv6 both begin with a router's advertisement, and "dhcp6" does what that asks for.
        # Where all addresses are static, the guest must ignore whatever a neighbour advertises.
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
    # As routes, because netplan has deprecated gateway4 and gateway6.
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
        # The router is outside all networks of the NIC, for example where the address has a /32. The kernel refuses
        # such a route unless it is marked as on-link.
        keys["on-link"] = True
    return keys
