"""Which domain is behind which tap.

A file may name the tap. Else the process that holds it says, by its uuid or its name, whose it is. Where the two
contradict each other, the process is right about who would get the answer, so nobody gets one: better a guest without
metadata than one with another's secrets. The same where several processes seem to be one domain.

A domain whose file names taps is behind these only, so that no process elsewhere gets it by calling itself so. And a
process that is not trusted gets none by its word: with that it can lose its own tap a domain, which takes nothing from
anyone else, but neither bring it one nor count as a second process of a domain that another has.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from eve_meta.domain import Domain
from eve_meta.inventory.interface import FileProblem
from eve_meta.inventory.process import Owner

_REFUSED = "it is not served"


def join(
    domains: Mapping[str, Domain], owners: Mapping[str, Owner]
) -> tuple[dict[str, Domain], tuple[FileProblem, ...]]:
    """The domain behind each tap, and what keeps others from having one.

    Where a domain has no uuid and its process has, it gets the process's: the guest sees that as its DMI system-uuid,
    and cloud-init keeps its cache over a reboot only where the two are equal.

    :param domains: by where they are said; no two with one uuid, name or tap.
    :param owners: the processes that are known, by tap.
    """
    by_tap = {nic.tap: origin for origin, domain in domains.items() for nic in domain.nics if nic.tap is not None}
    by_uuid = {domain.uuid: origin for origin, domain in domains.items() if domain.uuid is not None}
    by_name = {domain.name: origin for origin, domain in domains.items() if domain.name is not None}
    tied = set(by_tap.values())
    problems: list[FileProblem] = []
    taps: dict[str, str] = dict(by_tap)
    processes: dict[str, dict[Owner, str]] = {}
    for tap, owner in owners.items():
        said = by_uuid.get(owner.uuid) if owner.uuid is not None else None
        if said is None and owner.name is not None:
            said = by_name.get(owner.name)
        origin = by_tap.get(tap, said)
        if origin is None:
            continue
        if tap not in by_tap and not owner.trusted:
            message = f"tap {tap}: process {owner.pid} of user {owner.uid} is not trusted to say whose it is"
            problems.append(FileProblem(file=origin, message=message))
        elif tap not in by_tap and origin in tied:
            message = f"expected this domain behind the taps that its nics name, got {_who(tap, owner)}: {_REFUSED}"
            problems.append(FileProblem(file=origin, field="nics", message=message))
        elif _contradicts(domains[origin], owner):
            taps.pop(tap, None)
            problems.append(_refused(origin, domains[origin], tap, owner))
        elif said not in (None, origin):
            taps.pop(tap, None)
            message = f"expected this domain behind {tap}, got {_who(tap, owner)}, which is {said}: {_REFUSED}"
            problems.append(FileProblem(file=origin, field="nics", message=message))
        else:
            taps[tap] = origin
            if owner.trusted:
                processes.setdefault(origin, {}).setdefault(owner, tap)
    for origin, holding in processes.items():
        if len(holding) > 1:
            taps = {tap: each for tap, each in taps.items() if each != origin}
            who = " and ".join(f"{owner.pid} behind {tap}" for owner, tap in holding.items())
            message = f"expected one QEMU process to be this domain, got {who}: none of them is served"
            problems.append(FileProblem(file=origin, message=message))
    known = {origin: _completed(domains[origin], processes.get(origin, {})) for origin in set(taps.values())}
    return {tap: known[origin] for tap, origin in taps.items()}, tuple(problems)


def _who(tap: str, owner: Owner) -> str:
    return f"QEMU process {owner.pid} behind {tap}"


def _contradicts(domain: Domain, owner: Owner) -> bool:
    # Names change and may be alike; they count only where there are no uuids to compare.
    if domain.uuid is not None and owner.uuid is not None:
        return domain.uuid != owner.uuid
    return domain.name is not None and owner.name is not None and domain.name != owner.name


def _refused(origin: str, domain: Domain, tap: str, owner: Owner) -> FileProblem:
    kind = "name" if domain.uuid is None or owner.uuid is None else "uuid"
    mine, theirs = getattr(domain, kind), getattr(owner, kind)
    message = f"expected {_who(tap, owner)} to have {kind} {mine}, got {theirs}: {_REFUSED}"
    return FileProblem(file=origin, field=kind, message=message)


def _completed(domain: Domain, processes: Mapping[Owner, str]) -> Domain:
    for owner in processes:
        if domain.uuid is None and owner.uuid is not None:
            return attrs.evolve(domain, uuid=owner.uuid)
    return domain
