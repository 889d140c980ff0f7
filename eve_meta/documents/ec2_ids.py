"""The ids of the EC2-compatible tree; where none is given, of nova's form and always the same for the same domain."""

from __future__ import annotations

from uuid import UUID, uuid5

from eve_meta.values.domain import Domain


def instance_id(domain: Domain) -> str:
    """Return the EC2 id of *domain*."""
    if domain.instance_id is not None:
        return _id("i", domain.instance_id)
    return domain.ec2.instance_id or made_id(domain, "i")


def image_id(domain: Domain) -> str:
    """Return the EC2 id of the image from which *domain* was made."""
    return domain.ec2.ami_id or made_id(domain, "ami")


def made_id(domain: Domain, prefix: str) -> str:
    """Make an id of nova's form (``"i-%08x"``).

    nova numbers its instances; a domain has only its uuid. That is hashed, because uuids of version 7 that were made
    within one minute begin alike.
    """
    return _id(prefix, domain.instance_uuid)


def _id(prefix: str, uuid: UUID) -> str:
    return f"{prefix}-{uuid5(uuid, prefix).hex[:8]}"
