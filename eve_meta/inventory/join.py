"""Which domain is behind which tap.

Three may say it: a person, who wrote the tap's name into the domain's file or metadata; a hypervisor that was asked;
and the process that holds the tap, by its uuid or its name. Where two contradict each other, the hypervisor and the
process are right about who would get the answer, so nobody gets one: better a guest without metadata than one with
another's secrets. The same where several processes seem to be one domain.

A domain of which people wrote the taps is behind these only, so that no process elsewhere gets it by calling itself
so. One that a hypervisor knows is behind no tap that the hypervisor, when asked, does not give it. And a process that
is not trusted gets none by its word: with that it can lose its own tap a domain, which takes nothing from anyone else,
but neither bring it one nor count as a second process of a domain that another has.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain

import attrs
from attrs import frozen

from eve_meta.domain import Domain
from eve_meta.inventory.interface import FileProblem, Layer
from eve_meta.inventory.merge import Merged
from eve_meta.inventory.process import Owner

_REFUSED = "it is not served"


@frozen
class Said:
    """What a hypervisor says, see :meth:`eve_meta.inventory.interface.Hypervisor.answers`.

    :ivar domains: where its domains are said.
    :ivar taps: for each tap of which it was asked, where the domain is said that has it.
    """

    domains: Collection[str]
    taps: Mapping[str, Collection[str]]


def written_taps(layers: Sequence[Layer]) -> dict[str, list[str]]:
    """The taps that people wrote, each with where."""
    taps: dict[str, list[str]] = {}
    for layer in layers:
        if layer.written:
            for origin, domain in layer.domains.items():
                for nic in domain.nics:
                    if nic.tap is not None:
                        taps.setdefault(nic.tap, []).append(origin)
    return taps


def join(
    domains: Sequence[Merged],
    written: Mapping[str, Collection[str]],
    hypervisors: Sequence[Said],
    processes: Mapping[str, Owner],
) -> tuple[dict[str, tuple[Merged, Domain]], tuple[FileProblem, ...]]:
    """The domain behind each tap, and what keeps others from having one.

    Where a domain has no uuid and its process has, it gets the process's: the guest sees that as its DMI system-uuid,
    and cloud-init keeps its cache over a reboot only where the two are equal.

    :param written: where people wrote each tap, see :func:`written_taps`.
    :param processes: the processes that are known, by tap.
    """
    joining = _Joining(domains, written, hypervisors, processes)
    for tap in dict.fromkeys(chain(written, *(each.taps for each in hypervisors), processes)):
        joining.decide(tap)
    return joining.result(), tuple(joining.problems)


class _Joining:
    def __init__(
        self,
        domains: Sequence[Merged],
        written: Mapping[str, Collection[str]],
        hypervisors: Sequence[Said],
        processes: Mapping[str, Owner],
    ) -> None:
        self.problems: list[FileProblem] = []
        self._hypervisors = hypervisors
        self._processes = processes
        self._by_origin = {origin: merged for merged in domains for origin in merged.parts}
        self._by_uuid = {merged.domain.uuid: merged for merged in domains if merged.domain.uuid is not None}
        self._by_name = {merged.domain.name: merged for merged in domains if merged.domain.name is not None}
        self._written = {tap: self._distinct(origins) for tap, origins in written.items()}
        self._tied = {merged for said in self._written.values() for merged in said}
        self._taps: dict[str, Merged] = {}
        self._holding: dict[Merged, dict[Owner, str]] = {}

    def _distinct(self, origins: Collection[str]) -> list[Merged]:
        return list(dict.fromkeys(self._by_origin[origin] for origin in origins))

    def decide(self, tap: str) -> None:
        """Find out whose *tap* is."""
        written = self._written.get(tap, [])
        asked = [(said, self._distinct(said.taps[tap])) for said in self._hypervisors if tap in said.taps]
        given = [merged for _, of_tap in asked for merged in of_tap]
        owner = self._processes.get(tap)
        itself = None if owner is None else self._of_process(owner)
        mine = next(chain(written, given, [] if itself is None else [itself]), None)
        if mine is None or mine.refused:
            return
        if len(written) > 1:
            who = " and ".join(merged.origin for merged in written)
            self._refuse(mine, f"expected one domain to name tap {tap}, got {who}: none of them is served", "nics")
        elif other := next((merged for merged in given if merged is not mine), None):
            message = f"expected this domain behind {tap}, got what {_hypervisor(other)} has: {_REFUSED}"
            self._refuse(mine, message, "nics")
        elif any(not of_tap and self._knows(said, mine) for said, of_tap in asked):
            message = f"expected this domain behind {tap}, but {_hypervisor(mine)} has no such tap: {_REFUSED}"
            self._refuse(mine, message, "nics")
        elif not written and not given and owner is not None and not owner.trusted:
            message = f"tap {tap}: process {owner.pid} of user {owner.uid} is not trusted to say whose it is"
            self._refuse(mine, message)
        elif not written and mine in self._tied:
            who = _hypervisor(mine) + f" with {tap}" if given or owner is None else _process(tap, owner)
            message = f"expected this domain behind the taps that its nics name, got {who}: {_REFUSED}"
            self._refuse(mine, message, "nics")
        elif owner is not None and _contradicts(mine.domain, owner):
            self._refuse_process(mine, tap, owner)
        elif owner is not None and itself is not None and itself is not mine:
            message = f"expected this domain behind {tap}, got {_process(tap, owner)}, which is {itself.origin}: "
            self._refuse(mine, message + _REFUSED, "nics")
        else:
            self._taps[tap] = mine
            if owner is not None and owner.trusted:
                self._holding.setdefault(mine, {}).setdefault(owner, tap)

    def result(self) -> dict[str, tuple[Merged, Domain]]:
        """The domains that are behind taps."""
        for merged, holding in self._holding.items():
            if len(holding) > 1:
                self._taps = {tap: each for tap, each in self._taps.items() if each is not merged}
                who = " and ".join(f"{owner.pid} behind {tap}" for owner, tap in holding.items())
                message = f"expected one QEMU process to be this domain, got {who}: none of them is served"
                self._refuse(merged, message)
        complete = {merged: self._completed(merged) for merged in dict.fromkeys(self._taps.values())}
        return {tap: (merged, complete[merged]) for tap, merged in self._taps.items()}

    def _of_process(self, owner: Owner) -> Merged | None:
        found = self._by_uuid.get(owner.uuid) if owner.uuid is not None else None
        if found is None and owner.name is not None:
            found = self._by_name.get(owner.name)
        return found

    @staticmethod
    def _knows(said: Said, merged: Merged) -> bool:
        return any(origin in said.domains for origin in merged.parts)

    def _refuse(self, merged: Merged, message: str, name: str = "") -> None:
        self.problems.append(FileProblem(file=merged.origin, field=name, message=message))

    def _refuse_process(self, merged: Merged, tap: str, owner: Owner) -> None:
        kind = "name" if merged.domain.uuid is None or owner.uuid is None else "uuid"
        mine, theirs = getattr(merged.domain, kind), getattr(owner, kind)
        self._refuse(merged, f"expected {_process(tap, owner)} to have {kind} {mine}, got {theirs}: {_REFUSED}", kind)

    def _completed(self, merged: Merged) -> Domain:
        for owner in self._holding.get(merged, {}):
            if merged.domain.uuid is None and owner.uuid is not None:
                return attrs.evolve(merged.domain, uuid=owner.uuid)
        return merged.domain


def _process(tap: str, owner: Owner) -> str:
    return f"QEMU process {owner.pid} behind {tap}"


def _hypervisor(merged: Merged) -> str:
    # What a hypervisor says comes last.
    return list(merged.parts)[-1]


def _contradicts(domain: Domain, owner: Owner) -> bool:
    # Names change and may be alike; they count only where there are no uuids to compare.
    if domain.uuid is not None and owner.uuid is not None:
        return domain.uuid != owner.uuid
    return domain.name is not None and owner.name is not None and domain.name != owner.name
