"""The rules by which a guest configures its network, common to ``network_data.json`` and NoCloud."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_network

from attrs import frozen

from eve_meta.values.domain import Domain
from eve_meta.values.nic import Address, Bond, Nic, Route, Subnet, SubnetType, Vlan

ANY_NETWORK = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}

NO_ROUTER = {4: str(IPv4Address(0)), 6: str(IPv6Address(0))}
"""The router of a route whose network is on the link itself, by IP version."""

DHCP_ONLY = frozenset({SubnetType.IPV4_DHCP, SubnetType.IPV6_DHCP})
"""The types of which nova writes only the type: address, routes and everything else come by DHCP."""

_DHCP = (Subnet(type=SubnetType.IPV4_DHCP),)


@frozen
class GuestNic:
    """A NIC as its guest is to configure it.

    :ivar nic: the domain's NIC.
    :ivar mac: the MAC address, by which the guest finds the NIC.
    :ivar vlan: the VLAN id with which the guest is to tag its frames; None for no tag.
    :ivar subnets: the NIC's addresses and how it gets them; empty only for a NIC of a bond.
    """

    nic: Nic
    mac: str
    vlan: int | None
    subnets: tuple[Subnet, ...]


@frozen
class GuestBond:
    """A bond as its guest is to configure it.

    :ivar bond: the domain's bond.
    :ivar nics: the indices of its NICs in :attr:`GuestNetwork.nics`; never empty.
    :ivar mac: the MAC address of the bond and of its VLANs.
    :ivar subnets: the bond's addresses without a VLAN tag and how it gets them.
    :ivar vlans: the VLANs, each with at least one subnet.
    """

    bond: Bond
    nics: tuple[int, ...]
    mac: str
    subnets: tuple[Subnet, ...]
    vlans: tuple[Vlan, ...]


@frozen
class GuestNetwork:
    """The network as the guest is to configure it.

    :ivar nics: the NICs.
    :ivar bonds: the bonds.
    :ivar search: the domains in which the guest looks up host names without a dot.
    :ivar has_servers: whether any subnet has DNS servers.
    """

    nics: Sequence[GuestNic]
    bonds: Sequence[GuestBond]
    search: Sequence[str]
    has_servers: bool

    def search_of(self, *subnets: Subnet) -> Sequence[str]:
        """Return the search domains to write beside the DNS servers of *subnets*.

        A guest has one list of search domains. They stand where DNS servers do: cloud-init's renderers, but netplan's,
        stumble over a device that has search domains alone. Where no DNS servers are given, they can stand nowhere
        else.
        """
        return self.search if any(subnet.dns for subnet in subnets) or not self.has_servers else ()


def guest_network(domain: Domain) -> GuestNetwork | None:
    """Return the network that the guest of *domain* is to configure, None where no NIC or bond has a subnet.

    The guest must then get no network configuration at all: cloud-init would apply one without addresses, and the guest
    would lose the DHCP to which it falls back by itself.
    """
    # A guest finds each NIC by its MAC address; cloud-init rejects the whole file over a NIC without one.
    known = [(nic, nic.mac) for nic in domain.nics if nic.mac is not None]
    free = dict.fromkeys(range(len(known)))  # it keeps their order
    bonds = []
    for bond in domain.bonds:
        members = []
        for name in bond.nics:
            # None is found where another place than the bond's describes the domain's NICs anew.
            member = next((index for index in free if known[index][0].is_called(name)), None)
            if member is not None:
                del free[member]
                members.append(member)
        if members:
            bonds.append(_guest_bond(bond, tuple(members), known[members[0]][1]))
    nics = [_guest_nic(nic, mac, bonded=index not in free) for index, (nic, mac) in enumerate(known)]
    has_some = any(nic.subnets for nic, _ in known) or bonds
    has_servers = any(subnet.dns for subnet in domain.subnets)
    return GuestNetwork(nics, bonds, domain.search, has_servers) if has_some else None


def _guest_bond(bond: Bond, members: tuple[int, ...], mac: str) -> GuestBond:
    vlans = tuple(Vlan(id=v.id, network_id=v.network_id, mtu=v.mtu, subnets=v.subnets or _DHCP) for v in bond.vlans)
    return GuestBond(bond, members, bond.mac or mac, bond.subnets or (() if vlans else _DHCP), vlans)


def _guest_nic(nic: Nic, mac: str, *, bonded: bool) -> GuestNic:
    if bonded:
        # The addresses and VLANs are the bond's.
        return GuestNic(nic, mac, None, ())
    # nova leaves out a NIC without subnets, and cloud-init then leaves it down. Any configuration replaces the guest's
    # own default (DHCP) for every NIC, so a NIC without subnets is configured for DHCP explicitly.
    return GuestNic(nic, mac, nic.guest_vlan, nic.subnets or _DHCP)


def routes_of(subnet: Subnet) -> list[Route]:
    """Return the default route first, as nova does, then the others in their order, none twice."""
    routes = dict.fromkeys(subnet.routes)
    if subnet.gateway is not None:
        routes = {Route(to=ANY_NETWORK[subnet.type.version], via=subnet.gateway): None} | routes
    return sorted(routes, key=lambda route: route.to.prefixlen != 0)


def is_beyond(router: Address, subnets: Iterable[Subnet]) -> bool:
    """Return whether *router* is outside the networks of all *subnets*, those of one device.

    The kernel refuses a route through it unless the route is marked as on-link, or another route leads to the router.
    An IPv6 router's link-local address is on the link of every device.
    """
    if router.version == 6 and router.is_link_local:
        return False
    return not any(subnet.address is not None and router in subnet.address.network for subnet in subnets)


def routers_beyond(subnets: Sequence[Subnet]) -> list[Address]:
    """Return the routers to which the guest needs routes of their own: those of static subnets, beyond all *subnets*.

    Not every renderer of cloud-init can mark a route as on-link. All can write a route without a router
    (:data:`NO_ROUTER`) to the router itself, which has the same effect. Where the guest gets its address by itself,
    that may bring the network in which the router is.
    """
    routers = (route.via for subnet in subnets if subnet.type.static for route in routes_of(subnet))
    return [router for router in dict.fromkeys(routers) if is_beyond(router, subnets)]


def far_gateway(subnet: Subnet) -> Address | None:
    """Return the gateway of *subnet* where the subnet is static and the gateway outside it, else None.

    It is told as a gateway, too, beside the default route: of the routes to such a router, ifupdown can write only the
    one of a gateway, to which it adds the device and "onlink". So is a link-local one, which needs the device.
    """
    gateway, address = subnet.gateway, subnet.address
    is_far = subnet.type.static and gateway is not None and address is not None and gateway not in address.network
    return gateway if is_far else None


def plain(address: Address) -> str:
    """Return *address* as text without its zone.

    The zone of a link-local address ("fe80::1%eth0") names a device of the host and means nothing in a guest.
    """
    return str(address).partition("%")[0]
