"""``network_data.json``: the guest's network configuration.

The format is nova's: ``get_network_metadata`` in ``nova/virt/netutils.py``, ``doc/api_schemas/network_data.json``. The
content is made for its readers, cloud-init's ``convert_net_json`` and cloudbase-init, and so goes beyond nova's:

* it has all subnets of a NIC, not only the first of each IP version;
* a NIC without subnets gets DHCP where another NIC has subnets;
* it has the MTU that is given for a NIC, even where a subnet has DHCP;
* a NIC with a VLAN gets a ``vlan`` link.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, count
from typing import Any
from uuid import uuid5

from eve_meta.documents.document import Document, dump
from eve_meta.documents.network import DHCP_ONLY, GuestNic, guest_nics, plain, routes_of
from eve_meta.values.domain import Domain
from eve_meta.values.nic import Nic, Subnet

EXPOSED_TYPES = frozenset({"bridge", "dvs", "hw_veb", "hyperv", "ovs", "tap", "vhostuser", "vif"})
"""The link types that guests know (nova's ``LEGACY_EXPOSED_VIF_TYPES``); any other becomes "phy"."""


def network_data(domain: Domain) -> Document | None:
    """Make the ``network_data.json`` of *domain*, None where no NIC has a subnet."""
    nics = guest_nics(domain)
    if not nics:
        return None
    links: list[dict[str, Any]] = []
    networks: list[dict[str, Any]] = []
    dns: dict[str, None] = {}
    for index, guest_nic in enumerate(nics):
        links += _links(domain, guest_nic, index, {link["id"] for link in links})
        network_id = str(guest_nic.nic.network_id or _made_id(domain, guest_nic, "network_id"))
        for subnet in guest_nic.subnets:
            networks.append(
                {"id": f"network{len(networks)}", "type": subnet.type.value, "link": links[-1]["id"]}
                | _addressing(subnet)
                | {"network_id": network_id}
                | _services(subnet)
            )
            dns |= dict.fromkeys(plain(address) for address in subnet.dns)
    services = [{"type": "dns", "address": address} for address in dns]
    return Document(dump({"links": links, "networks": networks, "services": services}))


def _links(domain: Domain, guest_nic: GuestNic, index: int, taken: set[str]) -> list[dict[str, Any]]:
    """Make the links of a NIC; its networks belong to the last one. *taken* has the ids of the other NICs' links."""
    nic = guest_nic.nic
    name = _unused((nic.link, nic.tap), index, taken)
    vif_id = str(nic.id or _made_id(domain, guest_nic, "vif_id"))
    physical = {
        "id": name,
        "vif_id": vif_id,
        "type": _type(nic),
        # nova writes null as soon as a subnet has DHCP, because its own DHCP server announces the MTU. Here the host's
        # owner runs the DHCP server: an MTU that is given for a NIC is meant for the guest.
        "mtu": nic.mtu,
        "ethernet_mac_address": guest_nic.mac,
    }
    if guest_nic.vlan is None:
        return [physical]
    # nova has the VLAN in ``devices`` only, where neither cloud-init nor cloudbase-init looks. Both know the link type
    # "vlan" of nova's schema: a device on top of the physical one, which tags the guest's frames.
    vlan = {
        "id": _unused((f"{name}.{guest_nic.vlan}",), index, {*taken, name}),
        "vif_id": vif_id,
        "type": "vlan",
        "mtu": nic.mtu,
        "vlan_link": name,
        "vlan_id": guest_nic.vlan,
        "vlan_mac_address": guest_nic.mac,
    }
    return [physical, vlan]


def _type(nic: Nic) -> str:
    if nic.type is None:
        return "tap"
    return nic.type if nic.type in EXPOSED_TYPES else "phy"


def _unused(wanted: Iterable[str | None], index: int, taken: set[str]) -> str:
    """Return the first name of *wanted* that is not in *taken*, else the first of nova's "interfaceN" from *index* on.

    Networks refer to links by id: with one id twice, both NICs would get both configurations.
    """
    names = chain(wanted, (f"interface{number}" for number in count(index)))
    return next(name for name in names if name is not None and name not in taken)


def _made_id(domain: Domain, guest_nic: GuestNic, key: str) -> object:
    # Readers may rely on the key (nova's schema demands network_id) and on its value staying the same after a reboot.
    return uuid5(domain.instance_uuid, f"{key} {guest_nic.mac}")


def _addressing(subnet: Subnet) -> dict[str, Any]:
    if subnet.type in DHCP_ONLY:
        return {}
    keys: dict[str, Any] = {}
    if subnet.address is not None:
        keys["ip_address"] = plain(subnet.address.ip)
        keys["netmask"] = str(subnet.address.netmask)
    keys["routes"] = [
        {"network": str(route.to.network_address), "netmask": str(route.to.netmask), "gateway": plain(route.via)}
        for route in routes_of(subnet)
    ]
    return keys


def _services(subnet: Subnet) -> dict[str, Any]:
    if subnet.type in DHCP_ONLY:
        return {}
    return {"services": [{"type": "dns", "address": plain(address)} for address in subnet.dns]}
