"""``network/interfaces/macs/<mac>/…`` of AWS's trees, and the addresses in the EC2-compatible tree.

Of AWS's entries for an interface, the ids of AWS's API (VPC, subnet, security groups) and the VPC's networks are left
out: a hypervisor has none. Without a ``vpc-id``, cloud-init writes the guest's network configuration anew at every
boot, which is right where NICs come and go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from uuid import uuid5

from eve_meta.documents.document import lines, text
from eve_meta.documents.listing import Entry, Listing, in_order
from eve_meta.documents.network import plain
from eve_meta.values.domain import Domain
from eve_meta.values.nic import Address, Interface, Nic


def fixed_addresses(domain: Domain) -> list[Address]:
    """Return all addresses that the NICs and bonds of *domain* are known to have."""
    return [subnet.address.ip for subnet in domain.subnets if subnet.address is not None]


def floating_addresses(domain: Domain) -> list[Address]:
    """Return all addresses of other networks that are forwarded to *domain*."""
    return [address for subnet in domain.subnets for address in subnet.floating]


def first_ipv4(addresses: Iterable[Address]) -> str:
    """Return the first IPv4 address of *addresses*, "" where there is none."""
    return str(next(_ipv4s(addresses), ""))


def nics_by_mac(domain: Domain) -> dict[str, Nic]:
    """Return the NICs of *domain* by MAC address, in their order; the first where several have one address."""
    nics: dict[str, Nic] = {}
    for nic in domain.nics:
        if nic.mac is not None:
            nics.setdefault(nic.mac, nic)
    return nics


def network(domain: Domain) -> dict[str, Entry]:
    """Return the entries below ``meta-data/network`` of a *domain* that has a NIC with a MAC address."""
    return {"interfaces": Listing(partial(_interfaces_directory, domain))}


def _interfaces_directory(domain: Domain) -> dict[str, Entry]:
    return {"macs": Listing(partial(_macs, domain))}


def _macs(domain: Domain) -> dict[str, Entry]:
    return in_order(
        {
            mac: Listing(partial(_nic, domain, mac, nic, number))
            for number, (mac, nic) in enumerate(nics_by_mac(domain).items())
        }
    )


def _nic(domain: Domain, mac: str, nic: Nic, number: int) -> dict[str, Entry]:
    interfaces = _interfaces(nic)
    values = {
        "device-number": [str(number)],
        "interface-id": [f"eni-{uuid5(domain.instance_uuid, f'eni {mac}').hex[:17]}"],
        "ipv6s": [plain(interface.ip) for interface in interfaces if interface.version == 6],
        "local-hostname": [domain.guest_hostname],
        "local-ipv4s": [str(interface.ip) for interface in interfaces if interface.version == 4],
        "mac": [mac],
        "owner-id": [domain.project_id] if domain.project_id is not None else [],
        "public-ipv4s": [str(address) for subnet in nic.subnets for address in _ipv4s(subnet.floating)],
        "security-groups": list(domain.ec2.security_groups),
        # One IPv4 network only: the name is singular.
        "subnet-ipv4-cidr-block": _networks(interfaces, 4)[:1],
        "subnet-ipv6-cidr-blocks": _networks(interfaces, 6),
    }
    # An entry without values is 404 with AWS, too.
    entries: dict[str, Entry] = {name: lines(each) for name, each in values.items() if each}
    associations = _associations(nic)
    if associations:
        entries["ipv4-associations"] = Listing(partial(_texts, associations))
    return in_order(entries)


def _associations(nic: Nic) -> dict[str, str]:
    """Return the IPv4 addresses of *nic* by the floating addresses that are forwarded to them."""
    return {
        str(floating): str(subnet.address.ip)
        for subnet in nic.subnets
        if subnet.address is not None and subnet.address.version == 4
        for floating in _ipv4s(subnet.floating)
    }


def _texts(values: dict[str, str]) -> dict[str, Entry]:
    return {name: text(value) for name, value in values.items()}


def _interfaces(nic: Nic) -> list[Interface]:
    return [subnet.address for subnet in nic.subnets if subnet.address is not None]


def _networks(interfaces: Iterable[Interface], version: int) -> list[str]:
    return list(dict.fromkeys(str(interface.network) for interface in interfaces if interface.version == version))


def _ipv4s(addresses: Iterable[Address]) -> Iterator[IPv4Address]:
    """Yield the IPv4 addresses of *addresses*, those of dual-stack sockets ("::ffff:10.0.0.5") included."""
    for address in addresses:
        ipv4 = address.ipv4_mapped if isinstance(address, IPv6Address) else address
        if ipv4 is not None:
            yield ipv4
