"""The supervisor: which tap means which domain, told to workers that come and go.

The law: a worker hears of its taps alone, of each before the tap's first frame can reach it, and at once when the tap
means another domain or none. It begins to accept only when it has heard of all of them, and whose they are: guests that
were connected before this daemon ran wait for its answer, and "not known yet" would be none.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from eve_meta.inventory.inventory import Inventory
from eve_meta.state.passwords import Passwords
from eve_meta.state.tokenkeys import TokenKeys
from eve_meta.steering.steering import Steering
from eve_meta.steering.taps.tap import Tap
from eve_meta.supervisor.assignment import Assignment
from eve_meta.supervisor.events import Events, Kind
from eve_meta.supervisor.listeners import Listeners
from eve_meta.supervisor.passwords import PostedPasswords
from eve_meta.supervisor.tallies import Tallies
from eve_meta.supervisor.tap_state import TapState, event_fields
from eve_meta.supervisor.tap_table import TapTable
from eve_meta.supervisor.worker_entry import WorkerEntries, unknown
from eve_meta.supervisor.worker_feed import NODE
from eve_meta.supervisor.worker_link import Hearers
from eve_meta.supervisor.worker_process import ProcessReactor, WorkerConfig, WorkerProcess
from eve_meta.values.domain import TokenPolicy
from eve_meta.values.eve_node import UNKNOWN_NODE
from eve_meta.wire.messages import PutNode, RemoveTap

SETTLE_TIME = 2.0
"""Seconds at most in which workers do not begin, because whose a tap is that was there before us is not known yet. QEMU
is found within milliseconds; libvirt may be away."""

LEAVE_TIME = 5.0
"""Seconds for which what workers still have to tell of a tap that is gone is waited for: several times as long as they
gather it (:data:`eve_meta.web.worker.COUNT_INTERVAL`)."""


class Supervisor:
    """Holds the table and the workers. It observes the steering.

    :param workers: how many workers there will be.
    :param ready: called when guests can be answered: every worker accepts connections. Again when one of them died.
    :param keep: called with the sockets that guests connect to, and again when they are others.
    :ivar heals: how often a piece of the way was mended, by which.
    :ivar events: what happens.
    :ivar accounting: what workers tell of their guests.
    :ivar passwords: what guests posted.
    :ivar stopping: whether :meth:`stop` was called.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: ProcessReactor,
        inventory: Inventory,
        config: WorkerConfig,
        workers: int,
        *,
        tokens: TokenPolicy,
        token_keys: TokenKeys,
        passwords: Passwords,
        ready: Callable[[], None],
        keep: Callable[[Sequence[socket.socket]], None],
    ) -> None:
        self._reactor = reactor
        self._inventory = inventory
        self._config = config
        self._count = workers
        self._ready = ready
        self._keep = keep
        self._table = TapTable(workers)
        self._entries = WorkerEntries(tokens, token_keys, passwords)
        self._following = Assignment(
            reactor,
            inventory,
            self._table,
            refresh=self._refresh,
            general=self._refresh_general,
            caught_up=self._begin_if_settled,
        )
        self.events = Events()
        self.accounting = Tallies(reactor, self._table, self.events, self._misled)
        self.passwords = PostedPasswords(reactor, self._table, passwords, self._password_changed)
        self.heals: Counter[str] = Counter()
        self.stopping = False
        self._complete = self._begun = False
        self._settling: IDelayedCall | None = None
        self._node = UNKNOWN_NODE
        self._problems: set[str] = set()
        self._listeners: Listeners | None = None
        self.workers: list[WorkerProcess] = []

    @property
    def taps(self) -> Iterable[TapState]:
        """The taps, by tag."""
        return sorted(self._table, key=lambda state: state.tap.tag)

    def start(self, steering: Steering, listeners: Sequence[socket.socket]) -> None:
        """Starts the inventory and the workers, which accept on *listeners*, each on its own."""
        self._inventory.start(self._following.inventory_changed)
        self._listeners = Listeners(listeners, partial(steering.namespace.listen, self._count), self._keep)
        sound = partial(self._listeners.sound, self._kill_all)
        for number in range(self._count):
            worker = WorkerProcess(
                self._reactor,
                self._config,
                number,
                partial(_of_worker, sound, number, self._count),
                entered=steering.namespace.entered,
                started=partial(self._started, number),
                accepting=self._worker_accepts,
                hearers=Hearers(
                    counted=partial(self.accounting.counted, number),
                    asked=partial(self.accounting.asked, number),
                    timed=partial(self.accounting.timed, number),
                    reported=partial(self.accounting.reported, number),
                    posted=partial(self.passwords.posted, number),
                ),
            )
            self.workers.append(worker)
        for worker in self.workers:
            worker.start()

    def summary(self) -> str:
        """How it goes, in a line."""
        taps, workers = self._table, self.workers
        known = sum(state.domain is not None for state in taps)
        accept = sum(worker.accepts for worker in workers)
        return f"taps: {len(taps)}, of a known domain: {known}; workers: {len(workers)}, that accept: {accept}"

    def drain(self) -> Deferred[Any]:
        """Has the workers accept no more and answer what was asked; the result comes when they have.

        Until they are gone they are told of taps and domains as ever.
        """
        return DeferredList([worker.drain() for worker in self.workers])

    def stop(self) -> Deferred[Any]:
        """Ends the workers; the result comes when they are gone."""
        self.stopping = True
        self._inventory.stop()
        self._following.stop()
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None

        def end(_: Any) -> Deferred[Any]:
            if self._listeners is not None:
                self._listeners.close()
            return DeferredList([worker.stop() for worker in self.workers])

        # What they still have to tell is for the audit, which would lack the last second.
        return self.current_counts().addCallback(end)

    def current_counts(self) -> Deferred[Any]:
        """The result comes when every worker has said its counts, or has not in time (:meth:`WorkerProcess.report`)."""
        return DeferredList([worker.report() for worker in self.workers])

    def _kill_all(self, blamed: int | None = None) -> None:
        for number, worker in enumerate(self.workers):
            worker.kill(blameless=number != blamed)

    # -- steering's observer --

    def tap_appeared(self, tap: Tap) -> None:
        # One of this name may have gone a moment ago, and the inventory not have heard of it: what it knows of the name
        # is the old one's.
        self._inventory.holder_may_have_changed(tap.name)
        state = TapState(tap, self._inventory.domain_of(tap.name))
        self._table.add(state)
        # Its first frame may come when this returns, and its domain be told later.
        self._tell_unknown(state)
        self._tell(state)
        self._following.taps_changed(tap)
        self._log.info("tap {tap} has tag {tag}: {domain}", tap=tap.name, tag=tap.tag, domain=_domain_text(state))
        self.events.emit(Kind.TAP_APPEARED, **event_fields(tap, None))
        if state.domain is not None:
            self.events.emit(Kind.DOMAIN_FOUND, **event_fields(tap, state.domain))

    def taps_complete(self) -> None:
        if not self._complete:
            self._complete = True
            self._settling = self._reactor.callLater(SETTLE_TIME, self._begin)
            # When it has heard of the last of them.
            self._following.taps_changed()

    def tap_gone(self, tap: Tap) -> None:
        state = self._table.remove(tap.tag)
        for worker in self._worker_of(tap.tag):
            worker.at_once(RemoveTap(tag=tap.tag))
        if not self.stopping:
            self._following.taps_changed(tap)
            self._reactor.callLater(LEAVE_TIME, self._table.forget, tap.tag)
            self._log.info("tap {tap} with tag {tag} is gone", tap=tap.name, tag=tap.tag)
            self.events.emit(Kind.TAP_GONE, **event_fields(tap, state.domain))

    def holder_may_have_changed(self, tap: Tap) -> None:
        state = self._table[tap.tag]
        state.tap = tap
        self._inventory.holder_may_have_changed(tap.name)
        # At once: until the new owner is found, whoever opens the tap next must not read the old one's documents.
        self._refresh(state)

    def restored(self, piece: str, name: str) -> None:
        self.heals[piece] += 1
        self.events.emit(Kind.HEALED, piece=piece, name=name)

    # -- inventory --

    def _refresh_general(self) -> None:
        """Tells the workers of the node, and the log of problems, where they are others than before."""
        if self._inventory.node() != self._node:
            self._node = self._inventory.node()
            for worker in self.workers:
                worker.put(NODE, self._node_content)
        problems = {str(problem) for problem in self._inventory.problems()}
        for problem in sorted(problems - self._problems):
            self._log.warn("{problem}", problem=problem)
        self._problems = problems

    def _refresh(self, state: TapState) -> None:
        """Tells its worker when the tap of *state* means another domain than that knows."""
        domain = self._inventory.domain_of(state.tap.name)
        if domain is not state.domain and domain != state.domain:
            old, generation = state.domain, state.generation
            if state.assign(domain):
                # The new one may have to wait for its turn; the old one ends now.
                self._tell_unknown(state)
                self.events.emit(Kind.DOMAIN_LOST, **event_fields(state.tap, old))
            self._tell(state)
            self._log.info("tap {tap}: {domain}", tap=state.tap.name, domain=_domain_text(state))
            if domain is not None and state.generation != generation:
                self.events.emit(Kind.DOMAIN_FOUND, **event_fields(state.tap, domain))

    # -- workers --

    def _worker_of(self, tag: int) -> Sequence[WorkerProcess]:
        """The worker that answers the guest of *tag*; none while there are none yet."""
        return [self.workers[self._table.worker_of(tag)]] if self.workers else []

    def _tell_unknown(self, state: TapState) -> None:
        for worker in self._worker_of(state.tap.tag):
            worker.at_once(unknown(state))

    def _tell(self, state: TapState) -> None:
        for worker in self._worker_of(state.tap.tag):
            worker.put(state.tap.tag, partial(self._entries.of, state))

    def _node_content(self) -> tuple[PutNode, bytes]:
        return PutNode(node=self._node), b""

    def _started(self, number: int, worker: WorkerProcess) -> None:
        self.events.emit(Kind.WORKER_STARTED, worker=number, pid=worker.pid, restarts=worker.restarts)
        self._tell_all(number, worker)

    def _tell_all(self, number: int, worker: WorkerProcess) -> None:
        """Pushes its part of the table to a worker that is new."""
        worker.put(NODE, self._node_content)
        for state in self._table.of_worker(number):
            worker.put(state.tap.tag, partial(self._entries.of, state))
        if self._begun:
            worker.begin()

    def _begin_if_settled(self) -> None:
        if self._settling is not None and all(map(self._inventory.is_settled, self._table.names)):
            self._settling.cancel()
            self._begin()

    def _begin(self) -> None:
        """Lets the workers accept, those that follow too."""
        self._settling = None
        self._begun = True
        for worker in self.workers:
            worker.begin()

    def _worker_accepts(self) -> None:
        if all(worker.accepts for worker in self.workers):
            self._ready()

    def _misled(self, number: int, tag: int) -> None:
        """A worker was asked by the guest of another's *tag*: the kernel does not choose by the tag any more.

        A worker that was taken over can take that away from all (SO_DETACH_REUSEPORT_BPF); or it says what is not true.
        """
        if self._listeners is not None and not self.stopping:
            self._listeners.give_up(f"worker {number} was connected with the guest of tag {tag}, which is another's")
            self._kill_all(number)

    def _password_changed(self, domain: UUID) -> Deferred[Any]:
        """The result comes when all workers know it: each hears of it before it is asked for its counts."""
        for state in self._table:
            if state.domain is not None and state.domain.instance_uuid == domain:
                self._tell(state)
        return self.current_counts()


def _of_worker(listeners: Callable[[], Sequence[socket.socket]], number: int, workers: int) -> Sequence[socket.socket]:
    """Those of *listeners* that are for the worker of that number: one of each IP version."""
    return listeners()[number::workers]


def _domain_text(state: TapState) -> str:
    if state.domain is None:
        return "its domain is unknown"
    return f"domain {state.domain.display_name!r} ({state.domain.instance_uuid})"
