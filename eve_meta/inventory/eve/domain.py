"""Makes a domain of an application of EVE-OS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, ip_interface
from uuid import UUID

from attrs import frozen

from eve_meta.values.domain import MAX_SEARCH, Domain, is_hostname
from eve_meta.values.eve_node import Adapter, Application, Device, Port
from eve_meta.values.eve_published import (
    OPENSTACK,
    AdapterStatus,
    AppConfig,
    AppStatus,
    AssignedBy,
    NetworkStatus,
    NetworkType,
)
from eve_meta.values.nic import Address, Interface, Nic, Subnet, SubnetType

IPV6_DHCP = SubnetType.IPV6_DHCPV6_STATEFUL

_TYPES: Mapping[tuple[int, int], SubnetType] = {
    (AssignedBy.INTERNAL_DHCP, 4): SubnetType.IPV4_DHCP,
    (AssignedBy.EXTERNAL_DHCP, 4): SubnetType.IPV4_DHCP,
    (AssignedBy.STATIC, 4): SubnetType.IPV4,
    (AssignedBy.INTERNAL_DHCP, 6): IPV6_DHCP,
    (AssignedBy.EXTERNAL_DHCP, 6): IPV6_DHCP,
    (AssignedBy.SLAAC, 6): SubnetType.IPV6_SLAAC,
    (AssignedBy.STATIC, 6): SubnetType.IPV6,
    # EVE before it published this: in its own networks EVE's DHCP server assigns the addresses, in other networks EVE
    # has observed them.
    (AssignedBy.UNDEFINED, 4): SubnetType.IPV4_DHCP,
    (AssignedBy.UNDEFINED, 6): SubnetType.IPV6_SLAAC,
}
"""How a guest gets an address, by the address' source and IP version. EVE's own addresses (``EVE``) are no guest's."""


@frozen(kw_only=True)
class Surroundings:
    """The values that the applications of a node have in common.

    :ivar networks: the network instances, by uuid.
    :ivar device: the node, None while it is unknown.
    :ivar ports: the addresses of the node's ports, by logical label.
    :ivar applications: all applications.
    """

    networks: Mapping[UUID, NetworkStatus]
    device: Device | None
    ports: Mapping[str, tuple[IPv4Address, ...]]
    applications: tuple[AppStatus, ...]


def domain(
    status: AppStatus, config: AppConfig, surroundings: Surroundings, *, name: str | None, everything: bool
) -> Domain:
    """Return the application of *status* and *config* as a domain.

    :param name: its ``DisplayName``, None where that cannot be a domain's name.
    :param everything: whether the guest gets a domain's documents whatever *config* asks for.
    """
    openstack = everything or config.meta_data_type == OPENSTACK
    discovers = any(adapter.may_discover for adapter in status.adapters)
    return Domain(
        uuid=status.uuid,
        name=name,
        # EVE's own server gives the name as the host name unchanged. Where it cannot be one, Domain.guest_hostname
        # makes one of it.
        hostname=status.name if status.name is not None and is_hostname(status.name) else None,
        # As EVE's own server has it, which knows no SSH keys either.
        launch_index=0,
        # A guest that gets EVE's own endpoints only cannot read user data, so the workers need not have them.
        user_data=config.user_data if openstack else None,
        nics=tuple(_nic(adapter, surroundings) for adapter in status.adapters),
        search=tuple(_search(status, surroundings))[:MAX_SEARCH],
        eve=Application(
            openstack=openstack,
            adapters=tuple(_adapter(adapter, surroundings) for adapter in status.adapters),
            device=surroundings.device,
            others=_others(status, surroundings.applications) if discovers else {},
        ),
    )


def _nic(adapter: AdapterStatus, surroundings: Surroundings) -> Nic:
    network = None if adapter.network is None else surroundings.networks.get(adapter.network)
    # AccessVlanID is for the bridge: a guest behind an access port sees no VLAN tag. EVE does not publish the address
    # of a NIC on the guest's PCI bus.
    return Nic(
        tap=next(iter(adapter.taps), None),
        mac=adapter.mac,
        network_id=adapter.network,
        mtu=adapter.mtu or (None if network is None else network.mtu),
        subnets=tuple(_subnets(adapter, network)),
    )


def _search(status: AppStatus, surroundings: Surroundings) -> Iterable[str]:
    """Return the domains of the host names of the application's networks, none twice."""
    networks = (surroundings.networks.get(each.network) for each in status.adapters if each.network is not None)
    return dict.fromkeys(network.search for network in networks if network is not None and network.search is not None)


def _subnets(adapter: AdapterStatus, network: NetworkStatus | None) -> Iterator[Subnet]:
    is_known = False
    for assigned in adapter.addresses:
        address, assigned_by = assigned.address, assigned.assigned_by
        kind = _TYPES.get((assigned_by, address.version))
        interface = _interface(address, network)
        # A static address is of no use without the length of its prefix. EVE saw it in use, so the guest has it
        # already.
        if kind is not None and not (kind.static and interface is None):
            is_known = True
            yield _subnet(kind, interface, network)
    if not is_known and network is not None and network.type == NetworkType.LOCAL:
        # EVE's own networks have a DHCP server, whatever address that assigns.
        yield _subnet(SubnetType.IPV4_DHCP if _version(network) == 4 else IPV6_DHCP, None, network)


def _version(network: NetworkStatus) -> int:
    return 4 if network.subnet is None else network.subnet.version


def _interface(address: Address, network: NetworkStatus | None) -> Interface | None:
    if network is None or network.subnet is None or address not in network.subnet:
        return None
    return ip_interface(f"{address}/{network.subnet.prefixlen}")


def _subnet(kind: SubnetType, interface: Interface | None, network: NetworkStatus | None) -> Subnet:
    if network is None:
        return Subnet(type=kind, address=interface)
    gateway = network.gateway
    # "If not set we use Gateway as DNS server" (NetworkInstanceConfig).
    dns = network.dns or (() if gateway is None else (gateway,))
    return Subnet(
        type=kind,
        address=interface,
        # Not beside DHCPv4, whose server announces it: the guest would have two default routes.
        gateway=gateway
        if gateway is not None and gateway.version == kind.version and kind is not SubnetType.IPV4_DHCP
        else None,
        dns=tuple(each for each in dns if each.version == kind.version),
    )


def _adapter(adapter: AdapterStatus, surroundings: Surroundings) -> Adapter:
    network = None if adapter.network is None else surroundings.networks.get(adapter.network)
    external = None
    if network is not None:
        labels = sorted(surroundings.ports.keys() & network.ports)
        external = tuple(address for label in labels for address in surroundings.ports[label])
    return Adapter(taps=adapter.taps, external_ipv4=external, may_discover=adapter.may_discover)


def _others(status: AppStatus, applications: Iterable[AppStatus]) -> dict[str, tuple[Port, ...]]:
    return {str(other.uuid): tuple(_ports(other)) for other in applications if other.uuid != status.uuid}


def _ports(status: AppStatus) -> Iterator[Port]:
    for adapter in status.adapters:
        for assigned in adapter.addresses:
            if assigned.assigned_by != AssignedBy.EVE:
                yield Port(name=next(iter(adapter.taps), ""), address=assigned.address)
