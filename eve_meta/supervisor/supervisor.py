"""The supervisor: keeps the workers, which come and go, informed of the domain of each tap.

The law: a worker is sent its own taps alone, each before the tap's first frame can reach it, and at once when the tap
is assigned to another domain or to none. It begins to accept connections only when it knows all its taps and their
domains: guests that connected before this daemon ran wait for an answer, and "not known yet" would be none.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from eve_meta.inventory.inventory import Inventory
from eve_meta.runtime.clock import Clock
from eve_meta.runtime.timer import Timer
from eve_meta.state.host_keys import HostKeys
from eve_meta.state.passwords import Passwords
from eve_meta.state.tokenkeys import TokenKeys
from eve_meta.steering.path.listening import WorkerSockets
from eve_meta.steering.steering import Steering
from eve_meta.steering.taps.tap import Tap
from eve_meta.supervisor.assignment import Assignment
from eve_meta.supervisor.dhcp import DhcpAnswers
from eve_meta.supervisor.events import Events, Kind
from eve_meta.supervisor.heartbeat import Heartbeat
from eve_meta.supervisor.host_keys import ReportedHostKeys
from eve_meta.supervisor.listeners import Listeners
from eve_meta.supervisor.passwords import PostedPasswords
from eve_meta.supervisor.tallies import Tallies
from eve_meta.supervisor.tap_state import TapState, event_fields
from eve_meta.supervisor.tap_table import TapTable
from eve_meta.supervisor.worker_entry import WorkerEntries, WorkerEntry, unknown_entry
from eve_meta.supervisor.worker_feed import NODE
from eve_meta.supervisor.worker_process import ProcessReactor, WorkerConfig, WorkerProcess
from eve_meta.values.domain import TokenPolicy
from eve_meta.values.eve_node import UNKNOWN_NODE
from eve_meta.wire.latency import Times
from eve_meta.wire.messages import BootReports, Counts, PutNode, RemoveTap
from eve_meta.wire.password import Outcome
from eve_meta.wire.requests import Row

SETTLE_TIME = 2.0
"""Seconds at most for which workers do not begin, because the domain of a tap that was there before us is unknown. QEMU
is found within milliseconds; libvirt may be away."""

RETURN_TIME = 1.0
"""Seconds at most for which guests wait for a scan of the files, when the supervisor goes on after it has done nothing
for longer than a lease lasts. A file that takes longer to read must not keep the guests of all domains waiting."""

LEAVE_TIME = 5.0
"""Seconds for which the state of a tap that is gone is kept, for what workers still have to send about it: several
times as long as they gather it (:data:`eve_meta.web.worker.COUNT_INTERVAL`)."""


class Supervisor:
    """Holds the taps and the workers, and observes the steering.

    :param clock: for the times of events.
    :param workers: how many workers there will be.
    :param tokens: the policy for domains that have none of their own.
    :param dhcp: decides what taps answer to DHCP.
    :param ready: called when every worker accepts connections, so that guests can be answered; again when that is so
        again after one of them died.
    :param keep: called with the sockets that guests connect to, and again when they are replaced.
    :ivar restorations: how often each piece of the path was restored.
    :ivar events: what happens.
    :ivar heartbeat: confirms the workers' tables, and looks whether the workers answer.
    :ivar tallies: what workers send about their guests.
    :ivar passwords: what guests posted.
    :ivar host_keys: the SSH host keys that guests reported.
    :ivar dhcp: what taps answer to DHCP.
    :ivar stopping: whether :meth:`stop` was called.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: ProcessReactor,
        clock: Clock,
        inventory: Inventory,
        config: WorkerConfig,
        workers: int,
        *,
        tokens: TokenPolicy,
        token_keys: TokenKeys,
        passwords: Passwords,
        host_keys: HostKeys,
        dhcp: DhcpAnswers,
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
        self._assignment = Assignment(
            reactor,
            inventory,
            self._table,
            refresh=self._refresh,
            refresh_general=self._refresh_general,
            caught_up=self._begin_if_settled,
        )
        self.events = Events(clock)
        self.host_keys = ReportedHostKeys(host_keys, clock.wall)
        self.tallies = Tallies(reactor, self._table, self.events, self._misrouted, self.host_keys.phoned_home)
        self.passwords = PostedPasswords(reactor, self._table, passwords, self._password_changed)
        self.dhcp = dhcp
        self.restorations: Counter[str] = Counter()
        self.stopping = False
        self._complete = self._begun = False
        self._settle_timer = Timer(reactor, self._begin)
        self._node = UNKNOWN_NODE
        self._problems: set[str] = set()
        self._listeners: Listeners | None = None
        self.workers: list[WorkerProcess] = []
        self._steering: Steering | None = None
        self.heartbeat = Heartbeat(reactor, self.workers, self._true_at, self._returned)
        self._awaited_scan, self._awaited_until = 0, 0.0

    @property
    def taps(self) -> Iterable[TapState]:
        """The taps, by tag."""
        return sorted(self._table, key=lambda state: state.tap.tag)

    def start(self, steering: Steering, sockets: Sequence[WorkerSockets]) -> None:
        """Start the inventory and the workers, each of which accepts on its own of *sockets*."""
        self._steering = steering
        self.dhcp.start(steering)
        self._inventory.start(self._assignment.inventory_changed)
        self._listeners = Listeners(self._reactor, steering, sockets, self._sockets_damaged, self._keep)
        for number in range(self._count):
            worker = WorkerProcess(
                self._reactor,
                self._config,
                number,
                get_listeners=partial(self._listeners.get_sound, number),
                in_namespace=steering.namespace.entered,
                events=WorkerListener(number, self),
            )
            self.workers.append(worker)
        for worker in self.workers:
            worker.start()
        self.heartbeat.start()

    def summary(self) -> str:
        """Return the state of taps and workers in one line."""
        taps, workers = self._table, self.workers
        known = sum(state.domain is not None for state in taps)
        accept = sum(worker.accepts for worker in workers)
        return f"taps: {len(taps)}, of a known domain: {known}; workers: {len(workers)}, that accept: {accept}"

    def drain(self) -> Deferred[Any]:
        """Have the workers accept no more connections and answer what was requested; the result comes when they have.

        Until they are gone they are sent taps and domains as ever.
        """
        return DeferredList([worker.drain() for worker in self.workers])

    def stop(self) -> Deferred[Any]:
        """End the workers; the result comes when they are gone."""
        self.stopping = True
        self._inventory.stop()
        self._assignment.stop()
        self._settle_timer.cancel()
        self.heartbeat.stop()  # the lease lasts for longer than the workers

        def end(_: Any) -> Deferred[Any]:
            if self._listeners is not None:
                self._listeners.close()
            return DeferredList([worker.stop() for worker in self.workers])

        # First their counts, for the audit: without them it would lack the last second.
        return self.current_counts().addCallback(end)

    def current_counts(self) -> Deferred[Any]:
        """Have every worker send its counts; the result comes when all have, or when the time for that is over.

        See :meth:`WorkerProcess.request_counts`.
        """
        return DeferredList([worker.request_counts() for worker in self.workers])

    # -- the observer of steering (TapObserver) --

    def tap_appeared(self, tap: Tap) -> None:
        # Another tap of this name may have gone a moment ago, which the inventory does not know yet: what it knows by
        # the name is the old tap's.
        self._inventory.holder_may_have_changed(tap.name)
        state = TapState(tap, self._inventory.domain_of(tap.name))
        self._table.add(state)
        # At once, because its first frame may come when this returns; the domain waits for its turn.
        self._send_unknown(state)
        self._put(state)
        self.dhcp.assign(tap, state.domain)
        self._assignment.taps_changed(tap)
        self._log.info("tap {tap} has tag {tag}: {domain}", tap=tap.name, tag=tap.tag, domain=_domain_text(state))
        self.events.emit(Kind.TAP_APPEARED, **event_fields(tap, None))
        if state.domain is not None:
            self.events.emit(Kind.DOMAIN_FOUND, **event_fields(tap, state.domain))

    def taps_complete(self) -> None:
        if not self._complete:
            self._complete = True
            self._settle_timer.start(SETTLE_TIME)
            # Once the inventory knows the last of the taps, this looks whether all are settled.
            self._assignment.taps_changed()

    def tap_gone(self, tap: Tap) -> None:
        state = self._table.remove(tap.tag)
        self.dhcp.remove(tap.tag)
        for worker in self._worker_of(tap.tag):
            worker.send_now(RemoveTap(tag=tap.tag))
        if not self.stopping:
            self._assignment.taps_changed(tap)
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
        self.restorations[piece] += 1
        self.events.emit(Kind.RESTORED, piece=piece, name=name)

    # -- changes of the inventory --

    def _refresh_general(self) -> None:
        """Send the node to the workers, and write new problems to the log, where these have changed."""
        if self._inventory.node() != self._node:
            self._node = self._inventory.node()
            for worker in self.workers:
                worker.put(NODE, self._node_entry)
        problems = {str(problem) for problem in self._inventory.problems()}
        for problem in sorted(problems - self._problems):
            self._log.warn("{problem}", problem=problem)
        self._problems = problems

    def _refresh(self, state: TapState) -> None:
        """Assign the domain that the inventory knows to the tap of *state*; where it is new, send it to the worker."""
        domain = self._inventory.domain_of(state.tap.name)
        if domain is not state.domain and domain != state.domain:
            old, generation = state.domain, state.generation
            if state.assign(domain, self._reactor.seconds()):
                # The new domain may have to wait for its turn; the old one ends now.
                self._send_unknown(state)
                self.events.emit(Kind.DOMAIN_LOST, **event_fields(state.tap, old))
            self._put(state)
            self.dhcp.assign(state.tap, domain)
            self._log.info("tap {tap}: {domain}", tap=state.tap.name, domain=_domain_text(state))
            if domain is not None and state.generation != generation:
                self.events.emit(Kind.DOMAIN_FOUND, **event_fields(state.tap, domain))

    # -- workers --

    def _true_at(self) -> float | None:
        """Catch up with all events; return the last moment at which the table was true, None if that takes longer."""
        now = self._reactor.seconds()
        reported_until = None if self._steering is None else self._steering.catch_up(now)
        if reported_until is None:
            return None
        if now < self._awaited_until and not self._inventory.has_scanned(self._awaited_scan):
            return None
        return min(reported_until, self._assignment.true_at)

    def _returned(self) -> None:
        """Await a scan of the files: meanwhile somebody may have assigned a tap to another domain in one of them."""
        self._awaited_scan = self._inventory.due_scan()
        self._awaited_until = self._reactor.seconds() + RETURN_TIME

    def worker_hung(self, number: int) -> None:
        """Record that a worker did not answer and is killed."""
        self.events.emit(Kind.WORKER_HUNG, worker=number, pid=self.workers[number].pid)

    def worker_started(self, number: int) -> None:
        """Send a worker, whose process is new, its part of the table."""
        worker = self.workers[number]
        self.events.emit(Kind.WORKER_STARTED, worker=number, pid=worker.pid, restarts=worker.restarts)
        worker.put(NODE, self._node_entry)
        for state in self._table.of_worker(number):
            worker.put(state.tap.tag, partial(self._entries.entry_of, state))
        if self._begun:
            worker.begin()

    def worker_accepts(self) -> None:
        """Call *ready* when every worker accepts connections."""
        if all(worker.accepts for worker in self.workers):
            self._ready()

    def _worker_of(self, tag: int) -> Sequence[WorkerProcess]:
        """Return the worker that answers the guest of *tag*, in a sequence: an empty one until the workers exist."""
        return [self.workers[self._table.worker_of(tag)]] if self.workers else []

    def _send_unknown(self, state: TapState) -> None:
        for worker in self._worker_of(state.tap.tag):
            worker.send_now(unknown_entry(state))

    def _put(self, state: TapState) -> None:
        for worker in self._worker_of(state.tap.tag):
            worker.put(state.tap.tag, partial(self._entries.entry_of, state))

    def _node_entry(self) -> WorkerEntry:
        return WorkerEntry(PutNode(node=self._node))

    def _begin_if_settled(self) -> None:
        if self._settle_timer.is_pending and all(map(self._inventory.is_settled, self._table.names)):
            self._settle_timer.cancel()
            self._begin()

    def _begin(self) -> None:
        """Let the workers accept connections, and those that will be started later."""
        self._begun = True
        self.dhcp.settle((state.tap, state.domain) for state in self._table)
        for worker in self.workers:
            worker.begin()

    def _misrouted(self, number: int, tag: int) -> None:
        """Kill worker *number*, which reported a request of the guest of *tag*, another worker's.

        Root's rules lead no such guest to it. So what it reported is false.
        """
        self.workers[number].link_distrusted(f"a request of the guest of tag {tag}, which is another worker's")

    def _sockets_damaged(self, number: int) -> None:
        """Kill worker *number*, which has damaged the sockets that its guests connect to."""
        self.workers[number].kill()

    def _password_changed(self, domain: UUID) -> Deferred[Any]:
        """Send the change to all workers that answer *domain*; the result comes when they know it.

        Each is sent the change before the request for its counts, which it answers.
        """
        for state in self._table:
            if state.domain is not None and state.domain.instance_uuid == domain:
                self._put(state)
        return self.current_counts()


@frozen
class WorkerListener:
    """Acts on the events of one worker (:class:`~eve_meta.supervisor.worker_events.WorkerEvents`).

    It adds the worker's number, which is the supervisor's own knowledge, to what the worker sends.
    """

    _number: int
    _supervisor: Supervisor

    def started(self) -> None:
        self._supervisor.worker_started(self._number)

    def accepting(self) -> None:
        self._supervisor.worker_accepts()

    def made_forbidden_call(self, pid: int | None) -> None:
        self._supervisor.events.emit(Kind.FORBIDDEN_CALL, worker=self._number, pid=pid)

    def hung(self) -> None:
        self._supervisor.worker_hung(self._number)

    def counted(self, counts: Counts) -> None:
        self._supervisor.tallies.counted(self._number, counts)

    def asked(self, rows: list[Row]) -> None:
        self._supervisor.tallies.asked(self._number, rows)

    def timed(self, times: list[Times]) -> None:
        self._supervisor.tallies.timed(self._number, times)

    def reported(self, reports: BootReports) -> None:
        self._supervisor.tallies.reported(self._number, reports)

    def posted(self, tag: int, password: str, answer: Callable[[Outcome], None]) -> None:
        self._supervisor.passwords.posted(self._number, tag, password, answer)


def _domain_text(state: TapState) -> str:
    if state.domain is None:
        return "its domain is unknown"
    return f"domain {state.domain.display_name!r} ({state.domain.instance_uuid})"
