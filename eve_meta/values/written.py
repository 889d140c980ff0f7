"""Rules for domains that people write, beyond those that every :class:`~eve_meta.values.domain.Domain` keeps.

A hypervisor may report what these rules refuse: a pair of NICs with one MAC address, of which libvirt's ``<teaming>``
makes one link, for example. From a person it is a mistake, which would cost the guest an address.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from eve_meta.values.addresses import SERVICE_IPV4, SERVICE_IPV6
from eve_meta.values.checks import quote
from eve_meta.values.domain import Domain
from eve_meta.values.nic import Address, DhcpPolicy, Interface, Nic, Subnet, SubnetType
from eve_meta.values.plain import Fault, field_of

_SERVICE = frozenset({SERVICE_IPV4, *SERVICE_IPV6})


def refused(domain: Domain) -> Iterator[Fault]:
    """Yield what a person may not write: some of it would be without effect, or leave the guest without a network."""
    macs: dict[str, int] = {}
    for index, nic in enumerate(domain.nics):
        if nic.mac is not None:
            first = macs.setdefault(nic.mac, index)
            if first != index:
                # A guest finds its NICs by their MAC addresses.
                message = f"expected a MAC address that no other NIC has, got {nic.mac!r}, which nics[{first}] has"
                yield Fault(("nics", index, "mac"), message)
    for device in _devices(domain):
        if device.mac is not None and not _is_of_a_nic(device.mac):
            message = f"expected the MAC address of a NIC, whose first byte is even, got {device.mac!r}"
            yield Fault((*device.path, "mac"), message)
    yield from _impossible_addresses(domain)
    yield from _unusable_bonds(domain)


def _is_of_a_nic(mac: str) -> bool:
    """Return whether a NIC can have the address *mac*, as the kernel's ``is_valid_ether_addr()`` does."""
    return int(mac[:2], 16) % 2 == 0 and mac != "00:00:00:00:00:00"


def _impossible_addresses(domain: Domain) -> Iterator[Fault]:
    """Yield the addresses that the guest's kernel refuses, or with which the guest would not reach the service."""
    own = {subnet.address.ip for device in _devices(domain) for subnet in device.subnets if subnet.address is not None}
    for device in _devices(domain):
        addresses: dict[Address, int] = {}
        for number, subnet in enumerate(device.subnets):
            path = (*device.path, "subnets", number)
            if subnet.address is not None:
                ip, got = subnet.address.ip, f"got {str(subnet.address)!r}"
                if addresses.setdefault(ip, number) != number:
                    message = f"expected an address that no other subnet {device.of} has, {got}"
                    yield Fault((*path, "address"), message)
                elif str(ip) in _SERVICE:
                    yield Fault((*path, "address"), f"expected another address than the metadata service's, {got}")
                elif ip.is_multicast or ip.is_loopback or ip.is_unspecified:
                    yield Fault((*path, "address"), f"expected an address that a NIC can have, {got}")
            for steps, router in _routers(subnet):
                # 0.0.0.0 and :: are no router: their network is on the link.
                if str(router) in _SERVICE:
                    what = f"expected another router than the metadata service, got {str(router)!r}"
                elif router.is_multicast or router.is_loopback:
                    what = f"expected the address of a router, got {str(router)!r}"
                elif router in own and not router.is_unspecified:
                    what = f"expected the address of a router, got {str(router)!r}, which is the guest's own"
                else:
                    continue
                yield Fault((*path, *steps), what)


def _routers(subnet: Subnet) -> Iterator[tuple[tuple[str | int, ...], Address]]:
    """Yield each router of *subnet*, and the path to it in the subnet."""
    if subnet.gateway is not None:
        yield ("gateway",), subnet.gateway
    for place, route in enumerate(subnet.routes):
        yield ("routes", place, "via"), route.via


def _unusable_bonds(domain: Domain) -> Iterator[Fault]:
    """Yield what is wrong between the bonds of *domain* and its NICs.

    It is no rule of a Domain: merged with another place's description, a NIC may have another tap or MAC address than
    its bond says, which must not make the whole domain wrong.
    """
    joined: set[int] = set()
    for number, bond in enumerate(domain.bonds):
        for place, member in enumerate(bond.nics):
            path = ("bonds", number, "nics", place)
            index = next((at for at, nic in enumerate(domain.nics) if nic.is_called(member)), None)
            if index is None:
                yield Fault(path, f"expected the tap or the MAC address of one of 'nics', got {quote(member)}")
                continue
            if index in joined:
                yield Fault(path, f"expected each NIC in one bond, got {quote(member)}, which is in one already")
            joined.add(index)
            for name in ("subnets", "vlan", "network_id"):
                if getattr(domain.nics[index], name):
                    yield Fault(
                        ("nics", index, name),
                        f"expected none for a NIC of a bond, got some: write them below bonds[{number}]",
                    )


def doubtful(domain: Domain) -> Iterator[Fault]:
    """Yield what a person may write, but hardly means."""
    owners: dict[Address, str] = {}
    gateways: dict[int, tuple[str, Address]] = {}
    for device in _devices(domain):
        for number, subnet in enumerate(device.subnets):
            path = (*device.path, "subnets", number)
            if subnet.address is not None:
                owner = owners.setdefault(subnet.address.ip, device.name)
                if owner != device.name:
                    message = f"{owner} has {subnet.address.ip}, too: the guest answers on one of them"
                    yield Fault((*path, "address"), message)
                if what := _of_all(subnet.address.ip, subnet.address):
                    yield Fault((*path, "address"), what)
            beside = [name for name in ("gateway", "routes") if getattr(subnet, name)]
            leased = device.leased and subnet.type is SubnetType.IPV4_DHCP and subnet.address is not None
            if beside and not subnet.type.static and not leased:
                message = f"the guest gets it beside {subnet.type.value}; its netplan does not, unless it reads NoCloud"
                yield from (Fault((*path, name), message) for name in beside)
            if subnet.gateway is not None:
                first, gateway = gateways.setdefault(subnet.type.version, (device.name, subnet.gateway))
                if gateway != subnet.gateway:
                    message = f"{first} has a gateway of IPv{subnet.type.version}, too: a guest can use one of them"
                    yield Fault((*path, "gateway"), f"{message}, and some fail at the second")
            for steps, router in _routers(subnet):
                if (network := _missed(router, subnet, device)) is not None:
                    yield Fault((*path, *steps), _far(router, network))
                elif subnet.address is not None and (what := _of_all(router, subnet.address)):
                    yield Fault((*path, *steps), what)


@frozen
class _Device:
    """A device of the guest that has addresses.

    :ivar path: the path to it in the domain.
    :ivar of: its kind, as in "of the NIC".
    :ivar mac: the MAC address that is written for it.
    :ivar leased: whether the tap's answers to DHCP have what its first IPv4 subnet with an address has.
    """

    path: tuple[str | int, ...]
    of: str
    mac: str | None
    subnets: tuple[Subnet, ...]
    leased: bool = False

    @property
    def name(self) -> str:
        """The path as people write it."""
        return field_of(Domain, self.path)


def _devices(domain: Domain) -> Iterator[_Device]:
    for index, nic in enumerate(domain.nics):
        yield _Device(("nics", index), "of the NIC", nic.mac, nic.subnets, _is_leased(domain, nic))
    for index, bond in enumerate(domain.bonds):
        yield _Device(("bonds", index), "of the bond", bond.mac, bond.subnets)
        for number, vlan in enumerate(bond.vlans):
            yield _Device(("bonds", index, "vlans", number), "of the VLAN", None, vlan.subnets)


def _is_leased(domain: Domain, nic: Nic) -> bool:
    """Return whether the tap of *nic* tells its guest the addresses by DHCP, as far as the file shows."""
    return domain.dhcp_policy(nic, DhcpPolicy.OFF) is DhcpPolicy.ON and nic.guest_vlan is None


def _missed(router: Address, subnet: Subnet, device: _Device) -> Interface | None:
    """Return the address of *subnet* whose network a *router* should be in; None where the router is within reach.

    An address without neighbours (a /32 or /128) has its router on the link, where nothing else could be. So has a
    link-local router.
    """
    address = subnet.address
    if address is None or router.is_link_local or address.network.num_addresses == 1:
        return None
    networks = [subnet.address.network for subnet in device.subnets if subnet.address is not None]
    return None if any(router in network for network in networks) else address


def _of_all(address: Address, interface: Interface) -> str:
    """Return what *address* is where it belongs to the whole network of *interface*, not to a machine; else ""."""
    network = interface.network
    if network.num_addresses <= 2:  # RFC 3021 and RFC 6164: both addresses are machines'
        return ""
    if address == network.network_address:
        return f"{address} is the address of the network {network} itself, which no machine should have"
    if address.version == 4 and address == network.broadcast_address:
        return f"{address} is the broadcast address of {network}, which no machine can have"
    return ""


def _far(router: Address, address: Interface) -> str:
    return (
        f"{router} is outside {address.network}: the guest is told that it is on the link all the same, "
        "where only a router that answers there is of use"
    )


def untold(domain: Domain) -> Iterator[Fault]:
    """Yield what the guest is not told, unless another place adds what is missing."""
    has_subnets = any(nic.subnets for nic in domain.nics) or bool(domain.bonds)
    by_dhcp_alone = domain.dhcp is DhcpPolicy.ON or any(_is_leased(domain, nic) for nic in domain.nics)
    for index, nic in enumerate(domain.nics):
        by_dhcp = _by_dhcp(nic) if _is_leased(domain, nic) else ()
        of_networks = [name for name in _OF_NETWORKS if getattr(nic, name) is not None and name not in by_dhcp]
        of_devices = [name for name in _OF_DEVICES if getattr(nic, name) not in (None, ()) and name not in by_dhcp]
        named = [*of_networks, *of_devices]
        if nic.mac is None and named:
            message = (
                "the guest finds a NIC by its MAC address, and is not told this of one without 'mac', unless libvirt "
                "or EVE-OS knows the address"
            )
            yield Fault(("nics", index, named[0]), message)
        elif not has_subnets and of_networks:
            message = (
                "the guest is told this only where a NIC has 'subnets'; for DHCP as without it, write "
                "'subnets: [{type: ipv4_dhcp}]'"
            )
            yield Fault(("nics", index, of_networks[0]), message)
    if domain.search and not has_subnets and not by_dhcp_alone:
        message = (
            "the guest is told this only where a NIC has 'subnets'; for DHCP as without it, write "
            "'subnets: [{type: ipv4_dhcp}]'"
        )
        yield Fault(("search",), message)
    for number, bond in enumerate(domain.bonds):
        for place, member in enumerate(bond.nics):
            if any(nic.mac is None and nic.is_called(member) for nic in domain.nics):
                message = "a bond cannot have a NIC without 'mac', unless libvirt or EVE-OS knows the address"
                yield Fault(("bonds", number, "nics", place), message)


_OF_NETWORKS = ("link", "id", "network_id", "type", "mtu")
"""The fields of a NIC that only documents about networks have."""

_OF_DEVICES = ("vlan", "trusted", "bus", "address", "tags", "subnets")
"""Further fields of a NIC that no document has without its MAC address."""


def _by_dhcp(nic: Nic) -> tuple[str, ...]:
    """Return the fields of *nic* that its tap's answers to DHCP have, for a guest without documents, too."""
    return ("mtu", "subnets") if all(subnet.type.version == 4 for subnet in nic.subnets) else ("mtu",)
