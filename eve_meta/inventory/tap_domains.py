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
from typing import Any

import attrs
from attrs import frozen

from eve_meta.inventory.merge import Merged
from eve_meta.inventory.qemu.process import Owner
from eve_meta.inventory.source import InventoryProblem, Layer
from eve_meta.values.domain import Domain

_REFUSED = "it is not served"


@frozen
class HypervisorAnswers:
    """What a hypervisor says, see :meth:`eve_meta.inventory.source.Hypervisor.answers`.

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
                for tap in domain.taps:
                    taps.setdefault(tap, []).append(origin)
    return taps


@frozen(eq=False)
class _Decision:
    """Whose a tap may be.

    :ivar about: the domains that those who know of the tap mean; the first is the one that has it, or would.
    :ivar problem: why it has none.
    :ivar owner: the process behind it, where that may be the only one of its domain.
    """

    about: tuple[Merged, ...]
    problem: InventoryProblem | None
    owner: Owner | None

    @property
    def served(self) -> Merged | None:
        """The domain that has the tap, unless several processes are that domain."""
        return None if self.problem is not None or self.about[0].refused else self.about[0]


@frozen(kw_only=True)
class _OfTap:
    """What is said of one tap: by people, by hypervisors that were asked, and by its process, which is *itself*."""

    tap: str
    written: Sequence[Merged]
    asked: Sequence[tuple[HypervisorAnswers, Sequence[Merged]]]
    owner: Owner | None
    itself: Merged | None

    @property
    def given(self) -> list[Merged]:
        """The domains to which hypervisors give it."""
        return [merged for _, of_tap in self.asked for merged in of_tap]


class TapDomains:
    """Which domain is behind which tap. It is decided for all taps at first, then tap by tap as something changes.

    Where a domain has no uuid and its process has, it gets the process's: the guest sees that as its DMI system-uuid,
    and cloud-init keeps its cache over a reboot only where the two are equal.

    :param written: where people wrote each tap, see :func:`written_taps`.
    :param hypervisors: what each says at present.
    :param processes: the processes that are known, by tap, at present.
    """

    def __init__(
        self,
        domains: Sequence[Merged],
        written: Mapping[str, Collection[str]],
        hypervisors: Sequence[HypervisorAnswers],
        processes: Mapping[str, Owner],
    ) -> None:
        self.hypervisors = hypervisors
        self._processes = processes
        self._by_origin = {origin: merged for merged in domains for origin in merged.parts}
        self._by_uuid: dict[Any, Merged] = {
            merged.domain.uuid: merged for merged in domains if merged.domain.uuid is not None
        }
        self._by_name: dict[Any, Merged] = {
            merged.domain.name: merged for merged in domains if merged.domain.name is not None
        }
        self._written = {tap: tuple(origins) for tap, origins in written.items()}
        self._tied = {merged for origins in self._written.values() for merged in self._distinct(origins)}
        self._decisions: dict[str, _Decision] = {}
        # Of a domain: its processes, and the taps of each; under None those of which the process is unknown.
        self._holding: dict[Merged, dict[Owner | None, list[str]]] = {}
        # Domains that several processes seem to be; a dict keeps their order.
        self._contested: dict[Merged, None] = {}
        self._completed: dict[Merged, Domain] = {}
        self._problems: dict[str, InventoryProblem] = {}
        for tap in dict.fromkeys(chain(written, *(each.taps for each in hypervisors), processes)):
            self._decide(tap)
        for merged in self._holding:
            self._count_processes(merged)

    def get(self, tap: str) -> tuple[Merged, Domain] | None:
        """The domain behind *tap*: as it was merged, and as it is served."""
        decision = self._decisions.get(tap)
        merged = None if decision is None else decision.served
        if merged is None or merged in self._contested:
            return None
        return merged, self.complete(merged)

    def complete(self, merged: Merged) -> Domain:
        """*merged* with what its process adds; the same object until something of it changes."""
        return self._completed.get(merged, merged.domain)

    @property
    def problems(self) -> tuple[InventoryProblem, ...]:
        """What keeps domains from having taps."""
        return (*self._problems.values(), *(self._several(merged) for merged in self._contested))

    def replace(self, replaced: Mapping[Merged, Merged]) -> set[str]:
        """Each of *replaced* says something else now, of the same domain; give the taps that this concerns."""
        for old, new in replaced.items():
            self._by_origin |= dict.fromkeys(new.parts, new)
            for index, key in ((self._by_uuid, new.domain.uuid), (self._by_name, new.domain.name)):
                if key is not None and index.get(key) is old:
                    index[key] = new
            if old in self._tied:
                self._tied.remove(old)
                self._tied.add(new)
        taps = {tap for tap, decision in self._decisions.items() if not replaced.keys().isdisjoint(decision.about)}
        for tap in taps:
            self.decide(tap)
        return taps

    def decide(self, tap: str) -> set[str]:
        """Find out anew whose *tap* is; give all taps of which the domain may be another now."""
        old = self._decisions.pop(tap, None)
        if old is not None:
            self._release(tap, old)
        new = self._decide(tap)
        concerned = {tap}
        for merged in {decision.served for decision in (old, new) if decision is not None}:
            if merged is not None:
                self._count_processes(merged)
                concerned.update(*self._holding.get(merged, {}).values())
        return concerned

    def _decide(self, tap: str) -> _Decision | None:
        decision = self._decision(tap)
        if decision is not None:
            self._decisions[tap] = decision
            if decision.problem is not None:
                self._problems[tap] = decision.problem
            if (merged := decision.served) is not None:
                self._holding.setdefault(merged, {}).setdefault(decision.owner, []).append(tap)
        return decision

    def _distinct(self, origins: Collection[str]) -> list[Merged]:
        if not origins:
            return []
        return list(dict.fromkeys(self._by_origin[origin] for origin in origins))

    def _decision(self, tap: str) -> _Decision | None:
        owner = self._processes.get(tap)
        said = _OfTap(
            tap=tap,
            written=self._distinct(self._written.get(tap, ())),
            asked=[(each, self._distinct(each.taps[tap])) for each in self.hypervisors if tap in each.taps],
            owner=owner,
            itself=None if owner is None else self._of_process(owner),
        )
        about = tuple(dict.fromkeys(chain(said.written, said.given, [] if said.itself is None else [said.itself])))
        if not about:
            return None
        problem = None if about[0].refused else self._problem(about[0], said)
        return _Decision(about, problem, owner if owner is not None and owner.trusted else None)

    def _problem(self, mine: Merged, said: _OfTap) -> InventoryProblem | None:
        """Why *mine* does not have the tap of which this is *said*."""
        tap, owner, given = said.tap, said.owner, said.given
        if len(said.written) > 1:
            who = " and ".join(merged.origin for merged in said.written)
            return _refused(mine, f"expected one domain to name tap {tap}, got {who}: none of them is served", "nics")
        if other := next((merged for merged in given if merged is not mine), None):
            message = f"expected this domain behind {tap}, got what {_hypervisor(other)} has: {_REFUSED}"
            return _refused(mine, message, "nics")
        if any(not of_tap and _knows(hypervisor, mine) for hypervisor, of_tap in said.asked):
            message = f"expected this domain behind {tap}, but {_hypervisor(mine)} has no such tap: {_REFUSED}"
            return _refused(mine, message, "nics")
        if not said.written and not given and owner is not None and not owner.trusted:
            message = f"tap {tap}: process {owner.pid} of user {owner.uid} is not trusted to say whose it is"
            return _refused(mine, message)
        if not said.written and mine in self._tied:
            who = _hypervisor(mine) + f" with {tap}" if given or owner is None else _process(tap, owner)
            message = f"expected this domain behind the taps that its nics name, got {who}: {_REFUSED}"
            return _refused(mine, message, "nics")
        if owner is not None and _contradicts(mine.domain, owner):
            kind = "name" if mine.domain.uuid is None or owner.uuid is None else "uuid"
            expected, got = getattr(mine.domain, kind), getattr(owner, kind)
            message = f"expected {_process(tap, owner)} to have {kind} {expected}, got {got}: {_REFUSED}"
            return _refused(mine, message, kind)
        if owner is not None and said.itself is not None and said.itself is not mine:
            message = f"expected this domain behind {tap}, got {_process(tap, owner)}, which is {said.itself.origin}: "
            return _refused(mine, message + _REFUSED, "nics")
        return None

    def _of_process(self, owner: Owner) -> Merged | None:
        found = self._by_uuid.get(owner.uuid) if owner.uuid is not None else None
        if found is None and owner.name is not None:
            found = self._by_name.get(owner.name)
        return found

    # -- the processes of a domain; what becomes of one of its taps may concern the others --

    def _release(self, tap: str, decision: _Decision) -> None:
        self._problems.pop(tap, None)
        if (merged := decision.served) is None:
            return
        holding = self._holding[merged]
        holding[decision.owner].remove(tap)
        if not holding[decision.owner]:
            del holding[decision.owner]
        if not holding:
            del self._holding[merged]

    def _count_processes(self, merged: Merged) -> None:
        """Takes note of what follows from the processes of *merged*."""
        processes = self._processes_of(merged)
        if len(processes) > 1:
            self._contested[merged] = None
        else:
            self._contested.pop(merged, None)
        uuid = processes[0].uuid if len(processes) == 1 and merged.domain.uuid is None else None
        if uuid is None:
            self._completed.pop(merged, None)
        elif self.complete(merged).uuid != uuid:
            self._completed[merged] = attrs.evolve(merged.domain, uuid=uuid)

    def _several(self, merged: Merged) -> InventoryProblem:
        holding = self._holding[merged]
        # In an order of their own, that what was said once is not said again when one of the taps is decided anew.
        who = " and ".join(sorted(f"{owner.pid} behind {min(holding[owner])}" for owner in self._processes_of(merged)))
        return _refused(merged, f"expected one QEMU process to be this domain, got {who}: none of them is served")

    def _processes_of(self, merged: Merged) -> list[Owner]:
        return [owner for owner in self._holding.get(merged, ()) if owner is not None]


def _refused(merged: Merged, message: str, name: str = "") -> InventoryProblem:
    return InventoryProblem(file=merged.origin, field=name, message=message)


def _knows(said: HypervisorAnswers, merged: Merged) -> bool:
    return any(origin in said.domains for origin in merged.parts)


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
