"""The entries below ``meta-data`` in the EC2-compatible tree: nova's, and those that AWS's newer versions add.

Entries that only AWS itself could fill are left out: ``iam/`` (nobody here issues credentials), events, ids of AWS's
API such as ``vpc-id``. No value is invented that a client would act on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

from eve_meta.documents.document import lines, text
from eve_meta.documents.ec2_ids import image_id, instance_id, made_id
from eve_meta.documents.ec2_network import first_ipv4, fixed_addresses, floating_addresses, network, nics_by_mac
from eve_meta.documents.listing import Entry, Listing, in_order
from eve_meta.documents.network import plain
from eve_meta.values.domain import Domain

DEFAULT_BLOCK_DEVICES: Mapping[str, str] = MappingProxyType({"ami": "vda", "root": "/dev/vda"})
"""The mapping that nova has for a server on KVM with one virtio disk; clients expect at least these two names."""

SERVICES = Listing(lambda: {"domain": text("amazonaws.com"), "partition": text("aws")})
"""The domain and partition of AWS's services: the values that AWS's clients assume by default. They are about AWS, not
about the host. No other values would be safe: agents of AWS images make host names of them and send signed requests
there, and any other name is one that somebody else might own."""

_ZONE_OF_REGION = re.compile(r"(.*\d)[a-z]\Z")

_TAG_KEY = re.compile(r"(?!(\.{1,2}|_index)\Z)[A-Za-z0-9+.,_:@-]+\Z")


def meta_data(domain: Domain) -> dict[str, Entry]:
    """Return all entries below ``meta-data``, as the newest version has them."""
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
        # AWS's word for an instance that is not taken away when the price rises.
        "instance-life-cycle": text("on-demand"),
        # Empty where none is given: a hypervisor without a cloud has no such names, and clients would believe an
        # invented one.
        "instance-type": text(ec2.instance_type or ""),
        "local-hostname": hostname,
        # Ec2.find() fills in the peer's address where this is empty.
        "local-ipv4": text(first_ipv4(fixed_addresses(domain))),
        "placement": Listing(partial(_placement, domain)),
        "public-hostname": hostname,
        "public-ipv4": text(ec2.public_ipv4 or first_ipv4(floating_addresses(domain))),
        "reservation-id": text(ec2.reservation_id or made_id(domain, "r")),
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


def region(domain: Domain) -> str | None:
    """Return the region of *domain*: the given one, else that of the availability zone, None where it is unknown.

    A zone of AWS is named by its region and a letter ("eu-west-1a"). The name of another zone ("nova") has no region in
    it, and clients would make host names of a wrong one.
    """
    if domain.ec2.region is not None:
        return domain.ec2.region
    zone = _ZONE_OF_REGION.match(domain.availability_zone or "")
    return zone[1] if zone else None


def _block_devices(domain: Domain) -> dict[str, Entry]:
    mapping = domain.ec2.block_device_mapping or DEFAULT_BLOCK_DEVICES
    return in_order({name: text(device) for name, device in mapping.items()})


def _placement(domain: Domain) -> dict[str, Entry]:
    # "None" is an accident of nova (Python's None as text), but its guests know it.
    entries: dict[str, Entry] = {"availability-zone": text(domain.availability_zone)}
    known = region(domain)
    if known is not None:
        entries["region"] = text(known)
    return entries


def _public_keys(domain: Domain) -> dict[str, Entry]:
    # The only listing whose lines are not the names below it: "0=alice" stands for the directory "0".
    return {
        str(number): Listing(partial(_public_key, key), line=f"{number}={name}")
        for number, (name, key) in enumerate(domain.public_keys.items())
    }


def _public_key(key: str) -> dict[str, Entry]:
    return {"openssh-key": text(key)}


def _tags(domain: Domain) -> dict[str, Entry]:
    return {"instance": Listing(partial(_instance_tags, domain))}


def _instance_tags(domain: Domain) -> dict[str, Entry]:
    # AWS refuses other keys, too, for the same reason: a key is a line of a listing and a segment of a path. AWS allows
    # "=", but cloud-init takes a line "0=x" for a public key and asks for the wrong path.
    return in_order({key: text(value) for key, value in domain.meta.items() if _TAG_KEY.match(key)})
