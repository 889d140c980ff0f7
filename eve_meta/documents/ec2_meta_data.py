"""What is below ``meta-data`` in the EC2-compatible tree: what nova says there, and what AWS's newer versions add.

What only AWS itself could say is not there: ``iam/`` (nobody here gives credentials), events, ids of its own API such
as ``vpc-id``. Nothing is made up that a client would act on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from uuid import uuid5

from eve_meta.documents.document import lines, text
from eve_meta.documents.ec2_network import first_ipv4, fixed_addresses, floating_addresses, network, nics_by_mac
from eve_meta.documents.listing import Entry, Listing, in_order
from eve_meta.documents.network import plain
from eve_meta.values.domain import Domain

DEFAULT_BLOCK_DEVICES: Mapping[str, str] = MappingProxyType({"ami": "vda", "root": "/dev/vda"})
"""What nova says of a server on KVM with one virtio disk; clients expect at least these two names."""

SERVICES = Listing(lambda: {"domain": text("amazonaws.com"), "partition": text("aws")})
"""Where AWS's services are: what its clients take for granted when nobody tells them. It is about AWS, not about us.
Nothing else would be safe: agents of AWS images make host names of it and send them signed requests, and any other name
is one that somebody else might own."""

_ZONE_OF_REGION = re.compile(r"(.*\d)[a-z]\Z")

_TAG_KEY = re.compile(r"(?!(\.{1,2}|_index)\Z)[A-Za-z0-9+.,_:@-]+\Z")


def meta_data(domain: Domain) -> dict[str, Entry]:
    """All below ``meta-data``, as the newest version has it."""
    ec2 = domain.ec2
    hostname = text(domain.guest_hostname)
    entries: dict[str, Entry] = {
        "ami-id": text(image_id(domain)),
        "ami-launch-index": text(domain.launch_index or 0),
        "ami-manifest-path": text("FIXME"),  # nova's constant
        "block-device-mapping": Listing(partial(_block_devices, domain)),
        "hostname": hostname,
        "instance-action": text("none"),  # nova's constant
        "instance-id": text(instance_id(domain)),
        "instance-life-cycle": text("on-demand"),  # AWS's word for what is not taken away when the price rises
        # Empty when nobody said: a hypervisor without a cloud has no such names, and a made-up one would be believed.
        "instance-type": text(ec2.instance_type or ""),
        "local-hostname": hostname,
        # Ec2.find() fills in an unknown one.
        "local-ipv4": text(first_ipv4(fixed_addresses(domain))),
        "placement": Listing(partial(_placement, domain)),
        "public-hostname": hostname,
        "public-ipv4": text(ec2.public_ipv4 or first_ipv4(floating_addresses(domain))),
        "reservation-id": text(ec2.reservation_id or _made_id(domain, "r")),
        "security-groups": lines(ec2.security_groups),
        "services": SERVICES,
    }
    if domain.public_keys:
        entries["public-keys"] = Listing(partial(_public_keys, domain))
    if ec2.kernel_id is not None:
        entries["kernel-id"] = text(ec2.kernel_id)
    if ec2.ramdisk_id is not None:
        entries["ramdisk-id"] = text(ec2.ramdisk_id)
    macs = nics_by_mac(domain)
    if macs:
        entries["mac"] = text(next(iter(macs)))
        entries["network"] = Listing(partial(network, domain))
    ipv6 = [address for address in fixed_addresses(domain) if address.version == 6]
    if ipv6:
        entries["ipv6"] = text(plain(ipv6[0]))
    if any(map(_TAG_KEY.match, domain.meta)):
        entries["tags"] = Listing(partial(_tags, domain))
    return in_order(entries)


def instance_id(domain: Domain) -> str:
    """The EC2 id of *domain*."""
    return domain.ec2.instance_id or _made_id(domain, "i")


def image_id(domain: Domain) -> str:
    """The EC2 id of what *domain* was made from."""
    return domain.ec2.ami_id or _made_id(domain, "ami")


def region(domain: Domain) -> str | None:
    """The region of *domain*: what was given, else made of the availability zone; None for the unknown.

    A zone of AWS is its region and a letter ("eu-west-1a"). Of a zone with another kind of name ("nova") we cannot
    tell the region; clients would make host names of a wrong one.
    """
    if domain.ec2.region is not None:
        return domain.ec2.region
    zone = _ZONE_OF_REGION.match(domain.availability_zone or "")
    return zone[1] if zone else None


def _block_devices(domain: Domain) -> dict[str, Entry]:
    mapping = domain.ec2.block_device_mapping or DEFAULT_BLOCK_DEVICES
    return in_order({name: text(device) for name, device in mapping.items()})


def _placement(domain: Domain) -> dict[str, Entry]:
    # "None" is nova's accident (Python's None as text), but what its guests know.
    entries: dict[str, Entry] = {"availability-zone": text(domain.availability_zone)}
    known = region(domain)
    if known is not None:
        entries["region"] = text(known)
    return entries


def _public_keys(domain: Domain) -> dict[str, Entry]:
    # The one listing that is not made of the names below it: "0=alice" stands for the directory "0".
    return {
        str(number): Listing(partial(_public_key, key), line=f"{number}={name}")
        for number, (name, key) in enumerate(domain.public_keys.items())
    }


def _public_key(key: str) -> dict[str, Entry]:
    return {"openssh-key": text(key)}


def _tags(domain: Domain) -> dict[str, Entry]:
    return {"instance": Listing(partial(_instance_tags, domain))}


def _instance_tags(domain: Domain) -> dict[str, Entry]:
    # AWS refuses other keys too, for the same reason: a key is a line of a listing and a segment of a path. "=" is fine
    # for AWS, but cloud-init takes the line "0=x" for a public key and asks for the wrong path.
    return in_order({key: text(value) for key, value in domain.meta.items() if _TAG_KEY.match(key)})


def _made_id(domain: Domain, prefix: str) -> str:
    """An id as nova writes them (``"i-%08x"``), the same whenever it is asked for.

    nova counts its instances; we only have the uuid. It is hashed, because uuids of version 7 that were made within one
    minute begin alike.
    """
    return f"{prefix}-{uuid5(domain.instance_uuid, prefix).hex[:8]}"
