"""Decides which domain is behind which tap.

There are three authorities: a person, who wrote the tap's name into the domain's file or metadata; a hypervisor that
was asked; and the process that holds the tap, by its uuid or name. Where two of them contradict each other, the
hypervisor and the process know best which guest would read the answer, so the tap gets no domain: better a guest
without metadata than a guest with another's secrets. The same holds where several processes seem to be one domain.

A domain whose taps people wrote is behind these taps only, so that no process elsewhere gets the domain by claiming its
name. A domain that a hypervisor knows is behind no tap that the hypervisor, when asked, does not assign to it. And an
untrusted process gets no domain by its own claim. Its claim can take the domain from its own tap, which harms nobody
else; it can neither get a domain for the tap nor count as a second process of another's domain.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from attrs import frozen

from eve_meta.inventory.merge import Merged
from eve_meta.inventory.source import InventoryProblem
from eve_meta.inventory.vmm.process import Owner
from eve_meta.inventory.written_taps import WrittenTaps
from eve_meta.values.domain import Domain, with_values

_REFUSED = "it is not served"


@frozen
class HypervisorAnswers:
    """The answers of a hypervisor (:meth:`eve_meta.inventory.source.Hypervisor.answers`).

    :ivar domains: the origins of its domains.
    :ivar taps: the origins of the domains that have a tap, by tap, for each tap with an answer.
    """

    domains: Collection[str]
    taps: Mapping[str, Collection[str]]


NO_ANSWERS = HypervisorAnswers((), {})
"""The answers of a hypervisor that has not been asked."""


@frozen(eq=False)
class _Decision:
    """The decision about one tap.

    :ivar candidates: the domains that any authority assigns to the tap. The first has the tap, or would have it.
    :ivar problem: why the tap has no domain.
    :ivar owner: the process behind the tap, if it counts as a process of the domain.
    """

    candidates: tuple[Merged, ...]
    problem: InventoryProblem | None
    owner: Owner | None

    @property
    def served(self) -> Merged | None:
        """The domain that has the tap, unless it is contested by several processes; None for none."""
        return None if self.problem is not None or self.candidates[0].refused else self.candidates[0]


@frozen(kw_only=True)
class _Evidence:
    """What the authorities know about one tap.

    :ivar written: the domains into which people wrote the tap.
    :ivar answers: the hypervisors that have an answer, each with the domains that it assigns to the tap.
    :ivar owner: the process behind the tap.
    :ivar claimed: the domain that *owner* claims to be by its uuid or name.
    """

    tap: str
    written: Sequence[Merged]
    answers: Sequence[tuple[HypervisorAnswers, Sequence[Merged]]]
    owner: Owner | None
    claimed: Merged | None

    @property
    def answered(self) -> list[Merged]:
        """The domains that hypervisors assign to the tap."""
        return [merged for _, domains in self.answers for merged in domains]


class TapDomains:
    """The domain behind each tap: decided for all taps at first, then tap by tap as something changes.

    A domain without a uuid gets the uuid of its process: the guest sees that as its DMI system-uuid, and cloud-init
    keeps its cache over a reboot only if the two are equal.

    :param written: the taps that people wrote; read again at each later decision.
    :param processes: the known process behind each tap; the mapping is read again at each later decision.
    :ivar hypervisors: the present answers of each hypervisor. Whoever changes them decides the taps anew.
    """

    def __init__(
        self,
        written: WrittenTaps,
        processes: Mapping[str, Owner],
        hypervisors: Sequence[HypervisorAnswers] = (),
    ) -> None:
        self.hypervisors = hypervisors
        self._written = written
        self._processes = processes
        self._by_origin: dict[str, Merged] = {}
        self._by_uuid: dict[Any, Merged] = {}
        self._by_name: dict[Any, Merged] = {}
        self._decisions: dict[str, _Decision] = {}
        # Domain → the taps of which it is a candidate; a dict, because it keeps their order.
        self._taps: dict[Merged, dict[str, None]] = {}
        # Domain → its processes, each with its taps; None stands for the taps whose process is unknown.
        self._holding: dict[Merged, dict[Owner | None, list[str]]] = {}
        # Domains that several processes seem to be; a dict, because it keeps their order.
        self._contested: dict[Merged, None] = {}
        self._completed: dict[Merged, Domain] = {}
        self._problems: dict[str, InventoryProblem] = {}

    def get(self, tap: str) -> tuple[Merged, Domain] | None:
        """Return the domain behind *tap*, as it was merged and as it is served, or None."""
        decision = self._decisions.get(tap)
        merged = None if decision is None else decision.served
        if merged is None or merged in self._contested:
            return None
        return merged, self.complete(merged)

    def complete(self, merged: Merged) -> Domain:
        """Return the domain of *merged*, with its process's uuid if it has none; the same object until it changes."""
        return self._completed.get(merged, merged.domain)

    @property
    def problems(self) -> tuple[InventoryProblem, ...]:
        """The reasons why domains do not have taps."""
        return (*self._problems.values(), *(self._several(merged) for merged in self._contested))

    def change(
        self, gone: Iterable[Merged], present: Collection[Merged], taps: Iterable[str], origins: Iterable[str]
    ) -> set[str]:
        """Replace domains whose identity was decided anew; return the taps whose domain may have changed by that.

        :param gone: those that are no more, or were decided anew.
        :param present: those that were decided anew, as they are now.
        :param taps: those that people wrote into other domains than before.
        :param origins: the domains into which people wrote other taps than before.
        """
        affected = dict.fromkeys(taps)
        for old in gone:
            affected.update(self._taps.get(old, {}))
            for index, key in self._places(old):
                if index.get(key) is old:
                    del index[key]
        for new in present:
            for index, key in self._places(new):
                index[key] = new
            for origin in new.parts:
                affected.update(dict.fromkeys(self._written.taps_of(origin)))
        for origin in origins:
            if (written := self._by_origin.get(origin)) is not None:
                affected.update(self._taps.get(written, {}))
        if present:
            affected.update(dict.fromkeys(self._claimed_by(present)))
        return self._decide_all(affected)

    def _places(self, merged: Merged) -> Iterator[tuple[dict[Any, Merged], Any]]:
        """Yield the indices that have *merged*, and its key in each."""
        uuid, name = merged.identity
        yield from ((self._by_origin, origin) for origin in merged.parts)
        yield from ((index, key) for index, key in ((self._by_uuid, uuid), (self._by_name, name)) if key is not None)

    def _claimed_by(self, domains: Iterable[Merged]) -> Iterator[str]:
        """Yield the taps that hypervisors assign to one of *domains*, or whose process claims to be one."""
        origins = {origin for merged in domains for origin in merged.parts}
        for hypervisor in self.hypervisors:
            yield from (tap for tap, these in hypervisor.taps.items() if not origins.isdisjoint(these))
        identities = {key for merged in domains for key in merged.identity if key is not None}
        for tap, owner in self._processes.items():
            if owner.uuid in identities or owner.name in identities:
                yield tap

    def replace(self, replaced: Mapping[Merged, Merged]) -> set[str]:
        """Replace domains whose contents have changed; return the taps whose domain may have changed by that.

        :param replaced: each such domain, with its successor.
        """
        affected: dict[str, None] = {}
        for old, new in replaced.items():
            affected.update(self._taps.get(old, {}))
            for index, key in self._places(new):
                if index.get(key) is old:
                    index[key] = new
        return self._decide_all(affected)

    def _decide_all(self, taps: Iterable[str]) -> set[str]:
        concerned: set[str] = set()
        for tap in taps:
            concerned |= self.decide(tap)
        return concerned

    def decide(self, tap: str) -> set[str]:
        """Decide the domain of *tap* anew; return all taps whose domain may have changed by that."""
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
            for candidate in decision.candidates:
                self._taps.setdefault(candidate, {})[tap] = None
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
        claimed = None if owner is None else self._domain_of_process(owner)
        evidence = _Evidence(
            tap=tap,
            written=self._distinct(self._written.get(tap)),
            answers=[(each, self._distinct(each.taps[tap])) for each in self.hypervisors if tap in each.taps],
            owner=owner,
            claimed=claimed,
        )
        candidates = tuple(
            dict.fromkeys(chain(evidence.written, evidence.answered, [] if claimed is None else [claimed]))
        )
        if not candidates:
            return None
        problem = None if candidates[0].refused else self._problem(candidates[0], evidence)
        return _Decision(candidates, problem, owner if owner is not None and owner.trusted else None)

    def _problem(self, mine: Merged, evidence: _Evidence) -> InventoryProblem | None:
        """Return why the domain *mine* does not have the tap, or None where it has it."""
        tap, owner, answered = evidence.tap, evidence.owner, evidence.answered
        if len(evidence.written) > 1:
            names = " and ".join(merged.origin for merged in evidence.written)
            message = f"expected one domain to name tap {tap}, got {names}: none of them is served"
            return _refused(mine, message, "nics", f"name {tap} in one of {names}, and in no other")
        if other := next((merged for merged in answered if merged is not mine), None):
            message = f"expected this domain behind {tap}, got {_hypervisor(other)}: {_REFUSED}"
            return _refused(mine, message, "nics", _without_tap(mine, evidence))
        if any(not domains and _knows(hypervisor, mine) for hypervisor, domains in evidence.answers):
            message = f"expected this domain behind {tap}, but {_hypervisor(mine)} has no such tap: {_REFUSED}"
            return _refused(mine, message, "nics", _without_tap(mine, evidence))
        if not evidence.written and not answered and owner is not None and not owner.trusted:
            message = (
                f"tap {tap}: process {owner.pid} of user {owner.uid} is not trusted to claim a domain: {_REFUSED}; "
                "if that user runs nothing but VMs, name it in [inventory] process_users"
            )
            return _refused(mine, message, mend=_line(mine.origin, f"nics: [{{tap: {tap}}}]"))
        if not evidence.written and any(map(self._written.taps_of, mine.parts)):
            got = _hypervisor(mine) + f" with {tap}" if answered or owner is None else _process(tap, owner)
            message = f"expected this domain behind the taps that its nics name, got {got}: {_REFUSED}"
            return _refused(mine, message, "nics", _line(mine.origin, f"tap: {tap}", "below nics"))
        if owner is not None and _contradicts(mine.domain, owner):
            kind = "name" if mine.domain.uuid is None or owner.uuid is None else "uuid"
            expected, got = getattr(mine.domain, kind), getattr(owner, kind)
            message = f"expected {_process(tap, owner)} to have {kind} {expected}, got {got}: {_REFUSED}"
            wrong = next(origin for origin, part in mine.parts.items() if getattr(part, kind) == expected)
            mend = _line(wrong, f"{kind}: {got if kind == 'uuid' else json.dumps(got)}")
            without = _without_tap(mine, evidence)
            if without and mine is not evidence.claimed:
                mend = f"{without}; or, if it is this VM, {mend}" if mend else without
            return _refused(mine, message, kind, mend)
        if owner is not None and evidence.claimed is not None and evidence.claimed is not mine:
            got = f"{_process(tap, owner)}, which is {evidence.claimed.origin}"
            message = f"expected this domain behind {tap}, got {got}: {_REFUSED}"
            return _refused(mine, message, "nics", _without_tap(mine, evidence))
        return None

    def _domain_of_process(self, owner: Owner) -> Merged | None:
        merged = self._by_uuid.get(owner.uuid) if owner.uuid is not None else None
        if merged is None and owner.name is not None:
            merged = self._by_name.get(owner.name)
        return merged

    # -- the processes of a domain: a decision about one of its taps may change the domain of its other taps --

    def _release(self, tap: str, decision: _Decision) -> None:
        self._problems.pop(tap, None)
        for candidate in decision.candidates:
            del self._taps[candidate][tap]
            if not self._taps[candidate]:
                del self._taps[candidate]
        if (merged := decision.served) is None:
            return
        holding = self._holding[merged]
        holding[decision.owner].remove(tap)
        if not holding[decision.owner]:
            del holding[decision.owner]
        if not holding:
            del self._holding[merged]

    def _count_processes(self, merged: Merged) -> None:
        """Update what follows from the processes of *merged*: whether they contest it, and its uuid."""
        processes = self._processes_of(merged)
        if len(processes) > 1:
            self._contested[merged] = None
        else:
            self._contested.pop(merged, None)
        uuid = processes[0].uuid if len(processes) == 1 and merged.domain.uuid is None else None
        if uuid is None:
            self._completed.pop(merged, None)
        elif self.complete(merged).uuid != uuid:
            self._completed[merged] = with_values(merged.domain, {"uuid": uuid})

    def _several(self, merged: Merged) -> InventoryProblem:
        holding = self._holding[merged]
        # Sorted, so that the message stays the same, and is not logged again, when one of the taps is decided anew.
        processes = sorted(f"{owner.pid} behind {min(holding[owner])}" for owner in self._processes_of(merged))
        got = " and ".join(processes)
        message = f"expected one process to be this domain, got {got}: none of them is served"
        return _refused(merged, message, mend="end all of these processes but one")

    def _processes_of(self, merged: Merged) -> list[Owner]:
        return [owner for owner in self._holding.get(merged, ()) if owner is not None]


def _refused(merged: Merged, message: str, name: str = "", mend: str = "") -> InventoryProblem:
    return InventoryProblem(file=merged.origin, field=name, message=message, mend=mend)


def _line(origin: str, line: str, place: str = "") -> str:
    """Return what to write where *origin* is a file, else ""."""
    return f"in {origin}{place and ', '}{place}: {line}" if origin.startswith("/") else ""


def _without_tap(merged: Merged, evidence: _Evidence) -> str:
    """Return what to remove from the file of *merged* that names the tap of another guest; "" where none names it."""
    named = [origin for origin, part in merged.parts.items() if evidence.tap in part.taps and origin.startswith("/")]
    return f"in {named[0]}, below nics: remove tap: {evidence.tap}" if named else ""


def _knows(hypervisor: HypervisorAnswers, merged: Merged) -> bool:
    return any(origin in hypervisor.domains for origin in merged.parts)


def _process(tap: str, owner: Owner) -> str:
    return f"{owner} behind {tap}"


def _hypervisor(merged: Merged) -> str:
    # The hypervisor's description is the least important, so its origin comes last.
    return list(merged.parts)[-1]


def _contradicts(domain: Domain, owner: Owner) -> bool:
    # Names change and are not unique; they count only where there are no uuids to compare.
    if domain.uuid is not None and owner.uuid is not None:
        return domain.uuid != owner.uuid
    return domain.name is not None and owner.name is not None and domain.name != owner.name
