"""What a guest is told of its network, whatever the form: the rules that ``network_data.json`` and NoCloud share."""

from __future__ import annotations

from ipaddress import ip_network

from attrs import frozen

from eve_meta.values.domain import Domain
from eve_meta.values.nic import Address, Nic, Route, Subnet, SubnetType

ANY_NETWORK = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}

DHCP_ONLY = frozenset({SubnetType.IPV4_DHCP, SubnetType.IPV6_DHCP})
"""The types of which nova tells nothing but the type: address, routes and all come by DHCP."""


@frozen
class GuestNic:
    """A NIC as its guest is to set it up.

    :ivar nic: what the domain says of it.
    :ivar mac: its MAC address, by which the guest finds it.
    :ivar vlan: the VLAN id with which the guest is to tag what it sends; None for no tag.
    :ivar subnets: how it gets its addresses; never empty.
    """

    nic: Nic
    mac: str
    vlan: int | None
    subnets: tuple[Subnet, ...]


def guest_nics(domain: Domain) -> list[GuestNic]:
    """The NICs of *domain* of which its guest is told; an empty list when there is nothing to say about any of them.

    Then nothing must be said at all: cloud-init takes a network configuration without addresses for what it is, and the
    guest would lose the DHCP that it falls back to by itself.
    """
    # A guest finds the NIC that is meant by its MAC address; cloud-init gives up all of the file over one without.
    nics = [_guest_nic(nic, nic.mac) for nic in domain.nics if nic.mac is not None]
    return nics if any(told.nic.subnets for told in nics) else []


def _guest_nic(nic: Nic, mac: str) -> GuestNic:
    # The hardware adds and removes the tag of a virtual function (hw_veb): a guest that did it too would send frames
    # with two.
    vlan = None if nic.type == "hw_veb" else nic.vlan
    # nova leaves a NIC without subnets out, and cloud-init then leaves it down. As soon as we say anything, the guest's
    # own default (DHCP) is gone for every NIC, so it is said.
    return GuestNic(nic, mac, vlan, nic.subnets or (Subnet(type=SubnetType.IPV4_DHCP),))


def routes_of(subnet: Subnet) -> list[Route]:
    """The default route first, as nova has it; then the others in their order, none twice."""
    routes = dict.fromkeys(subnet.routes)
    if subnet.gateway is not None:
        routes = {Route(to=ANY_NETWORK[subnet.type.version], via=subnet.gateway): None} | routes
    return sorted(routes, key=lambda route: route.to.prefixlen != 0)


def plain(address: Address) -> str:
    """*address* as a guest can read it.

    The zone of a link-local address ("fe80::1%eth0") names a device of the host; it means nothing in a guest.
    """
    return str(address).partition("%")[0]
