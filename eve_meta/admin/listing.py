"""The domains that ``eve-meta list`` shows, found alike with a daemon and without.

Imports no Twisted: a command should start at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from uuid import UUID

from eve_meta.admin.questions import ListedDomain
from eve_meta.admin.resolve import Names
from eve_meta.inventory.vmm.process import Owner


def listed(
    names: Names, origins: Mapping[UUID, Sequence[str]], owners: Mapping[str, Owner], present: Collection[str]
) -> list[ListedDomain]:
    """Return every domain, sorted by name. It takes time in proportion to their number.

    :param names: the domains, with the taps that are served and the processes that hold taps.
    :param origins: the places that describe a domain, by its uuid.
    :param owners: the process that holds a tap.
    :param present: the taps and other network devices that there are.
    """
    taps, served, there = names.taps_by_domain(), set(names.served.values()), {*present, *owners}

    def state(uuid: UUID) -> str:
        if uuid in served:
            return "served"
        return "off" if there.isdisjoint(taps[uuid]) else "not-served"

    domains: list[ListedDomain] = [
        {
            "name": domain.name,
            "uuid": str(domain.uuid),
            "state": state(domain.uuid),
            "taps": list(taps[domain.uuid]),
            "origins": list(origins.get(domain.uuid, ())),
        }
        for domain in names.domains
    ]
    known = {tap for of_domain in taps.values() for tap in of_domain}
    found = domains + list(_strangers({tap: owner for tap, owner in owners.items() if tap not in known}))
    return sorted(found, key=lambda each: (each["name"] or "", each["uuid"] or ""))


def _strangers(owners: Mapping[str, Owner]) -> Iterator[ListedDomain]:
    """Yield the processes that hold taps of no known domain."""
    taps: dict[Owner, list[str]] = {}
    for tap, owner in owners.items():
        taps.setdefault(owner, []).append(tap)
    for owner, held in taps.items():
        yield {
            "name": owner.name,
            "uuid": None if owner.uuid is None else str(owner.uuid),
            "state": "not-served",
            "taps": sorted(held),
            "origins": [str(owner)],
        }
