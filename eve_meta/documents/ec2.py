"""The EC2-compatible tree, versions 1.0 to 2009-04-04, as nova answers it (``get_ec2_metadata``).

A listing names directories with "/" at the end. Clients crawl by listings, and cloud-init gives up everything when one
listed leaf fails, so whatever is listed is answered, if need be with nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv6Address, ip_address
from types import MappingProxyType
from uuid import uuid5

from attrs import frozen

from eve_meta.documents.document import Document, PerVersion, lines, text
from eve_meta.documents.versions import EC2_VERSIONS, LATEST, resolve
from eve_meta.domain import Address, Domain

SINCE: Mapping[str, str] = MappingProxyType(
    {
        "ami-id": "1.0",
        "ami-launch-index": "1.0",
        "ami-manifest-path": "1.0",
        "block-device-mapping": "2007-12-15",
        "hostname": "1.0",
        "instance-action": "2008-09-01",
        "instance-id": "1.0",
        "instance-type": "2007-08-29",
        "kernel-id": "2007-12-15",
        "local-hostname": "2007-01-19",
        "local-ipv4": "1.0",
        "placement": "2008-02-01",
        "public-hostname": "2007-01-19",
        "public-ipv4": "2007-01-19",
        "public-keys": "1.0",
        "ramdisk-id": "2007-12-15",
        "reservation-id": "1.0",
        "security-groups": "1.0",
    }
)
"""The first version that has each name below ``meta-data``. What a name says is the same in all of them."""

DEFAULT_BLOCK_DEVICES: Mapping[str, str] = MappingProxyType({"ami": "vda", "root": "/dev/vda"})
"""What nova says of a server on KVM with one virtio disk; clients expect at least these two names."""

VERSION_LIST = lines((*EC2_VERSIONS, LATEST))


@frozen
class Directory:
    """A path with paths below it; *listing* is what a guest reads at the path itself."""

    listing: Document
    entries: Mapping[str, Document | Directory]


class Ec2:
    """What one domain reads below ``/`` and ``/ec2``."""

    def __init__(self, domain: Domain) -> None:
        self._user_data = None if domain.user_data is None else Document(domain.user_data)
        self._root = lines(["meta-data/"] if self._user_data is None else ["meta-data/", "user-data"])
        self._fixed = _first_ipv4(subnet.address.ip for nic in domain.nics for subnet in nic.subnets if subnet.address)
        entries = self._entries = _entries(domain, self._fixed)
        self._listings = PerVersion(
            lambda version: _listing({name: entry for name, entry in entries.items() if SINCE[name] <= version})
        )

    def find(self, path: tuple[str, ...], peer: str) -> Document | None:
        """The document at *path* below ``/`` or ``/ec2``, None where there is none.

        :param peer: the IP address that asks.
        """
        if not path:
            return VERSION_LIST
        version = resolve(path[0], EC2_VERSIONS)
        if version is None:
            return None
        match path[1:]:
            case ():
                return self._root
            case ("user-data",):
                return self._user_data
            case ("meta-data",):
                return self._listings.get(version)
            case ("meta-data", "local-ipv4") if not self._fixed:
                # Made anew each time: a guest may ask from any number of addresses, and we must not keep one of each.
                return text(_first_ipv4([ip_address(peer)]))
            case ("meta-data", name, *_) if name in self._entries and SINCE[name] <= version:
                return _walk(self._entries, path[2:])
        return None


def _walk(entries: Mapping[str, Document | Directory], path: tuple[str, ...]) -> Document | None:
    entry = entries.get(path[0])
    if isinstance(entry, Directory):
        return _walk(entry.entries, path[1:]) if path[1:] else entry.listing
    return None if path[1:] else entry


def _listing(entries: Mapping[str, Document | Directory]) -> Document:
    return lines(f"{name}/" if isinstance(entries[name], Directory) else name for name in sorted(entries))


def _directory(entries: Mapping[str, Document]) -> Directory:
    return Directory(_listing(entries), entries)


def _entries(domain: Domain, fixed: str) -> dict[str, Document | Directory]:
    """All below ``meta-data``, as the newest version has it."""
    ec2 = domain.ec2
    hostname = text(domain.guest_hostname)
    floating = _first_ipv4(address for nic in domain.nics for subnet in nic.subnets for address in subnet.floating)
    entries: dict[str, Document | Directory] = {
        "ami-id": text(ec2.ami_id or _made_id(domain, "ami")),
        "ami-launch-index": text(domain.launch_index),
        "ami-manifest-path": text("FIXME"),  # nova's constant
        "block-device-mapping": _directory(
            {name: text(device) for name, device in (ec2.block_device_mapping or DEFAULT_BLOCK_DEVICES).items()}
        ),
        "hostname": hostname,
        "instance-action": text("none"),  # nova's constant
        "instance-id": text(ec2.instance_id or _made_id(domain, "i")),
        # Empty when nobody said: a hypervisor without a cloud has no such names, and a made-up one would be believed.
        "instance-type": text(ec2.instance_type or ""),
        "local-hostname": hostname,
        "local-ipv4": text(fixed),
        # "None" is nova's accident (Python's None as text), but what its guests know.
        "placement": _directory({"availability-zone": text(domain.availability_zone)}),
        "public-hostname": hostname,
        "public-ipv4": text(ec2.public_ipv4 or floating),
        "reservation-id": text(ec2.reservation_id or _made_id(domain, "r")),
        "security-groups": lines(ec2.security_groups),
    }
    if domain.public_keys:
        entries["public-keys"] = _public_keys(domain)
    if ec2.kernel_id is not None:
        entries["kernel-id"] = text(ec2.kernel_id)
    if ec2.ramdisk_id is not None:
        entries["ramdisk-id"] = text(ec2.ramdisk_id)
    return entries


def _public_keys(domain: Domain) -> Directory:
    # The one listing that is not made of the names below it: "0=alice" stands for the directory "0".
    return Directory(
        lines(f"{number}={name}" for number, name in enumerate(domain.public_keys)),
        {str(number): _directory({"openssh-key": text(key)}) for number, key in enumerate(domain.public_keys.values())},
    )


def _first_ipv4(addresses: Iterable[Address]) -> str:
    """The first IPv4 address of *addresses*, also one that a dual-stack socket wrote as "::ffff:10.0.0.5"; else ""."""
    for address in addresses:
        plain = address.ipv4_mapped if isinstance(address, IPv6Address) else address
        if plain is not None:
            return str(plain)
    return ""


def _made_id(domain: Domain, prefix: str) -> str:
    """An id as nova writes them (``"i-%08x"``), the same whenever it is asked for.

    nova counts its instances; we only have the uuid. It is hashed, because uuids of version 7 that were made within one
    minute begin alike.
    """
    return f"{prefix}-{uuid5(domain.instance_uuid, prefix).hex[:8]}"
