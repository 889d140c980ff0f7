"""The daemon's part of ``eve-meta explain``: all that it knows of a name, a uuid or a tap, as plain data."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from attrs import asdict
from twisted.internet.defer import Deferred

from eve_meta.admin.status import asked, drops, seen
from eve_meta.config import Config
from eve_meta.explain.facts import (
    AskedFacts,
    DomainFacts,
    FilterFacts,
    HostFacts,
    LinkFacts,
    ProcessFacts,
    SeenFacts,
    TapFacts,
    WayFacts,
)
from eve_meta.explain.finding import find, near
from eve_meta.inventory.inventory import Inventory
from eve_meta.inventory.qemu.process import Owner
from eve_meta.machine import links
from eve_meta.steering.bpf.maps import Reason
from eve_meta.steering.path.inspection import Inspection
from eve_meta.steering.steering import Steering
from eve_meta.supervisor.supervisor import Supervisor
from eve_meta.supervisor.tap_state import TapState
from eve_meta.values.plain import make_converter
from eve_meta.values.problem import Problem
from eve_meta.wire.counts import Note

CONVERTER = make_converter()


def facts_of(owner: Owner) -> ProcessFacts:
    """A process behind a tap, as the report has it."""
    return ProcessFacts(
        pid=owner.pid,
        uuid=None if owner.uuid is None else str(owner.uuid),
        name=owner.name,
        uid=owner.uid,
        trusted=owner.trusted,
    )


class Explanation:
    """Gathers the facts.

    :param in_thread: calls a function that takes its time; the result comes.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        steering: Steering,
        inventory: Inventory,
        config: Config,
        in_thread: Callable[[Callable[[], Inspection]], Deferred[Inspection]],
    ) -> None:
        self._supervisor = supervisor
        self._steering = steering
        self._inventory = inventory
        self._config = config
        self._in_thread = in_thread

    def ask(self, asked_for: str) -> Deferred[Any]:
        """What the daemon knows of *asked_for*, as :class:`HostFacts` in plain data; the result comes."""
        counted = self._supervisor.current_counts()
        counted.addCallback(lambda _: self._found(asked_for))
        return counted

    def _found(self, asked_for: str) -> Deferred[Any]:
        states = {state.tap.name: state for state in self._supervisor.taps}
        domains = [*self._domains()]
        processes = {tap: facts_of(owner) for tap, owner in self._inventory.owners().items()}
        served = {tap: str(s.domain.instance_uuid) for tap, s in states.items() if s.domain is not None}
        domain, taps = find(asked_for, domains, links.names(), processes, served)
        host = HostFacts(
            asked_for=asked_for,
            now=time.time(),
            domain=domain,
            near=near(asked_for, (*(each.name for each in domains), *states)),
            broken=tuple(self._broken(asked_for)),
            patterns=self._config.steering.taps,
        )
        looked = self._in_thread(lambda: self._steering.inspect(taps))

        def complete(inspection: Inspection | None, problem: str = "") -> Any:
            # The taps may have gone while the kernel was asked.
            found = [self._tap(tap, states.get(tap), domain, inspection) for tap in taps]
            whole = CONVERTER.unstructure(host)
            whole["taps"] = CONVERTER.unstructure(tuple(found), tuple[TapFacts, ...])
            whole["way"] = CONVERTER.unstructure(self._way(inspection, problem))
            return whole

        def failed(failure: Any) -> Any:
            failure.trap(Problem)
            return complete(None, str(failure.value))

        return looked.addCallback(complete).addErrback(failed)

    def _domains(self) -> Iterable[DomainFacts]:
        for domain in self._inventory.domains():
            places, taps = self._inventory.places(domain)
            yield DomainFacts(
                name=domain.display_name, uuid=str(domain.instance_uuid), origins=places, taps=tuple(sorted(taps))
            )

    def _broken(self, asked_for: str) -> Iterable[str]:
        for problem in self._inventory.problems():
            if not problem.warning and Path(problem.file).stem == asked_for:
                yield str(problem)

    def _tap(
        self, name: str, state: TapState | None, domain: DomainFacts | None, inspection: Inspection | None
    ) -> TapFacts:
        owner = self._inventory.owner_of(name)
        common: dict[str, Any] = {
            "name": name,
            "matched": self._config.steering.matches(name),
            "link": links.read_link(name) if inspection is None else _link(inspection, name),
            "process": None if owner is None else facts_of(owner),
            "problems": tuple(self._problems(name, domain)),
        }
        if state is None:
            return TapFacts(**common)
        counters = self._steering.counters(state.tap.tag)
        filters = None if inspection is None else inspection.filters.get(name)
        return TapFacts(
            **common,
            tag=state.tap.tag,
            domain=domain if state.domain is not None else None,
            filters=None
            if filters is None
            else tuple(FilterFacts(priority=f.priority, kind=f.kind, name=f.name, ours=f.ours) for f in filters),
            seen={kind: SeenFacts(**one) for kind, one in seen(self._steering, state).items() if one is not None},
            frames_in=counters.get(Reason.PASSED_REQUEST, 0),
            frames_out=counters.get(Reason.PASSED_ANSWER, 0),
            drops=drops(counters),
            asked=tuple(AskedFacts(**kind) for kind in asked(state)),
            notes={note.value: state.counts[note.value] for note in Note if state.counts[note.value]},
            tokens=None if state.domain is None else state.domain.token_policy(self._config.web.tokens),
        )

    def _problems(self, tap: str, domain: DomainFacts | None) -> Iterable[str]:
        if tap in self._steering.problems:
            yield self._steering.problems[tap]
        for problem in self._inventory.problems():
            of_domain = domain is not None and problem.file in domain.origins and problem.line is None
            if not problem.warning and (
                of_domain or tap in problem.message.replace(":", " ").replace(",", " ").split()
            ):
                yield str(problem)

    def _way(self, inspection: Inspection | None, problem: str) -> WayFacts:
        workers = self._supervisor.workers
        return WayFacts(
            namespace=self._steering.namespace.name,
            programs=inspection.programs if inspection is not None else (),
            links=inspection.namespace if inspection is not None else (),
            rules=inspection.rules if inspection is not None else (),
            routes=inspection.routes if inspection is not None else (),
            workers=tuple(worker.pid for worker in workers),
            restarts=sum(worker.restarts for worker in workers),
            problem=problem,
        )


def _link(inspection: Inspection, name: str) -> LinkFacts | None:
    place = inspection.links.get(name)
    return None if place is None else LinkFacts(**asdict(place))
