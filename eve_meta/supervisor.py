"""The supervisor: which tap means which domain, told to workers that come and go.

The law: a worker hears of a tap before the tap's first frame can reach it, hears at once when the tap means another
domain or none, and begins to accept only when it has heard of all taps.
"""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from eve_meta.channel import Begin, Counts, PutTap, RemoveTap
from eve_meta.codec import make_converter
from eve_meta.domain import Domain
from eve_meta.inventory.inventory import Inventory
from eve_meta.steering.steering import Steering, Tap
from eve_meta.web.counts import Drop
from eve_meta.worker_process import IReactor, WorkerConfig, WorkerProcess

_DROPS = frozenset(drop.value for drop in Drop)


@define
class TapState:
    """A tap, what its domain is, and what its requests came to: answers by status, ends by :class:`Drop`."""

    tap: Tap
    domain: Domain | None = None
    requests: Counter[str] = field(factory=Counter)


class Supervisor:
    """Holds the table and the workers. It observes the steering."""

    _log = Logger()

    def __init__(self, reactor: IReactor, inventory: Inventory, config: WorkerConfig) -> None:
        self._reactor = reactor
        self._inventory = inventory
        self._config = config
        self._converter = make_converter()
        self._taps: dict[int, TapState] = {}
        self._stopping = False
        self._problems: set[str] = set()
        self._inventory_told_soon = False
        self.workers: list[WorkerProcess] = []
        self.unsteered: Counter[str] = Counter()

    @property
    def taps(self) -> Iterable[TapState]:
        """The taps, by tag."""
        return [state for _, state in sorted(self._taps.items())]

    def start(self, steering: Steering, listeners: Sequence[socket.socket], workers: int) -> None:
        """Starts the inventory and *workers* workers, which accept on *listeners*."""
        self._inventory.start(self._inventory_changed)
        for number in range(workers):
            worker = WorkerProcess(
                self._reactor,
                self._config,
                number,
                listeners,
                entered=steering.namespace.entered,
                started=self._tell_all,
                counted=self._counted,
            )
            self.workers.append(worker)
            worker.start()

    def stop(self) -> Deferred[Any]:
        """Ends the workers; the result comes when they are gone."""
        self._stopping = True
        self._inventory.stop()
        return DeferredList([worker.stop() for worker in self.workers])

    def current_counts(self) -> Deferred[Any]:
        """The result comes when every worker has said its counts, or has not within :data:`REPORT_TIMEOUT`."""
        return DeferredList([worker.report() for worker in self.workers])

    # -- steering's observer --

    def tap_appeared(self, tap: Tap) -> None:
        state = self._taps[tap.tag] = TapState(tap)
        state.domain = self._inventory.domain_of(tap.name)
        self._tell(state)
        self._tell_inventory()
        self._log.info("tap {tap} has tag {tag}: {domain}", tap=tap.name, tag=tap.tag, domain=_domain_text(state))

    def tap_gone(self, tap: Tap) -> None:
        del self._taps[tap.tag]
        for worker in self.workers:
            worker.send(RemoveTap(tag=tap.tag))
        if not self._stopping:
            self._tell_inventory()
            self._log.info("tap {tap} with tag {tag} is gone", tap=tap.name, tag=tap.tag)

    def carrier_changed(self, tap: Tap) -> None:
        state = self._taps[tap.tag]
        state.tap = tap
        self._inventory.carrier_changed(tap.name)
        # At once: until the new owner is found, whoever opens the tap next must not read the old one's documents.
        self._refresh(state)

    # -- inventory --

    def _tell_inventory(self) -> None:
        """Tells the inventory which taps there are, once for all that come or go in one turn of the reactor."""
        if not self._inventory_told_soon:
            self._inventory_told_soon = True
            self._reactor.callLater(0, self._taps_changed)

    def _taps_changed(self) -> None:
        self._inventory_told_soon = False
        if not self._stopping:
            self._inventory.taps_changed({state.tap.name for state in self._taps.values()})

    def _inventory_changed(self) -> None:
        for state in self._taps.values():
            self._refresh(state)
        problems = {str(problem) for problem in self._inventory.problems()}
        for problem in sorted(problems - self._problems):
            self._log.warn("{problem}", problem=problem)
        self._problems = problems

    def _refresh(self, state: TapState) -> None:
        """Tells the workers when the tap of *state* means another domain than they know."""
        domain = self._inventory.domain_of(state.tap.name)
        if domain is not state.domain and domain != state.domain:
            state.domain = domain
            self._tell(state)
            self._log.info("tap {tap}: {domain}", tap=state.tap.name, domain=_domain_text(state))

    # -- workers --

    def _tell(self, state: TapState) -> None:
        payload = self._payload(state)
        for worker in self.workers:
            worker.send(_put(state), payload)

    def _payload(self, state: TapState) -> bytes:
        if state.domain is None:
            return b""
        return json.dumps(self._converter.unstructure(state.domain, Domain), separators=(",", ":")).encode()

    def _tell_all(self, worker: WorkerProcess) -> None:
        """Pushes the whole table to a worker that is new."""
        for state in self._taps.values():
            worker.send(_put(state), self._payload(state))
        worker.send(Begin())

    def _counted(self, counts: Counts) -> None:
        """Adds up what a worker counted. Tags of taps that are gone are nobody's any more."""
        for tag, of_tag in counts.counts.items():
            # Only what a sound worker says: one that a guest took over must not fill our memory with names.
            good = {name: n for name, n in of_tag.items() if n > 0 and (name in _DROPS or _is_status(name))}
            if tag == "0":
                self.unsteered.update(good)
            elif tag.isdecimal() and int(tag) in self._taps:
                self._taps[int(tag)].requests.update(good)


def _put(state: TapState) -> PutTap:
    return PutTap(tag=state.tap.tag, tap=state.tap.name, since=state.tap.since)


def _is_status(name: str) -> bool:
    return len(name) == 3 and name.isascii() and name.isdecimal()


def _domain_text(state: TapState) -> str:
    if state.domain is None:
        return "its domain is unknown"
    return f"domain {state.domain.display_name!r} ({state.domain.instance_uuid})"
