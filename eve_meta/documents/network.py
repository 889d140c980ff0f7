"""The rules by which a guest configures its network, common to ``network_data.json`` and NoCloud."""

from __future__ import annotations

from ipaddress import ip_network

from attrs import frozen

from eve_meta.values.domain import Domain
from eve_meta.values.nic import Address, Nic, Route, Subnet, SubnetType

ANY_NETWORK = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}

DHCP_ONLY = frozenset({SubnetType.IPV4_DHCP, SubnetType.IPV6_DHCP})
"""The types of which nova writes only the type: address, routes and everything else come by DHCP."""


@frozen
class GuestNic:
    """A NIC as its guest is to configure it.

    :ivar nic: the domain's NIC.
    :ivar mac: the MAC address, by which the guest finds the NIC.
    :ivar vlan: the VLAN id with which the guest is to tag its frames; None for no tag.
    :ivar subnets: the NIC's addresses and how it gets them; never empty.
    """

    nic: Nic
    mac: str
    vlan: int | None
    subnets: tuple[Subnet, ...]


def guest_nics(domain: Domain) -> list[GuestNic]:
    """Return the NICs that the guest of *domain* is to configure; none where no NIC has a subnet.

    The guest must then get no network configuration at all: cloud-init would apply one without addresses, and the guest
    would lose the DHCP to which it falls back by itself.
    """
    # A guest finds each NIC by its MAC address; cloud-init rejects the whole file over a NIC without one.
    nics = [_guest_nic(nic, nic.mac) for nic in domain.nics if nic.mac is not None]
    return nics if any(each.nic.subnets for each in nics) else []


def _guest_nic(nic: Nic, mac: str) -> GuestNic:
    # For a virtual function (hw_veb) the hardware adds and removes the tag: a guest that also tagged would send frames
    # with two tags.
    vlan = None if nic.type == "hw_veb" else nic.vlan
    # nova leaves out a NIC without subnets, and cloud-init then leaves it down. Any configuration replaces the guest's
    # own default (DHCP) for every NIC, so a NIC without subnets is configured for DHCP explicitly.
    return GuestNic(nic, mac, vlan, nic.subnets or (Subnet(type=SubnetType.IPV4_DHCP),))


def routes_of(subnet: Subnet) -> list[Route]:
    """Return the default route first, as nova does, then the others in their order, none twice."""
    routes = dict.fromkeys(subnet.routes)
    if subnet.gateway is not None:
        routes = {Route(to=ANY_NETWORK[subnet.type.version], via=subnet.gateway): None} | routes
    return sorted(routes, key=lambda route: route.to.prefixlen != 0)


def plain(address: Address) -> str:
    """Return *address* as text without its zone.

    The zone of a link-local address ("fe80::1%eth0") names a device of the host and means nothing in a guest.
    """
    return str(address).partition("%")[0]
