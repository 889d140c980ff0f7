"""What a tap answers to its guest's DHCP, from the subnets of its NIC.

DHCP gives one address. It is that of the first IPv4 subnet whose address the documents leave to DHCP (``ipv4_dhcp``
with an ``address``), else that of the first static one. The routes are this subnet's; the documents tell the guest of
all others. Where there is no such address, the guest gets a link-local one and the route to the service, which is
enough to read the documents.

The options of an answer have little room. What does not fit is left out as a whole, the least important first, and is
among the :attr:`DhcpLease.faults`. NTP servers (option 42) are in no answer, because no field of a domain has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from uuid import uuid5

from attrs import evolve, frozen

from eve_meta.documents.dhcp_options import Code, addresses, option, routes, search_list
from eve_meta.documents.network import is_beyond, routes_of
from eve_meta.values.checks import BadValue
from eve_meta.values.dhcp import MAX_OPTIONS, SERVER_ID, DhcpTemplate
from eve_meta.values.domain import Domain
from eve_meta.values.nic import DhcpPolicy, DhcpServerPolicy, Subnet, SubnetType
from eve_meta.values.plain import Fault

DHCP_LEASE_TIME = 3600
"""Seconds, as AWS has it, and libvirt's dnsmasq. A guest asks again after half of it, and only then learns of a change.
A shorter lease would tell it sooner, and would end while the host reboots; a longer one would spare nothing, since an
answer costs less than a microsecond."""

_NOWHERE = IPv4Address(0)
"""The router of a network that is on the link itself (RFC 3442)."""

_SERVICE = IPv4Network(SERVER_ID)

_LINK_LOCAL = IPv4Network("169.254.0.0/16")
_FREE = tuple(third for third in range(1, 255) if third not in (169, 170))
"""The third bytes of the link-local addresses that guests get. RFC 3927 reserves 0 and 255; clouds have their services
in 169.254.169.0/24 and 169.254.170.0/24."""

_Path = tuple[str | int, ...]
_Route = tuple[IPv4Network, IPv4Address]


@frozen
class DhcpLease:
    """What a tap answers.

    :ivar is_link_local: whether the address is a made one, because the domain has none for the NIC.
    :ivar faults: what the guest does not get by DHCP, each with the path to its field in the domain.
    """

    template: DhcpTemplate
    is_link_local: bool
    faults: Sequence[Fault]


def nic_of_tap(domain: Domain, tap: str) -> int | None:
    """Return the index of the NIC of *domain* whose end on the host *tap* is, None where that is unknown.

    It is the one that names the tap, else the only one that names none.
    """
    named = [index for index, nic in enumerate(domain.nics) if nic.tap == tap]
    unnamed = [index for index, nic in enumerate(domain.nics) if nic.tap is None]
    return next(iter(named), unnamed[0] if len(unnamed) == 1 else None)


def denies_servers(policy: DhcpServerPolicy, dhcp: DhcpPolicy) -> bool:
    """Return whether a tap of these policies drops what its guest sends as a DHCP server."""
    return policy is DhcpServerPolicy.DENY or (policy is DhcpServerPolicy.AUTO and dhcp is DhcpPolicy.ON)


def dhcp_lease(domain: Domain, nic: int | None, tap: str) -> DhcpLease:
    """Return what *tap* answers to the guest of *domain*.

    :param nic: the index of its NIC, None where that is unknown.
    """
    device = _device(domain, nic)
    known = _known_subnet(device)
    faults = list(_without_address(device))
    if known is not None:
        options, left_out = _fitting(_of_subnet(domain, device, known))
        try:
            template = DhcpTemplate(known.interface.ip, DHCP_LEASE_TIME, options)
            return DhcpLease(template, False, (*_beside(device, known), *left_out))
        except BadValue as error:
            faults = [Fault((*known.path, "address"), f"{error}: by DHCP the guest gets a link-local one")]
    mac = None if nic is None else domain.nics[nic].mac
    options, left_out = _fitting(_of_link_local(domain, device))
    template = DhcpTemplate(link_local_address(domain, mac or tap), DHCP_LEASE_TIME, options)
    return DhcpLease(template, True, (*faults, *left_out))


def link_local_address(domain: Domain, nic: str) -> IPv4Address:
    """Return the link-local address of a NIC of *domain* (RFC 3927), the same at each boot.

    :param nic: what tells the NIC from the domain's others: its MAC address, or its tap.
    """
    number = uuid5(domain.instance_uuid, f"link-local {nic}").int
    third, fourth = divmod(number % (len(_FREE) * 256), 256)
    return _LINK_LOCAL.network_address + (_FREE[third] * 256 + fourth)


# -- which address --


@frozen
class _Device:
    """A NIC, or the bond that it is a part of.

    :ivar path: the path to it in the domain.
    """

    path: _Path
    subnets: Sequence[Subnet]
    mtu: int | None


@frozen
class _KnownSubnet:
    """The subnet whose address DHCP gives.

    :ivar path: the path to it in the domain.
    """

    path: _Path
    subnet: Subnet
    interface: IPv4Interface


def _device(domain: Domain, index: int | None) -> _Device:
    """Return what the guest configures by the answers that come through the NIC of that index."""
    if index is None:
        return _Device((), (), None)
    nic = domain.nics[index]
    for number, bond in enumerate(domain.bonds):
        if any(map(nic.is_called, bond.nics)):
            return _Device(("bonds", number), bond.subnets, bond.mtu or nic.mtu)
    # Where the guest is to tag its frames, the addresses are those of the device that does so. DHCP is not tagged.
    return _Device(("nics", index), () if nic.guest_vlan is not None else nic.subnets, nic.mtu)


def _known_subnets(device: _Device) -> list[_KnownSubnet]:
    return [
        _KnownSubnet((*device.path, "subnets", number), subnet, subnet.address)
        for number, subnet in enumerate(device.subnets)
        if isinstance(subnet.address, IPv4Interface)
    ]


def _known_subnet(device: _Device) -> _KnownSubnet | None:
    return min(_known_subnets(device), key=lambda known: known.subnet.type.static, default=None)


def _beside(device: _Device, given: _KnownSubnet) -> Iterator[Fault]:
    """Yield the further addresses of *device*."""
    for known in _known_subnets(device):
        if known != given:
            message = f"DHCP gives {given.interface.ip} alone: this one reaches the guest by its documents"
            yield Fault((*known.path, "address"), message)


def _without_address(device: _Device) -> Iterator[Fault]:
    """Yield what expects DHCP to give an address that nobody has written."""
    for number, subnet in enumerate(device.subnets):
        if subnet.type is SubnetType.IPV4_DHCP and subnet.address is None:
            message = "no 'address' is given: by DHCP the guest gets a link-local one, and no route but the service's"
            yield Fault((*device.path, "subnets", number), message)


# -- which options --


@frozen
class _Candidate:
    """An option that an answer has if it fits. It then replaces one of the same code.

    :ivar what: what the guest misses without it, as text for people; "" where it always fits.
    :ivar field: the path to its field in the domain.
    """

    code: Code
    value: bytes
    what: str = ""
    field: _Path = ()


def _fitting(candidates: Iterable[_Candidate]) -> tuple[bytes, Sequence[Fault]]:
    """Return the options that fit, of *candidates* in the order of importance, and the faults about the others."""
    values: dict[Code, bytes] = {}
    faults: list[Fault] = []
    for candidate in candidates:
        wanted = values | {candidate.code: candidate.value}
        if sum(2 + len(value) for value in wanted.values()) <= MAX_OPTIONS:
            values = wanted
        else:
            message = f"DHCP leaves out {candidate.what}, for which its {MAX_OPTIONS} bytes of options have no room"
            faults.append(Fault(candidate.field, message))
    return b"".join(map(option, values, values.values())), faults


def _of_subnet(domain: Domain, device: _Device, known: _KnownSubnet) -> Iterator[_Candidate]:
    yield _Candidate(Code.SUBNET_MASK, known.interface.netmask.packed)
    whole = _routes(known)
    default = [route for route in whole if route[0].prefixlen == 0][:1]
    if default:
        yield _Candidate(Code.ROUTER, default[0][1].packed)
    needed = routes(_on_link(default, known))
    yield _Candidate(Code.CLASSLESS_ROUTES, needed)
    yield _Candidate(Code.WINDOWS_ROUTES, needed)
    yield from _of_device(domain, device)
    everything = routes(_on_link(whole, known))
    if everything != needed:
        yield _Candidate(Code.CLASSLESS_ROUTES, everything, "the routes", (*known.path, "routes"))
    yield from _of_search(domain)
    if everything != needed:
        yield _Candidate(Code.WINDOWS_ROUTES, everything, "the routes for old Windows", (*known.path, "routes"))


def _of_link_local(domain: Domain, device: _Device) -> Iterator[_Candidate]:
    yield _Candidate(Code.SUBNET_MASK, _LINK_LOCAL.netmask.packed)
    to_service = routes([(_SERVICE, _NOWHERE)])
    yield _Candidate(Code.CLASSLESS_ROUTES, to_service)
    yield _Candidate(Code.WINDOWS_ROUTES, to_service)
    # No DNS servers, which only a router could reach.
    yield from _of_device(domain, evolve(device, subnets=()))
    yield from _of_search(domain)


def _of_device(domain: Domain, device: _Device) -> Iterator[_Candidate]:
    if device.mtu is not None:
        yield _Candidate(Code.MTU, device.mtu.to_bytes(2, "big"))
    servers: dict[IPv4Address, _Path] = {}
    for number, subnet in enumerate(device.subnets):
        for server in subnet.dns:
            if isinstance(server, IPv4Address):
                servers.setdefault(server, (*device.path, "subnets", number, "dns"))
    if servers:
        yield _Candidate(Code.DNS_SERVERS, addresses(servers), "the DNS servers", next(iter(servers.values())))
    host, _, own = domain.guest_hostname.partition(".")
    yield _Candidate(Code.HOST_NAME, host.encode("ascii"), "the host name", ("hostname",))
    # Clients that know no search list take this one for it (RFC 2132 section 3.17).
    name = domain.search[0] if domain.search else own
    if name:
        field = "search" if domain.search else "hostname"
        yield _Candidate(Code.DOMAIN_NAME, name.encode("ascii"), "the domain name", (field,))


def _of_search(domain: Domain) -> Iterator[_Candidate]:
    if domain.search:
        yield _Candidate(Code.DOMAIN_SEARCH, search_list(domain.search), "the search domains", ("search",))


def _routes(known: _KnownSubnet) -> list[_Route]:
    return [
        (route.to, route.via)
        for route in routes_of(known.subnet)
        if isinstance(route.to, IPv4Network) and isinstance(route.via, IPv4Address)
    ]


def _on_link(wanted: Sequence[_Route], known: _KnownSubnet) -> list[_Route]:
    """Return the routes *wanted*, after those to what is on the link: the service, and routers outside the subnet."""
    beyond = (router for _, router in wanted if router != _NOWHERE and is_beyond(router, [known.subnet]))
    on_link = dict.fromkeys((_SERVICE, *map(IPv4Network, beyond)), _NOWHERE)
    written = {network for network, _ in wanted}
    return [(network, router) for network, router in on_link.items() if network not in written] + [*wanted]
