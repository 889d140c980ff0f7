"""``network_data.json``: how the guest sets up its network.

The form is nova's: ``get_network_metadata`` in ``nova/virt/netutils.py``, ``doc/api_schemas/network_data.json``. What
is in it is made for its readers, cloud-init's ``convert_net_json`` and cloudbase-init, and so goes beyond nova:

* all subnets of a NIC are told, not only the first of each IP version;
* a NIC without any is told to use DHCP where another NIC has some;
* an MTU that was given is told even beside DHCP;
* a NIC with a VLAN gets a ``vlan`` link.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network
from itertools import chain, count
from typing import Any
from uuid import uuid5

from eve_meta.documents.document import Document, dump
from eve_meta.domain import Address, Domain, Nic, Route, Subnet, SubnetType

EXPOSED_TYPES = frozenset({"bridge", "dvs", "hw_veb", "hyperv", "ovs", "tap", "vhostuser", "vif"})
"""The link types that guests know (nova's ``LEGACY_EXPOSED_VIF_TYPES``); any other is told as "phy"."""

ANY_NETWORK = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}

DHCP_ONLY = frozenset({SubnetType.IPV4_DHCP, SubnetType.IPV6_DHCP})
"""The types of which nova tells nothing but the type: address, routes and all come by DHCP."""


def network_data(domain: Domain) -> Document | None:
    """``network_data.json`` of *domain*, or None when there is nothing to say about any of its NICs.

    None, not empty lists: cloud-init takes empty lists for a configuration without a network, and the guest would lose
    the DHCP that it falls back to by itself.
    """
    # A guest finds the NIC that a link means by its MAC address; cloud-init gives up all of the file over a link
    # without one.
    nics = [nic for nic in domain.nics if nic.mac is not None]
    if not any(nic.subnets for nic in nics):
        return None
    links: list[dict[str, Any]] = []
    networks: list[dict[str, Any]] = []
    dns: dict[str, None] = {}
    for index, nic in enumerate(nics):
        links += _links(domain, nic, index, {link["id"] for link in links})
        # nova leaves a NIC without subnets out, and cloud-init then leaves it down. As soon as we say anything, the
        # guest's own default (DHCP) is gone for every NIC, so it is said.
        for subnet in nic.subnets or (Subnet(type=SubnetType.IPV4_DHCP),):
            networks.append(
                {"id": f"network{len(networks)}", "type": subnet.type.value, "link": links[-1]["id"]}
                | _addressing(subnet)
                | {"network_id": str(nic.network_id or _made_id(domain, nic, "network_id"))}
                | _services(subnet)
            )
            dns |= dict.fromkeys(_plain(address) for address in subnet.dns)
    services = [{"type": "dns", "address": address} for address in dns]
    return Document(dump({"links": links, "networks": networks, "services": services}))


def _links(domain: Domain, nic: Nic, index: int, taken: set[str]) -> list[dict[str, Any]]:
    """The links of *nic*; its networks belong on the last one. *taken* are the ids of other links."""
    name = _unused((nic.link, nic.tap), index, taken)
    vif_id = str(nic.id or _made_id(domain, nic, "vif_id"))
    physical = {
        "id": name,
        "vif_id": vif_id,
        "type": nic.type if nic.type in EXPOSED_TYPES else "phy",
        # nova says null as soon as a subnet has DHCP, because its own DHCP server tells the MTU. Ours is whichever
        # the host's owner runs: an MTU that was given for a NIC was given to be told.
        "mtu": nic.mtu,
        "ethernet_mac_address": nic.mac,
    }
    if nic.vlan is None or nic.type == "hw_veb":
        # The hardware adds and removes the tag of a virtual function (hw_veb): a guest that did it too would send
        # frames with two.
        return [physical]
    # nova tells the VLAN in ``devices`` only, where neither cloud-init nor cloudbase-init looks. Both know the link
    # type "vlan" of nova's schema: a device on top of the physical one, which tags what the guest sends.
    vlan = {
        "id": _unused((f"{name}.{nic.vlan}",), index, {*taken, name}),
        "vif_id": vif_id,
        "type": "vlan",
        "mtu": nic.mtu,
        "vlan_link": name,
        "vlan_id": nic.vlan,
        "vlan_mac_address": nic.mac,
    }
    return [physical, vlan]


def _unused(wanted: Iterable[str | None], index: int, taken: set[str]) -> str:
    """The first name of *wanted*, else of nova's "interfaceN" from *index*, that is not in *taken*.

    Networks belong to links by id: with one id twice, both NICs would get both configurations.
    """
    names = chain(wanted, (f"interface{number}" for number in count(index)))
    return next(name for name in names if name is not None and name not in taken)


def _made_id(domain: Domain, nic: Nic, key: str) -> object:
    # Readers may rely on the key (nova's schema demands network_id), and on the same value after a reboot.
    return uuid5(domain.instance_uuid, f"{key} {nic.mac}")


def _addressing(subnet: Subnet) -> dict[str, Any]:
    if subnet.type in DHCP_ONLY:
        return {}
    keys: dict[str, Any] = {}
    if subnet.address is not None:
        keys["ip_address"] = _plain(subnet.address.ip)
        keys["netmask"] = str(subnet.address.netmask)
    keys["routes"] = [
        {"network": str(route.to.network_address), "netmask": str(route.to.netmask), "gateway": _plain(route.via)}
        for route in _routes(subnet)
    ]
    return keys


def _routes(subnet: Subnet) -> list[Route]:
    """The default route first, as nova has it; then the others in their order, none twice."""
    routes = dict.fromkeys(subnet.routes)
    if subnet.gateway is not None:
        routes = {Route(to=ANY_NETWORK[subnet.type.version], via=subnet.gateway): None} | routes
    return sorted(routes, key=lambda route: route.to.prefixlen != 0)


def _services(subnet: Subnet) -> dict[str, Any]:
    if subnet.type in DHCP_ONLY:
        return {}
    return {"services": [{"type": "dns", "address": _plain(address)} for address in subnet.dns]}


def _plain(address: Address) -> str:
    # The zone of a link-local address ("fe80::1%eth0") names a device of the host; it means nothing in a guest.
    return str(address).partition("%")[0]
