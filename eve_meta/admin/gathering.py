"""The facts that ``eve-meta explain`` needs of a host, gathered alike with a daemon and without.

The daemon gathers from its inventory and then adds the facts that only it knows (``explain.py``). Where no daemon runs,
the command gathers from files and processes (``cli/gather.py``). Imports no Twisted: a command should start at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from attrs import evolve, frozen

from eve_meta.admin.resolve import NamedDomain, Names
from eve_meta.config import SteeringConfig
from eve_meta.explain.facts import DomainFacts, FaultFacts, HostFacts, ProcessFacts, TapFacts
from eve_meta.inventory.source import InventoryProblem
from eve_meta.inventory.vmm.process import Owner
from eve_meta.machine import links
from eve_meta.values.domain import Domain


@frozen(kw_only=True)
class HostView:
    """A host's domains, taps and processes, as the gathering process knows them.

    :ivar names: what a NAME can mean, among it every network device and every VMM process (:func:`for_explanation`):
        the fault may be that ``[steering] taps`` does not match a device, or that a process is not trusted.
    :ivar described: returns a domain as it is served, and the places that describe it, the most important first.
    :ivar owners: the process that holds a tap.
    :ivar faults: what is wrong in files and other sources.
    :ivar refusals: why domains or taps are not served.
    :ivar steering: which links are taps.
    """

    names: Names
    described: Callable[[NamedDomain], tuple[Domain, tuple[str, ...]] | None]
    owners: Mapping[str, Owner]
    faults: Sequence[InventoryProblem]
    refusals: Sequence[InventoryProblem]
    steering: SteeringConfig

    def gather(self, asked_for: str, now: float) -> HostFacts:
        """Return the facts about what *asked_for* means.

        :param now: seconds since the epoch.
        """
        meaning = self.names.resolve(asked_for)
        facts = HostFacts(
            asked_for=asked_for,
            now=now,
            near=self.names.near(asked_for) if meaning is None else (),
            patterns=self.steering.taps,
        )
        if meaning is None or meaning.domain is None:
            called = {asked_for} if meaning is None else {asked_for, *meaning.taps}
            facts = evolve(facts, broken=self._broken(called, ()))
            return facts if meaning is None else evolve(facts, taps=self._taps(meaning.taps, None))
        domain = self._domain(meaning.domain)
        called = {asked_for, domain.name, domain.uuid}
        return evolve(
            facts,
            domain=domain,
            taps=self._taps(meaning.taps, domain),
            broken=self._broken(called, domain.origins),
        )

    def _domain(self, named: NamedDomain) -> DomainFacts:
        domain, origins = self.described(named) or (None, ())
        folders = {os.path.dirname(origin) for origin in origins if origin.startswith("/")}
        return DomainFacts(
            name=named.name,
            uuid=str(named.uuid),
            origins=origins,
            taps=named.taps,
            by_name=domain is not None and domain.uuid is None,
            hostname="" if domain is None else domain.guest_hostname,
            instance_id="" if domain is None or domain.instance_id is None else str(domain.instance_id),
            faults=tuple(
                FaultFacts(file=fault.file, text=str(fault))
                for fault in self.faults
                if not fault.warning and (fault.file in origins or fault.file in folders)
            ),
        )

    def _broken(self, called: Collection[str], origins: Collection[str]) -> tuple[str, ...]:
        """Return the faults of files and metadata that are called so, but describe no domain."""
        return tuple(
            str(fault)
            for fault in self.faults
            if not fault.warning and fault.file not in origins and _called(fault.file) in called
        )

    def _taps(self, names: Iterable[str], domain: DomainFacts | None) -> tuple[TapFacts, ...]:
        return tuple(self._tap(name, domain) for name in names)

    def _tap(self, name: str, domain: DomainFacts | None) -> TapFacts:
        owner = self.owners.get(name)
        problems = list(self._problems(name, domain))
        return TapFacts(
            name=name,
            matched=self.steering.matches(name),
            link=links.read_link(name),
            domain=domain,
            process=None if owner is None else process_facts(owner),
            problems=tuple(map(str, problems)),
            mend=next((problem.mend for problem in problems if problem.mend), ""),
        )

    def _problems(self, tap: str, domain: DomainFacts | None) -> Iterator[InventoryProblem]:
        for problem in self.refusals:
            about_domain = domain is not None and problem.file in domain.origins
            about_tap = tap in problem.message.replace(":", " ").replace(",", " ").split()
            if not problem.warning and (about_domain or about_tap):
                yield problem


def _called(file: str) -> str:
    """Return what *file*, a path or a place such as "libvirt metadata of web1", is called."""
    return Path(file).stem if file.startswith("/") else file.partition(" of ")[2]


def for_explanation(names: Names, owners: Mapping[str, Owner]) -> Names:
    """Return *names* with every network device of the host, and with the processes that hold taps."""
    return evolve(names, taps={*names.taps, *links.names()}, processes=owners)


def process_facts(owner: Owner) -> ProcessFacts:
    """Return the facts about the process that holds a tap."""
    return ProcessFacts(
        pid=owner.pid,
        uuid=None if owner.uuid is None else str(owner.uuid),
        name=owner.name,
        uid=owner.uid,
        trusted=owner.trusted,
        vmm=owner.vmm,
    )
