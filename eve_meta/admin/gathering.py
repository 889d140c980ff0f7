"""The facts that ``eve-meta explain`` needs of a host, gathered alike with a daemon and without.

The daemon gathers from its inventory and then adds the facts that only it knows (``explain.py``). Where no daemon runs,
the command gathers from files and processes (``cli/gather.py``). Imports no Twisted: a command should start at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from attrs import evolve, frozen

from eve_meta.admin.resolve import NamedDomain, Names
from eve_meta.config import SteeringConfig
from eve_meta.explain.facts import DomainFacts, HostFacts, ProcessFacts, TapFacts
from eve_meta.inventory.qemu.process import Owner
from eve_meta.inventory.source import InventoryProblem
from eve_meta.machine import links


@frozen(kw_only=True)
class HostView:
    """A host's domains, taps and processes, as the gathering process knows them.

    :ivar names: what a NAME can mean, among it every network device and every QEMU process (:func:`for_explanation`):
        the fault may be that ``[steering] taps`` does not match a device, or that a process is not trusted.
    :ivar origins: returns the places that describe a domain, the most important first.
    :ivar owners: the process that holds a tap.
    :ivar problems: what is wrong in the inventory.
    :ivar steering: which links are taps.
    """

    names: Names
    origins: Callable[[NamedDomain], tuple[str, ...]]
    owners: Mapping[str, Owner]
    problems: Sequence[InventoryProblem]
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
            broken=tuple(
                str(problem)
                for problem in self.problems
                if not problem.warning and Path(problem.file).stem == asked_for
            ),
            patterns=self.steering.taps,
        )
        if meaning is None:
            return facts
        domain = None if meaning.domain is None else self._domain(meaning.domain)
        return evolve(facts, domain=domain, taps=tuple(self._tap(tap, domain) for tap in meaning.taps))

    def _domain(self, domain: NamedDomain) -> DomainFacts:
        return DomainFacts(name=domain.name, uuid=str(domain.uuid), origins=self.origins(domain), taps=domain.taps)

    def _tap(self, name: str, domain: DomainFacts | None) -> TapFacts:
        owner = self.owners.get(name)
        return TapFacts(
            name=name,
            matched=self.steering.matches(name),
            link=links.read_link(name),
            domain=domain,
            process=None if owner is None else process_facts(owner),
            problems=tuple(self._problems(name, domain)),
        )

    def _problems(self, tap: str, domain: DomainFacts | None) -> Iterable[str]:
        for problem in self.problems:
            about_domain = domain is not None and problem.file in domain.origins and problem.line is None
            about_tap = tap in problem.message.replace(":", " ").replace(",", " ").split()
            if not problem.warning and (about_domain or about_tap):
                yield str(problem)


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
    )
