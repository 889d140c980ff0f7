"""The daemon's part of ``eve-meta explain``: the facts that ``gathering.py`` gathers, and those that only it knows.

Only the daemon knows which frames of a tap the BPF programs saw, what its workers answered, and what the kernel has in
the private namespace.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from typing import Any

from attrs import asdict, evolve
from twisted.internet.defer import Deferred, inlineCallbacks

from eve_meta.admin.domain import known_names
from eve_meta.admin.gathering import HostView, for_explanation
from eve_meta.admin.resolve import NamedDomain
from eve_meta.admin.status import asked, drops, seen, since_epoch
from eve_meta.config import Config
from eve_meta.explain.facts import (
    AskedFacts,
    DhcpFacts,
    FilterFacts,
    LinkFacts,
    PathFacts,
    SeenFacts,
    TapFacts,
)
from eve_meta.inventory.inventory import Inventory
from eve_meta.runtime.clock import Clock
from eve_meta.steering.bpf.maps import Reason
from eve_meta.steering.path.inspection import Inspection
from eve_meta.steering.steering import Steering
from eve_meta.supervisor.supervisor import Supervisor
from eve_meta.supervisor.tap_state import TapState
from eve_meta.values.domain import Domain
from eve_meta.values.plain import field_of, make_converter
from eve_meta.values.problem import Problem
from eve_meta.wire.counts import Note

CONVERTER = make_converter()


class Explanation:
    """Gathers the facts of one report.

    :param in_thread: calls a function in a thread; the result comes later.
    """

    def __init__(
        self,
        clock: Clock,
        supervisor: Supervisor,
        steering: Steering,
        inventory: Inventory,
        config: Config,
        *,
        in_thread: Callable[[Callable[[], Inspection]], Deferred[Inspection]],
    ) -> None:
        self._clock = clock
        self._supervisor = supervisor
        self._steering = steering
        self._inventory = inventory
        self._config = config
        self._in_thread = in_thread

    def answer(self, name: str) -> Deferred[dict[str, Any]]:
        """Answer :data:`~eve_meta.admin.questions.EXPLAIN`; the result comes later."""
        counted = self._supervisor.current_counts()
        return counted.addCallback(lambda _: self._gather(name))

    @inlineCallbacks
    def _gather(self, asked_for: str) -> Generator[Deferred[Any], Any, dict[str, Any]]:
        host = self._view().gather(asked_for, self._clock.wall())
        inspection, problem = None, ""
        try:
            inspection = yield self._inspect(tuple(tap.name for tap in host.taps))
        except Problem as error:
            problem = str(error)
        # Looked up only now: taps may have gone while the thread asked the kernel.
        states = {state.tap.name: state for state in self._supervisor.taps}
        taps = tuple(self._with_traffic(tap, states.get(tap.name), inspection) for tap in host.taps)
        plain: dict[str, Any] = CONVERTER.unstructure(evolve(host, taps=taps, path=self._path(inspection, problem)))
        return plain

    @inlineCallbacks
    def _inspect(self, names: Collection[str]) -> Generator[Deferred[Any], Any, Inspection]:
        inspection: Inspection = yield self._in_thread(lambda: self._steering.inspect(names))
        if inspection.missing() or self._lacks_filter(inspection):
            # The daemon restores it, perhaps at this very moment. Only what cannot be restored is worth a word.
            yield self._steering.restore()
            inspection = yield self._in_thread(lambda: self._steering.inspect(names))
        return inspection

    def _lacks_filter(self, inspection: Inspection) -> bool:
        """Return whether a tap with a tag has no filter of eve-meta's."""
        tagged = {state.tap.name for state in self._supervisor.taps}
        return any(
            name in tagged and not any(each.ours for each in on_tap) for name, on_tap in inspection.filters.items()
        )

    def _view(self) -> HostView:
        owners = self._inventory.owners()
        return HostView(
            names=for_explanation(known_names(self._supervisor, self._inventory), owners),
            described=self._described,
            owners=owners,
            faults=self._inventory.faults(),
            refusals=self._inventory.refusals(),
            steering=self._config.steering,
        )

    def _described(self, wanted: NamedDomain) -> tuple[Domain, tuple[str, ...]] | None:
        for domain in self._inventory.domains():
            if domain.instance_uuid == wanted.uuid:
                return domain, self._inventory.origins(domain)
        return None

    def _with_traffic(self, tap: TapFacts, state: TapState | None, inspection: Inspection | None) -> TapFacts:
        """Return *tap* with the facts that only the daemon knows, from its *state* and the *inspection* of the kernel.

        :param state: None where the tap is not steered.
        :param inspection: None where the kernel could not be inspected.
        """
        if inspection is not None:
            tap = evolve(tap, link=_link(inspection, tap.name))
        if tap.name in self._steering.problems:
            tap = evolve(tap, unsteered=self._steering.problems[tap.name])
        if state is None:
            return evolve(tap, domain=None)
        counters = self._steering.counters(state.tap.tag)
        filters = None if inspection is None else inspection.filters.get(tap.name)
        sightings = seen(self._clock, self._steering, state)
        return evolve(
            tap,
            tag=state.tap.tag,
            domain=tap.domain if state.domain is not None else None,
            filters=None
            if filters is None
            else tuple(FilterFacts(priority=f.priority, kind=f.kind, name=f.name, ours=f.ours) for f in filters),
            seen={kind: SeenFacts(**one) for kind, one in sightings.items() if one is not None},
            frames_in=counters.get(Reason.PASSED_REQUEST, 0),
            frames_out=counters.get(Reason.PASSED_ANSWER, 0),
            drops=drops(counters),
            asked=tuple(AskedFacts(**kind) for kind in asked(self._clock, state)),
            notes={note.value: state.counts[note.value] for note in Note if state.counts[note.value]},
            tokens=None if state.domain is None else state.domain.token_policy(self._config.web.tokens),
            dhcp=self._dhcp(state),
        )

    def _dhcp(self, state: TapState) -> DhcpFacts | None:
        given = self._supervisor.dhcp.of(state.tap.tag)
        if given is None or given.lease is None:
            return None if given is None else DhcpFacts()
        template = given.lease.template
        return DhcpFacts(
            address=str(template.address),
            link_local=given.lease.is_link_local,
            before="" if given.before is None else str(given.before),
            since=since_epoch(self._clock, given.since),
            renewal_time=template.renewal_time,
            missing=tuple(f"{field_of(Domain, fault.path)}: {fault.message}" for fault in given.lease.faults),
        )

    def _path(self, inspection: Inspection | None, problem: str) -> PathFacts:
        workers = self._supervisor.workers
        return PathFacts(
            namespace=self._steering.namespace.name,
            programs=inspection.programs if inspection is not None else (),
            links=inspection.namespace if inspection is not None else (),
            rules=inspection.rules if inspection is not None else (),
            routes=inspection.routes if inspection is not None else (),
            workers=tuple(worker.pid for worker in workers),
            restarts=sum(worker.restarts for worker in workers),
            unrestored=self._steering.path_problem or "",
            problem=problem,
        )


def _link(inspection: Inspection, name: str) -> LinkFacts | None:
    state = inspection.links.get(name)
    return None if state is None else LinkFacts(**asdict(state))
