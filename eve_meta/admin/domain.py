"""Answers about domains as the daemon knows them, from all sources together, and what a NAME can mean to the daemon."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from attrs import evolve, fields

from eve_meta.admin.listing import listed
from eve_meta.admin.questions import DomainName, ListedDomain, PublicDomain, ShownDomain
from eve_meta.admin.resolve import NamedDomain, Names
from eve_meta.inventory.files.folder import SUFFIXES
from eve_meta.inventory.inventory import Inventory
from eve_meta.machine import links
from eve_meta.supervisor.supervisor import Supervisor
from eve_meta.values.checks import is_secret
from eve_meta.values.domain import Domain
from eve_meta.values.plain import make_converter
from eve_meta.values.problem import Problem

_CONVERTER = make_converter()


def known_names(supervisor: Supervisor, inventory: Inventory) -> Names:
    """Return everything that a NAME can mean to the daemon."""
    taps = [state.tap.name for state in supervisor.taps]
    served = {state.tap.name: state.domain for state in supervisor.taps if state.domain is not None}
    written: dict[UUID, list[str]] = {}
    for tap, domains in inventory.written_taps().items():
        for domain in domains:
            written.setdefault(domain.instance_uuid, []).append(tap)
    return Names(
        domains=[
            NamedDomain(name=domain.display_name, uuid=uuid, taps=tuple(sorted(written.get(uuid, ()))))
            for uuid, domain in known_domains(supervisor, inventory).items()
        ],
        taps=taps,
        served={tap: domain.instance_uuid for tap, domain in served.items()},
        broken=len(_broken_files(inventory)),
    )


def known_domains(supervisor: Supervisor, inventory: Inventory) -> Mapping[UUID, Domain]:
    """Return each domain that the daemon knows, by its uuid."""
    # Domains behind a tap first: the supervisor may still serve one that the inventory has just lost.
    by_uuid: dict[UUID, Domain] = {}
    served = (state.domain for state in supervisor.taps if state.domain is not None)
    for domain in (*served, *inventory.domains()):
        by_uuid.setdefault(domain.instance_uuid, domain)
    return by_uuid


def list_domains(supervisor: Supervisor, inventory: Inventory) -> list[DomainName]:
    """Answer :data:`~eve_meta.admin.questions.LIST_DOMAINS`."""
    names = known_names(supervisor, inventory)
    taps = names.taps_by_domain()
    return [
        {"name": domain.name, "uuid": str(domain.uuid), "taps": list(taps[domain.uuid])} for domain in names.domains
    ]


def list_all(supervisor: Supervisor, inventory: Inventory) -> list[ListedDomain]:
    """Answer :data:`~eve_meta.admin.questions.LIST`."""
    origins = {domain.instance_uuid: origins for domain, origins in inventory.described()}
    owners = inventory.owners()
    names = evolve(known_names(supervisor, inventory), processes=owners)
    return listed(names, origins, owners, {*names.taps, *links.names()})


def show_domain(supervisor: Supervisor, inventory: Inventory, name: str) -> ShownDomain:
    """Answer :data:`~eve_meta.admin.questions.SHOW_DOMAIN`.

    :raises Problem: where *name* means no domain, or one that the inventory has just lost.
    """
    domain = _find(supervisor, inventory, name)
    return {"domain": _CONVERTER.unstructure(domain, Domain), "sources": dict(inventory.sources(domain))}


def public_domain(supervisor: Supervisor, inventory: Inventory, name: str) -> PublicDomain:
    """Answer :data:`~eve_meta.admin.questions.PUBLIC_DOMAIN`.

    :raises Problem: as :func:`show_domain`.
    """
    domain = _find(supervisor, inventory, name)
    public, hidden = without_secrets(domain)
    return {
        "domain": _CONVERTER.unstructure(public, Domain),
        "sources": without_keys(inventory.sources(domain), hidden),
        "hidden": list(hidden),
    }


def without_keys(sources: Mapping[str, str], hidden: Collection[str]) -> dict[str, str]:
    """Return *sources* without the keys within the *hidden* fields: where profiles add to a field, each has a line."""
    shown: dict[str, dict[str, None]] = {}
    for path, origin in sources.items():
        name = re.split(r"[.\[]", path, maxsplit=1)[0]
        shown.setdefault(name if name in hidden else path, {})[origin] = None
    return {path: " and ".join(origins) for path, origins in shown.items()}


def without_secrets(domain: Domain) -> tuple[Domain, Sequence[str]]:
    """Return *domain* without the fields that may hold a secret, and the names of those that it has."""
    secret = [field.name for field in fields(Domain) if is_secret(field)]
    hidden = [name for name in secret if getattr(domain, name) not in (None, (), {})]
    shown = {field.name: getattr(domain, field.name) for field in fields(Domain) if field.name not in secret}
    return Domain(**shown), hidden


def _find(supervisor: Supervisor, inventory: Inventory, name: str) -> Domain:
    wanted = known_names(supervisor, inventory).domain(name)
    for domain in inventory.domains():
        if domain.instance_uuid == wanted.uuid:
            return domain
    raise Problem(f"the domain {wanted.name} ({wanted.uuid}) has gone just now: try again")


def _broken_files(inventory: Inventory) -> Collection[str]:
    return {problem.file for problem in inventory.problems() if not problem.warning and problem.file.endswith(SUFFIXES)}
