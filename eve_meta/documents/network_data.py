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
from itertools import chain, count
from typing import Any
from uuid import uuid5

from eve_meta.documents.document import Document, dump
from eve_meta.documents.network import DHCP_ONLY, GuestNic, guest_nics, plain, routes_of
from eve_meta.values.domain import Domain
from eve_meta.values.nic import Nic, Subnet

EXPOSED_TYPES = frozenset({"bridge", "dvs", "hw_veb", "hyperv", "ovs", "tap", "vhostuser", "vif"})
"""The link types that guests know (nova's ``LEGACY_EXPOSED_VIF_TYPES``); any other is told as "phy"."""


def network_data(domain: Domain) -> Document | None:
    """``network_data.json`` of *domain*, or None when there is nothing to say about any of its NICs."""
    nics = guest_nics(domain)
    if not nics:
        return None
    links: list[dict[str, Any]] = []
    networks: list[dict[str, Any]] = []
    dns: dict[str, None] = {}
    for index, told in enumerate(nics):
        links += _links(domain, told, index, {link["id"] for link in links})
        network_id = str(told.nic.network_id or _made_id(domain, told, "network_id"))
        for subnet in told.subnets:
            networks.append(
                {"id": f"network{len(networks)}", "type": subnet.type.value, "link": links[-1]["id"]}
                | _addressing(subnet)
                | {"network_id": network_id}
                | _services(subnet)
            )
            dns |= dict.fromkeys(plain(address) for address in subnet.dns)
    services = [{"type": "dns", "address": address} for address in dns]
    return Document(dump({"links": links, "networks": networks, "services": services}))


def _links(domain: Domain, told: GuestNic, index: int, taken: set[str]) -> list[dict[str, Any]]:
    """The links of a NIC; its networks belong on the last one. *taken* are the ids of other links."""
    nic = told.nic
    name = _unused((nic.link, nic.tap), index, taken)
    vif_id = str(nic.id or _made_id(domain, told, "vif_id"))
    physical = {
        "id": name,
        "vif_id": vif_id,
        "type": _type(nic),
        # nova says null as soon as a subnet has DHCP, because its own DHCP server tells the MTU. Ours is whichever
        # the host's owner runs: an MTU that was given for a NIC was given to be told.
        "mtu": nic.mtu,
        "ethernet_mac_address": told.mac,
    }
    if told.vlan is None:
        return [physical]
    # nova tells the VLAN in ``devices`` only, where neither cloud-init nor cloudbase-init looks. Both know the link
    # type "vlan" of nova's schema: a device on top of the physical one, which tags what the guest sends.
    vlan = {
        "id": _unused((f"{name}.{told.vlan}",), index, {*taken, name}),
        "vif_id": vif_id,
        "type": "vlan",
        "mtu": nic.mtu,
        "vlan_link": name,
        "vlan_id": told.vlan,
        "vlan_mac_address": told.mac,
    }
    return [physical, vlan]


def _type(nic: Nic) -> str:
    if nic.type is None:
        return "tap"
    return nic.type if nic.type in EXPOSED_TYPES else "phy"


def _unused(wanted: Iterable[str | None], index: int, taken: set[str]) -> str:
    """The first name of *wanted*, else of nova's "interfaceN" from *index*, that is not in *taken*.

    Networks belong to links by id: with one id twice, both NICs would get both configurations.
    """
    names = chain(wanted, (f"interface{number}" for number in count(index)))
    return next(name for name in names if name is not None and name not in taken)


def _made_id(domain: Domain, told: GuestNic, key: str) -> object:
    # Readers may rely on the key (nova's schema demands network_id), and on the same value after a reboot.
    return uuid5(domain.instance_uuid, f"{key} {told.mac}")


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
