"""``network_data.json``: the guest's network configuration.

The format is nova's: ``get_network_metadata`` in ``nova/virt/netutils.py``, ``doc/api_schemas/network_data.json``. The
content is made for its readers, cloud-init's ``convert_net_json`` and cloudbase-init, and so goes beyond nova's:

* it has all subnets of a NIC, not only the first of each IP version;
* a NIC without subnets gets DHCP where another NIC has subnets;
* it has the MTU that is given for a NIC, even where a subnet has DHCP;
* a NIC with a VLAN gets a ``vlan`` link;
* it has bonds, and VLANs on them, which are in nova's schema but in no document of nova's: Ironic has them;
* it has the routes that are given beside DHCP;
* a gateway outside its subnet has a key of its own beside the default route, and a route to itself;
* search domains have the keys that cloud-init takes: ``dns_search`` of a network, ``search`` of a service.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from ipaddress import ip_network
from itertools import chain, count
from typing import Any
from uuid import UUID, uuid5

from eve_meta.documents.document import Document, dump
from eve_meta.documents.network import (
    DHCP_ONLY,
    NO_ROUTER,
    GuestBond,
    GuestNetwork,
    GuestNic,
    far_gateway,
    guest_network,
    plain,
    routers_beyond,
    routes_of,
)
from eve_meta.values.domain import Domain
from eve_meta.values.nic import Address, Nic, Subnet

EXPOSED_TYPES = frozenset({"bridge", "dvs", "hw_veb", "hyperv", "ovs", "tap", "vhostuser", "vif"})
"""The link types that guests know (nova's ``LEGACY_EXPOSED_VIF_TYPES``); any other becomes "phy"."""


def network_data(domain: Domain) -> Document | None:
    """Make the ``network_data.json`` of *domain*, None where no NIC has a subnet."""
    network = guest_network(domain)
    if network is None:
        return None
    making = _Making(domain.instance_uuid, network)
    nics = [making.add_nic(guest_nic) for guest_nic in network.nics]
    for guest_bond in network.bonds:
        making.add_bond(guest_bond, [nics[index] for index in guest_bond.nics])
    dns = dict.fromkeys(plain(address) for subnet in making.subnets for address in subnet.dns)
    services: list[dict[str, Any]] = [{"type": "dns", "address": address} for address in dns]
    if services and network.search:
        services[0]["search"] = list(network.search)
    return Document(dump({"links": making.links, "networks": making.networks, "services": services}))


class _Making:
    """The making of the links and networks of a domain.

    :param uuid: the domain's uuid.
    :param network: its network.
    """

    def __init__(self, uuid: UUID, network: GuestNetwork) -> None:
        self.links: list[dict[str, Any]] = []
        self.networks: list[dict[str, Any]] = []
        self.subnets: list[Subnet] = []
        self._uuid = uuid
        self._network = network
        self._taken: set[str] = set()
        self._nics = 0

    def add_nic(self, guest_nic: GuestNic) -> str:
        """Add the links of a NIC and its networks, which belong to the last link; return the id of the first."""
        nic = guest_nic.nic
        name = self._unused((nic.link, nic.tap))
        vif_id = str(nic.id or self._made_id("vif_id", guest_nic.mac))
        self.links.append(
            {
                "id": name,
                "vif_id": vif_id,
                "type": _type(nic),
                # nova writes null as soon as a subnet has DHCP, because its own DHCP server announces the MTU. Here the
                # host's owner runs the DHCP server: an MTU that is given for a NIC is meant for the guest.
                "mtu": nic.mtu,
                "ethernet_mac_address": guest_nic.mac,
            }
        )
        link = name
        if guest_nic.vlan is not None:
            # nova has the VLAN in ``devices`` only, where neither cloud-init nor cloudbase-init looks. Both know the
            # link type "vlan" of nova's schema: a device on top of the physical one, which tags the guest's frames.
            link = self._add_vlan(name, guest_nic.vlan, vif_id, nic.mtu, guest_nic.mac)
        self._add_networks(link, guest_nic.subnets, nic.network_id or self._made_id("network_id", guest_nic.mac))
        self._nics += 1
        return name

    def add_bond(self, guest_bond: GuestBond, nics: Sequence[str]) -> None:
        """Add the link of a bond of the links *nics*, its VLANs, and the networks of both."""
        bond = guest_bond.bond
        # Not the MAC address, which is a NIC's, too: the ids of a bond and of its NIC differ.
        name = self._unused(f"bond{number}" for number in count())
        vif_id = str(bond.id or self._made_id("vif_id", f"{name} {guest_bond.mac}"))
        link: dict[str, Any] = {
            "id": name,
            "vif_id": vif_id,
            "type": "bond",
            "mtu": bond.mtu,
            "ethernet_mac_address": guest_bond.mac,
            "bond_links": list(nics),
            "bond_mode": bond.mode.value,
        }
        if bond.miimon is not None:
            link["bond_miimon"] = bond.miimon
        if bond.xmit_hash_policy is not None:
            link["bond_xmit_hash_policy"] = bond.xmit_hash_policy.value
        self.links.append(link)
        of_bond = bond.network_id or self._made_id("network_id", f"{name} {guest_bond.mac}")
        self._add_networks(name, guest_bond.subnets, of_bond)
        for vlan in guest_bond.vlans:
            vlan_link = self._add_vlan(name, vlan.id, vif_id, vlan.mtu, guest_bond.mac)
            of_vlan = vlan.network_id or self._made_id("network_id", f"{vlan_link} {guest_bond.mac}")
            self._add_networks(vlan_link, vlan.subnets, of_vlan)

    def _add_vlan(self, link: str, number: int, vif_id: str, mtu: int | None, mac: str) -> str:
        name = self._unused((f"{link}.{number}",))
        self.links.append(
            {
                "id": name,
                "vif_id": vif_id,
                "type": "vlan",
                "mtu": mtu,
                "vlan_link": link,
                "vlan_id": number,
                "vlan_mac_address": mac,
            }
        )
        return name

    def _add_networks(self, link: str, subnets: Sequence[Subnet], network_id: UUID) -> None:
        beyond = set(routers_beyond(subnets))
        for subnet in subnets:
            self.networks.append(
                {"id": f"network{len(self.networks)}", "type": subnet.type.value, "link": link}
                | _addressing(subnet, beyond)
                | {"network_id": str(network_id)}
                | _services(subnet, self._network.search_of(subnet))
            )
        self.subnets += subnets

    def _unused(self, wanted: Iterable[str | None]) -> str:
        """Return the first name of *wanted* that no link has, else the first of nova's "interfaceN".

        Networks refer to links by id: with one id twice, both NICs would get both configurations.
        """
        names = chain(wanted, (f"interface{number}" for number in count(self._nics)))
        name = next(name for name in names if name is not None and name not in self._taken)
        self._taken.add(name)
        return name

    def _made_id(self, key: str, device: str) -> UUID:
        # Readers may rely on the key (nova's schema demands network_id) and on its value staying the same after a
        # reboot.
        return uuid5(self._uuid, f"{key} {device}")


def _type(nic: Nic) -> str:
    if nic.type is None:
        return "tap"
    return nic.type if nic.type in EXPOSED_TYPES else "phy"


def _addressing(subnet: Subnet, beyond: Set[Address]) -> dict[str, Any]:
    """Make the keys of an address and of its routes.

    :param beyond: the routers to which the guest needs routes of their own.
    """
    keys: dict[str, Any] = {}
    routes = routes_of(subnet)
    if subnet.type in DHCP_ONLY and not routes:
        return keys
    if subnet.address is not None and subnet.type not in DHCP_ONLY:
        keys["ip_address"] = plain(subnet.address.ip)
        keys["netmask"] = str(subnet.address.netmask)
    gateway = far_gateway(subnet)
    if gateway is not None:
        # cloud-init makes an on-link default route of it; nova's own key for it is in "routes", which others read.
        keys["gateway"] = plain(gateway)
    keys["routes"] = [
        {"network": str(route.to.network_address), "netmask": str(route.to.netmask), "gateway": plain(route.via)}
        for route in routes
    ]
    for router in dict.fromkeys(route.via for route in routes):
        if router in beyond:
            host = ip_network(plain(router))
            keys["routes"].append(
                {"network": plain(router), "netmask": str(host.netmask), "gateway": NO_ROUTER[router.version]}
            )
    return keys


def _services(subnet: Subnet, search: Sequence[str]) -> dict[str, Any]:
    servers = [plain(address) for address in subnet.dns]
    keys: dict[str, Any] = {}
    if subnet.type not in DHCP_ONLY:
        keys["services"] = [{"type": "dns", "address": address} for address in servers]
    if search:
        # The DNS servers, too: a network that has one of these keys gets nothing of the guest's "services".
        keys["dns_nameservers"] = servers
        keys["dns_search"] = list(search)
    return keys
