"""``dynamic/instance-identity``: AWS's document that identifies an instance.

AWS signs it, so that a guest can prove its identity to others. A hypervisor has no key that anybody trusts: the
signatures (``pkcs7``, ``signature``, ``rsa2048``) are neither served nor listed, and whoever wants proof finds none.
"""

from __future__ import annotations

import json
from functools import partial

from eve_meta.documents.document import Document
from eve_meta.documents.ec2_ids import image_id, instance_id
from eve_meta.documents.ec2_meta_data import region
from eve_meta.documents.ec2_network import first_ipv4, fixed_addresses
from eve_meta.documents.listing import Entry, Listing
from eve_meta.values.domain import Domain

FORMAT = "2017-09-30"
"""AWS's version of the document's format."""


def dynamic(domain: Domain) -> dict[str, Entry]:
    """Return the entries below ``dynamic``."""
    return {"instance-identity": Listing(partial(_instance_identity, domain))}


def _instance_identity(domain: Domain) -> dict[str, Entry]:
    return {"document": _document(domain)}


def _document(domain: Domain) -> Document:
    ec2 = domain.ec2
    keys = {
        "accountId": domain.project_id,
        "architecture": None,
        "availabilityZone": domain.availability_zone,
        "billingProducts": None,
        "devpayProductCodes": None,
        "imageId": image_id(domain),
        "instanceId": instance_id(domain),
        "instanceType": ec2.instance_type,
        "kernelId": ec2.kernel_id,
        "marketplaceProductCodes": None,
        "pendingTime": None,
        "privateIp": first_ipv4(fixed_addresses(domain)) or None,
        "ramdiskId": ec2.ramdisk_id,
        "region": region(domain),
        "version": FORMAT,
    }
    # One key a line, and '" : "' between key and value, as AWS writes them: scripts parse them with grep and awk. All
    # keys are present, because clients index them; AWS, too, writes null for what an instance does not have.
    return Document(json.dumps(keys, indent=2, separators=(",", " : ")).encode("ascii"))
