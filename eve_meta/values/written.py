"""Rules for domains that people write, beyond those that every :class:`~eve_meta.values.domain.Domain` keeps.

A hypervisor may report what these rules refuse: a pair of NICs with one MAC address, of which libvirt's ``<teaming>``
makes one link, for example. From a person it is a mistake, which would cost the guest an address.
"""

from __future__ import annotations

from collections.abc import Iterator

from eve_meta.values.domain import Domain
from eve_meta.values.nic import Address, Interface, Nic
from eve_meta.values.plain import Fault


def refused(domain: Domain) -> Iterator[Fault]:
    """Yield what a person may not write, as some of it would be without effect."""
    macs: dict[str, int] = {}
    for index, nic in enumerate(domain.nics):
        if nic.mac is not None:
            first = macs.setdefault(nic.mac, index)
            if first != index:
                # A guest finds its NICs by their MAC addresses.
                message = f"expected a MAC address that no other NIC has, got {nic.mac!r}, which nics[{first}] has"
                yield Fault(("nics", index, "mac"), message)
        addresses: dict[Address, int] = {}
        for number, subnet in enumerate(nic.subnets):
            if subnet.address is not None:
                first = addresses.setdefault(subnet.address.ip, number)
                if first != number:
                    message = f"expected an address that no other subnet of the NIC has, got {str(subnet.address)!r}"
                    yield Fault(("nics", index, "subnets", number, "address"), message)


def doubtful(domain: Domain) -> Iterator[Fault]:
    """Yield what a person may write, but hardly means."""
    owners: dict[Address, int] = {}
    for index, nic in enumerate(domain.nics):
        for number, subnet in enumerate(nic.subnets):
            path = ("nics", index, "subnets", number)
            if subnet.address is not None and owners.setdefault(subnet.address.ip, index) != index:
                message = (
                    f"nics[{owners[subnet.address.ip]}] has {subnet.address.ip}, too: the guest answers on one of them"
                )
                yield Fault((*path, "address"), message)
            if subnet.gateway is not None and (network := _missed(subnet.gateway, subnet.address, nic)) is not None:
                yield Fault((*path, "gateway"), _far(subnet.gateway, network))
            for place, route in enumerate(subnet.routes):
                if (network := _missed(route.via, subnet.address, nic)) is not None:
                    yield Fault((*path, "routes", place, "via"), _far(route.via, network))


def _missed(router: Address, address: Interface | None, nic: Nic) -> Interface | None:
    """Return the *address* whose network a *router* should be in; None where the router is within reach.

    An address without neighbours (a /32 or /128) has its router on the link, where nothing else could be. So has a
    link-local router.
    """
    if address is None or router.is_link_local or address.network.num_addresses == 1:
        return None
    networks = [subnet.address.network for subnet in nic.subnets if subnet.address is not None]
    return None if any(router in network for network in networks) else address


def _far(router: Address, address: Interface) -> str:
    return (
        f"{router} is outside {address.network}: the guest is told that it is on the link all the same, "
        "where only a router that answers there is of use"
    )


def untold(domain: Domain) -> Iterator[Fault]:
    """Yield what the guest is not told, unless another place adds what is missing."""
    has_subnets = any(nic.subnets for nic in domain.nics) or bool(getattr(domain, "bonds", ()))
    for index, nic in enumerate(domain.nics):
        of_networks = [name for name in _OF_NETWORKS if getattr(nic, name) is not None]
        named = [name for name in (*of_networks, *_OF_DEVICES) if getattr(nic, name) not in (None, ())]
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


_OF_NETWORKS = ("link", "id", "network_id", "type", "mtu")
"""The fields of a NIC that only documents about networks have."""

_OF_DEVICES = ("vlan", "trusted", "bus", "address", "tags", "subnets")
"""Further fields of a NIC that no document has without its MAC address."""
