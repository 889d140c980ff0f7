"""``network-config`` of NoCloud: the guest's network configuration in cloud-init's version 2, netplan's format.

It has the content of ``network_data.json``. Where there is a choice, it is what cloud-init makes of that file
(``convert_net_json`` and the netplan renderer).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eve_meta.documents.network import (
    NO_ROUTER,
    GuestNetwork,
    far_gateway,
    guest_network,
    is_beyond,
    plain,
    routers_beyond,
    routes_of,
)
from eve_meta.values.domain import Domain
from eve_meta.values.nic import Address, Route, Subnet, SubnetType

_Kinds = dict[str, dict[str, Any]]
"""The devices of each kind, by name."""


def network_config(domain: Domain) -> dict[str, Any] | None:
    """Make the network configuration of *domain*, None where no NIC has a subnet."""
    network = guest_network(domain)
    if network is None:
        return None
    kinds: _Kinds = {"ethernets": {}, "bonds": {}, "vlans": {}}
    bonded = {index for bond in network.bonds for index in bond.nics}
    for index in range(len(network.nics)):
        _add_nic(kinds, network, index, bonded=index in bonded)
    for index in range(len(network.bonds)):
        _add_bond(kinds, network, index)
    return {"version": 2} | {kind: devices for kind, devices in kinds.items() if devices}


def _nic_name(index: int) -> str:
    # Not the tap's name: this one may become the name of a device in the guest, and with a VLAN's number appended it
    # must still fit the kernel's 15 bytes.
    return f"nic{index}"


def _add_nic(kinds: _Kinds, network: GuestNetwork, index: int, *, bonded: bool) -> None:
    guest_nic = network.nics[index]
    name = _nic_name(index)
    mtu = _mtu(guest_nic.nic.mtu)
    ethernet = kinds["ethernets"][name] = {"match": {"macaddress": guest_nic.mac}} | mtu
    if bonded or guest_nic.vlan is not None:
        # Here set-name is needed: netplan alone resolves "link" and "interfaces", the other renderers take them for
        # devices' names.
        ethernet["set-name"] = name
    else:
        # No set-name: the guest keeps its own name for the NIC. All of cloud-init's renderers find it by the MAC
        # address.
        ethernet |= _addressing(guest_nic.subnets, network)
    if guest_nic.vlan is not None:
        addressing = _addressing(guest_nic.subnets, network)
        kinds["vlans"][f"{name}.{guest_nic.vlan}"] = {"id": guest_nic.vlan, "link": name} | mtu | addressing


def _add_bond(kinds: _Kinds, network: GuestNetwork, index: int) -> None:
    guest_bond = network.bonds[index]
    bond = guest_bond.bond
    name = f"bond{index}"
    parameters: dict[str, Any] = {"mode": bond.mode.value}
    if bond.miimon is not None:
        parameters["mii-monitor-interval"] = bond.miimon
    if bond.xmit_hash_policy is not None:
        parameters["transmit-hash-policy"] = bond.xmit_hash_policy.value
    device = {"interfaces": [_nic_name(nic) for nic in guest_bond.nics], "macaddress": guest_bond.mac}
    addressing = _addressing(guest_bond.subnets, network) if guest_bond.subnets else {}
    kinds["bonds"][name] = device | {"parameters": parameters} | _mtu(bond.mtu) | addressing
    for vlan in guest_bond.vlans:
        kinds["vlans"][f"{name}.{vlan.id}"] = (
            {"id": vlan.id, "link": name} | _mtu(vlan.mtu) | _addressing(vlan.subnets, network)
        )


def _mtu(mtu: int | None) -> dict[str, Any]:
    return {} if mtu is None else {"mtu": mtu}


def _addressing(subnets: Sequence[Subnet], network: GuestNetwork) -> dict[str, Any]:
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
    for subnet in subnets:
        gateway = far_gateway(subnet)
        if gateway is not None:
            keys.setdefault(f"gateway{gateway.version}", plain(gateway))
    # As routes, because netplan has deprecated gateway4 and gateway6.
    routes = dict.fromkeys(route for subnet in subnets for route in routes_of(subnet))
    if routes:
        keys["routes"] = [_route(route, subnets) for route in routes]
        keys["routes"] += [_route_to(router) for router in routers_beyond(subnets)]
    dns = dict.fromkeys(plain(address) for subnet in subnets for address in subnet.dns)
    nameservers = {"addresses": list(dns), "search": list(network.search_of(*subnets))}
    if any(nameservers.values()):
        keys["nameservers"] = {name: values for name, values in nameservers.items() if values}
    return keys


def _route(route: Route, subnets: Sequence[Subnet]) -> dict[str, Any]:
    keys: dict[str, Any] = {"to": str(route.to), "via": plain(route.via)}
    if is_beyond(route.via, subnets):
        keys["on-link"] = True
    return keys


def _route_to(router: Address) -> dict[str, Any]:
    return {"to": f"{plain(router)}/{router.max_prefixlen}", "via": NO_ROUTER[router.version]}
