"""Lines for OpenSSH's ``known_hosts``: which keys the hosts have that are this hypervisor's guests.

The law: a guest says which keys it has, and nothing about whose they are. The names in a line are the inventory's: the
domain's host name and the addresses of its NICs. A name that two domains have identifies neither, and one such
as "localhost" the machine that reads the line: they stand in none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv6Address, ip_address
from operator import itemgetter
from uuid import UUID

from twisted.internet.defer import Deferred

from eve_meta.admin.domain import known_domains, known_names
from eve_meta.admin.questions import HostKeysOfDomain
from eve_meta.inventory.inventory import Inventory
from eve_meta.state.host_keys import KeptKeys
from eve_meta.supervisor.events import rfc3339
from eve_meta.supervisor.supervisor import Supervisor
from eve_meta.values.domain import Domain
from eve_meta.values.problem import Problem

LOCAL = ("localhost", "localhost.localdomain", "localhost4", "localhost6", "ip6-localhost", "ip6-loopback")
"""Names of the machine itself: those of nss-myhostname and of distributions' /etc/hosts."""

MAX_OTHERS = 3
"""The most other domains that are named for a name that many have, such as the 10.0.0.5 of each guest of a lab."""

_NAME = re.compile(r"[a-z0-9._-]+")
"""What a name may consist of, so that it is one name: sshd(8) knows commas, blanks, wildcards and markers, too."""


def known_hosts(supervisor: Supervisor, inventory: Inventory) -> Deferred[list[HostKeysOfDomain]]:
    """Answer :data:`~eve_meta.admin.questions.KNOWN_HOSTS`."""

    def listed(kept: Mapping[UUID, KeptKeys]) -> list[HostKeysOfDomain]:
        domains = known_domains(supervisor, inventory)
        claims = _claims(domains)
        found = [_of_domain(domain, domains, claims, kept) for uuid, domain in domains.items() if uuid in kept]
        return sorted(filter(itemgetter("keys"), found), key=itemgetter("name", "uuid"))

    return supervisor.host_keys.all().addCallback(listed)


def host_keys(supervisor: Supervisor, inventory: Inventory, name: str) -> Deferred[HostKeysOfDomain]:
    """Answer :data:`~eve_meta.admin.questions.HOST_KEYS`.

    :raises Problem: where *name* means no domain; the result fails with one where that has gone meanwhile.
    """
    wanted = known_names(supervisor, inventory).domain(name)

    def of_domain(kept: Mapping[UUID, KeptKeys]) -> HostKeysOfDomain:
        domains = known_domains(supervisor, inventory)
        if wanted.uuid not in domains:
            raise Problem(f"the domain {wanted.name} ({wanted.uuid}) has gone just now: try again")
        return _of_domain(domains[wanted.uuid], domains, _claims(domains), kept)

    return supervisor.host_keys.all().addCallback(of_domain)


def _claims(domains: Mapping[UUID, Domain]) -> Mapping[str, Sequence[UUID]]:
    """Return which of *domains* have each name. It takes time in proportion to their number."""
    claims: dict[str, list[UUID]] = {}
    for uuid, domain in domains.items():
        for name in names_of(domain):
            claims.setdefault(name, []).append(uuid)
    return claims


def _of_domain(
    domain: Domain,
    domains: Mapping[UUID, Domain],
    claims: Mapping[str, Sequence[UUID]],
    kept: Mapping[UUID, KeptKeys],
) -> HostKeysOfDomain:
    uuid, names = domain.instance_uuid, list(names_of(domain))
    others = {
        name: [domains[each].display_name for each in claims[name][: MAX_OTHERS + 1] if each != uuid][:MAX_OTHERS]
        for name in names
    }
    of_domain = kept.get(uuid)
    # Keys of an instance that the domain no longer is are nobody's.
    if of_domain is not None and of_domain.instance != domain.guest_uuid:
        of_domain = None
    return {
        "name": domain.display_name,
        "uuid": str(uuid),
        "hosts": [name for name in names if not others[name]],
        "shared": {name: owners for name, owners in others.items() if owners},
        "keys": [] if of_domain is None else list(map(str, of_domain.keys)),
        "at": None if of_domain is None else rfc3339(of_domain.at),
    }


def names_of(domain: Domain) -> Iterator[str]:
    """Yield the names by which people reach *domain*, each once: its host name, and the addresses of its NICs."""
    names = [domain.guest_hostname.lower()]
    for subnet in domain.subnets:
        addresses = [subnet.address.ip] if subnet.address is not None else []
        names += map(str, (*addresses, *subnet.floating))
    yield from dict.fromkeys(filter(None, map(_guests_name, names)))


def _guests_name(name: str) -> str | None:
    """Return *name* as a line has it; None where it means no machine, several, or the one on which it is used."""
    try:
        address = ip_address(name)
    except ValueError:
        return None if name in LOCAL or name.endswith(".localhost") or not _NAME.fullmatch(name) else name
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return None
        address = address.ipv4_mapped or address
    if address.is_loopback or address.is_unspecified or address.is_multicast or address.is_link_local:
        return None
    return str(address)
