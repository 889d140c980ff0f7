"""What ``eve-meta render`` and others ask: the domains as the daemon knows them, from all sources together."""

from __future__ import annotations

from typing import Any

from eve_meta.inventory.inventory import Inventory
from eve_meta.values.domain import Domain
from eve_meta.values.plain import make_converter
from eve_meta.values.problem import Problem

_CONVERTER = make_converter()


def list_domains(inventory: Inventory) -> list[dict[str, str]]:
    """The names and uuids of all domains, behind a tap or not."""
    return [{"name": domain.display_name, "uuid": str(domain.instance_uuid)} for domain in inventory.domains()]


def show_domain(inventory: Inventory, uuid: str) -> dict[str, Any]:
    """All that its guest is told from, and where each field comes from.

    :raises Problem: when there is none.
    """
    for domain in inventory.domains():
        if str(domain.instance_uuid) == uuid:
            return {
                "domain": _CONVERTER.unstructure(domain, Domain),
                "sources": dict(inventory.sources(domain)),
            }
    raise Problem(f"no domain {uuid}: it has gone just now")
