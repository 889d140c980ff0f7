"""The supervisor: which tap means which domain, told to workers that come and go.

The law: a worker hears of a tap before the tap's first frame can reach it, hears at once when the tap means another
domain or none, and begins to accept only when it has heard of all taps, and whose they are: guests that were connected
before this daemon ran wait for its answer, and "not known yet" would be none.
"""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from eve_meta.channel import Counts, PutNode, PutTap, RemoveTap, Reported
from eve_meta.codec import make_converter
from eve_meta.domain import Domain, TokenPolicy
from eve_meta.eve import UNKNOWN_NODE
from eve_meta.events import Events, Kind
from eve_meta.feed import NODE
from eve_meta.inventory.inventory import Inventory
from eve_meta.latency import Times
from eve_meta.ledger import Row
from eve_meta.listeners import Listeners
from eve_meta.password import Outcome
from eve_meta.refusals import RefusalLog
from eve_meta.state.passwords import Passwords
from eve_meta.state.tokenkeys import TokenKeys
from eve_meta.steering.steering import Steering, Tap
from eve_meta.tag import MAX_TAG, share_of
from eve_meta.tapstate import TapState
from eve_meta.web.counts import NAMES
from eve_meta.worker_process import IReactor, WorkerConfig, WorkerProcess

PASSWORD_RETRY_TIME = 1.0
"""Seconds after a password could not be kept in which its tap's next is not tried: no guest is to keep a full or a slow
disk busy."""

LONG, REST = 0.005, 3
"""To look at taps again may take this many seconds without more ado; where it takes longer, as many times as long
passes until the next time, for other things to be done."""

SETTLE_TIME = 2.0
"""Seconds at most in which workers do not begin, because whose a tap is that was there before us is not known yet. QEMU
is found within milliseconds; libvirt may be away."""

REFRESHED_AT_ONCE = 50
"""Taps that get another domain in one turn of the reactor, which takes ten milliseconds."""

MAX_COUNT = 2**53 - 1
"""The largest count that is taken from a worker, in one go: what every reader of JSON can hold."""

LEAVE_TIME = 5.0
"""Seconds for which what workers still have to tell of a tap that is gone is waited for: several times as long as they
gather it (:data:`eve_meta.worker.COUNT_INTERVAL`)."""

NO_TAP = "no tap"
"""What the log calls connections that came through none of ours."""


class Supervisor:
    """Holds the table and the workers. It observes the steering.

    :param ready: called when guests can be answered: every worker accepts connections. Again when one of them died.
    :param keep: called with the sockets that guests connect to, and again when they are others.
    :ivar heals: how often a piece of the way was mended, by which.
    :ivar events: what happens.
    :ivar stopping: whether :meth:`stop` was called.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactor,
        inventory: Inventory,
        config: WorkerConfig,
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
        self._tokens = tokens
        self._token_keys = token_keys
        self._passwords = passwords
        self.events = Events()
        self.heals: Counter[str] = Counter()
        self._refusals = RefusalLog(reactor, self._refused)
        self._ready = ready
        self._keep = keep
        self._converter = make_converter()
        self._taps: dict[int, TapState] = {}
        # By name: where messages of the kernel were lost, two may have one for a moment.
        self._named: dict[str, list[TapState]] = {}
        self._leaving: dict[int, TapState] = {}
        self.stopping = False
        self._complete = self._begun = False
        self._settling: IDelayedCall | None = None
        self._node = UNKNOWN_NODE
        self._problems: set[str] = set()
        # Names of taps that came or went, of which the inventory is told soon.
        self._untold: set[str] = set()
        self._inventory_told_soon = False
        self._refreshing: IDelayedCall | None = None
        # Tags of taps that are to be refreshed when their turn comes; a dict keeps their order.
        self._waiting: dict[int, None] = {}
        self._refreshing_more: IDelayedCall | None = None
        self._rested_at = 0.0
        self._listeners: Listeners | None = None
        self.workers: list[WorkerProcess] = []
        self.unsteered: Counter[str] = Counter()

    @property
    def taps(self) -> Iterable[TapState]:
        """The taps, by tag."""
        return [state for _, state in sorted(self._taps.items())]

    def start(self, steering: Steering, listeners: Sequence[socket.socket], workers: int) -> None:
        """Starts the inventory and *workers* workers, which accept on *listeners*, each on its own."""
        self._inventory.start(self._inventory_changed)
        self._listeners = Listeners(listeners, partial(steering.namespace.listen, workers), self._keep)
        sound = partial(self._listeners.sound, self._kill_all)
        for number in range(workers):
            worker = WorkerProcess(
                self._reactor,
                self._config,
                number,
                partial(_of_worker, sound, number, workers),
                entered=steering.namespace.entered,
                started=partial(self._started, number),
                accepting=self._worker_accepts,
                counted=partial(self._counted, number),
                asked=partial(self._asked, number),
                timed=partial(self._timed, number),
                reported=partial(self._reported, number),
                posted=partial(self._password_posted, number),
            )
            self.workers.append(worker)
        for worker in self.workers:
            worker.start()

    def summary(self) -> str:
        """How it goes, in a line."""
        taps, workers = self._taps.values(), self.workers
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
        for pending in (self._refreshing, self._settling):
            if pending is not None:
                pending.cancel()
        self._refreshing = self._settling = None

        def end(_: Any) -> Deferred[Any]:
            if self._listeners is not None:
                self._listeners.close()
            return DeferredList([worker.stop() for worker in self.workers])

        # What they still have to tell is for the audit, which would lack the last second.
        return self.current_counts().addCallback(end)

    def current_counts(self) -> Deferred[Any]:
        """The result comes when every worker has said its counts, or has not within :data:`REPORT_TIMEOUT`."""
        return DeferredList([worker.report() for worker in self.workers])

    def _kill_all(self) -> None:
        for worker in self.workers:
            worker.kill()

    # -- steering's observer --

    def tap_appeared(self, tap: Tap) -> None:
        # One of this name may have gone a moment ago, and the inventory not have heard of it: what it knows of the name
        # is the old one's.
        self._inventory.carrier_changed(tap.name)
        state = self._taps[tap.tag] = TapState(
            tap, self._inventory.domain_of(tap.name), password_failed=-PASSWORD_RETRY_TIME
        )
        self._named.setdefault(tap.name, []).append(state)
        # Its first frame may come when this returns, and its domain be told later.
        self._tell_unknown(state)
        self._tell(state)
        self._tell_inventory(tap)
        self._log.info("tap {tap} has tag {tag}: {domain}", tap=tap.name, tag=tap.tag, domain=_domain_text(state))
        self.events.emit(Kind.TAP_APPEARED, **_fields(tap, None))
        if state.domain is not None:
            self.events.emit(Kind.DOMAIN_FOUND, **_fields(tap, state.domain))

    def taps_complete(self) -> None:
        if not self._complete:
            self._complete = True
            self._settling = self._reactor.callLater(SETTLE_TIME, self._begin)
            # When it has heard of the last of them.
            self._tell_inventory()

    def tap_gone(self, tap: Tap) -> None:
        state = self._leaving[tap.tag] = self._taps.pop(tap.tag)
        self._named[tap.name].remove(state)
        if not self._named[tap.name]:
            del self._named[tap.name]
        for worker in self._worker_of(tap.tag):
            worker.at_once(RemoveTap(tag=tap.tag))
        if not self.stopping:
            self._tell_inventory(tap)
            self._reactor.callLater(LEAVE_TIME, self._leaving.pop, tap.tag)
            self._log.info("tap {tap} with tag {tag} is gone", tap=tap.name, tag=tap.tag)
            self.events.emit(Kind.TAP_GONE, **_fields(tap, state.domain))

    def carrier_changed(self, tap: Tap) -> None:
        state = self._taps[tap.tag]
        state.tap = tap
        self._inventory.carrier_changed(tap.name)
        # At once: until the new owner is found, whoever opens the tap next must not read the old one's documents.
        self._refresh(state)

    def healed(self, piece: str, name: str) -> None:
        self.heals[piece] += 1
        self.events.emit(Kind.HEALED, piece=piece, name=name)

    # -- inventory --

    def _tell_inventory(self, *taps: Tap) -> None:
        """Tells the inventory that *taps* came or went, once for all that do in one turn of the reactor."""
        self._untold.update(tap.name for tap in taps)
        if not self._inventory_told_soon:
            self._inventory_told_soon = True
            self._reactor.callLater(0, self._taps_changed)

    def _taps_changed(self) -> None:
        self._inventory_told_soon = False
        names, self._untold = self._untold, set()
        if not self.stopping:
            there = names & self._named.keys()
            self._inventory.taps_changed(there, names - there)
            self._begin_if_settled()

    def _inventory_changed(self) -> None:
        """Refreshes the taps that this concerns, now or after a rest."""
        if self._refreshing is None:
            rest = self._rested_at - self._reactor.seconds()
            if rest > 0:
                self._refreshing = self._reactor.callLater(rest, self._refresh_concerned)
            else:
                self._refresh_concerned()

    def _refresh_concerned(self) -> None:
        self._refreshing = None
        if self.stopping:
            return
        began = time.monotonic()
        self._refresh_taps()
        took = time.monotonic() - began
        # On a large host a change of each of thousands of taps would ask for this thousands of times.
        self._rested_at = self._reactor.seconds() + (REST * took if took > LONG else 0)

    def _refresh_taps(self) -> None:
        concerned = self._inventory.take_concerned()
        for name in self._named if concerned is None else concerned:
            for state in self._named.get(name, ()):
                self._refresh_soon(state)
        if self._refreshing_more is None:
            self._refresh_more()
        if self._inventory.node() != self._node:
            self._node = self._inventory.node()
            for worker in self.workers:
                worker.put(NODE, self._node_content)
        problems = {str(problem) for problem in self._inventory.problems()}
        for problem in sorted(problems - self._problems):
            self._log.warn("{problem}", problem=problem)
        self._problems = problems

    def _refresh_soon(self, state: TapState) -> None:
        """Refreshes *state* at once where its tap does not mean the old domain any more, else when its turn comes."""
        old, domain = state.domain, self._inventory.domain_of(state.tap.name)
        if old is not None and (domain is None or domain.instance_uuid != old.instance_uuid):
            self._refresh(state)
        elif domain is not old:
            self._waiting[state.tap.tag] = None

    def _refresh_more(self) -> None:
        """Refreshes some taps, and the others in later turns: when files are read at first, all taps get a domain."""
        self._refreshing_more = None
        if self.stopping:
            return
        for tag in list(islice(self._waiting, REFRESHED_AT_ONCE)):
            del self._waiting[tag]
            if (state := self._taps.get(tag)) is not None:
                self._refresh(state)
        if self._waiting:
            self._refreshing_more = self._reactor.callLater(0, self._refresh_more)
        else:
            self._begin_if_settled()

    def _refresh(self, state: TapState) -> None:
        """Tells the workers when the tap of *state* means another domain than they know."""
        domain = self._inventory.domain_of(state.tap.name)
        if domain is not state.domain and domain != state.domain:
            old, generation = state.domain, state.generation
            if state.mean(domain):
                # The new one may have to wait for its turn; the old one ends now.
                self._tell_unknown(state)
                self.events.emit(Kind.DOMAIN_LOST, **_fields(state.tap, old))
            self._tell(state)
            self._log.info("tap {tap}: {domain}", tap=state.tap.name, domain=_domain_text(state))
            if domain is not None and state.generation != generation:
                self.events.emit(Kind.DOMAIN_FOUND, **_fields(state.tap, domain))

    # -- workers --

    def _worker_of(self, tag: int) -> Sequence[WorkerProcess]:
        """The worker that answers the guest of *tag*; none while there are none yet."""
        return [self.workers[share_of(tag, len(self.workers))]] if self.workers else []

    def _is_of(self, tag: int, number: int) -> bool:
        return share_of(tag, len(self.workers)) == number

    def _tell_unknown(self, state: TapState) -> None:
        for worker in self._worker_of(state.tap.tag):
            worker.at_once(_unknown(state))

    def _tell(self, state: TapState) -> None:
        for worker in self._worker_of(state.tap.tag):
            worker.put(state.tap.tag, partial(self._content, state))

    def _content(self, state: TapState) -> tuple[PutTap, bytes]:
        return self._put(state), self._payload(state)

    def _node_content(self) -> tuple[PutNode, bytes]:
        return PutNode(node=self._node), b""

    def _put(self, state: TapState) -> PutTap:
        tap, domain = state.tap, state.domain
        if domain is None:
            return _unknown(state)
        return PutTap(
            tag=tap.tag,
            tap=tap.name,
            since=tap.since,
            generation=state.generation,
            tokens=self._tokens if domain.tokens is None else domain.tokens,
            token_key=self._token_keys.of(tap.ifindex, domain.instance_uuid),
            password=self._passwords.get(domain.instance_uuid),
        )

    def _payload(self, state: TapState) -> bytes:
        if state.domain is None:
            return b""
        return json.dumps(self._converter.unstructure(state.domain, Domain), separators=(",", ":")).encode()

    def _started(self, number: int, worker: WorkerProcess) -> None:
        self.events.emit(Kind.WORKER_STARTED, worker=number, pid=worker.pid, restarts=worker.restarts)
        self._tell_all(number, worker)

    def _tell_all(self, number: int, worker: WorkerProcess) -> None:
        """Pushes its part of the table to a worker that is new."""
        worker.put(NODE, self._node_content)
        for state in self._taps.values():
            if self._is_of(state.tap.tag, number):
                worker.put(state.tap.tag, partial(self._content, state))
        if self._begun:
            worker.begin()

    def _begin_if_settled(self) -> None:
        if (
            self._settling is not None
            and not self._waiting
            and all(self._inventory.is_settled(state.tap.name) for state in self._taps.values())
        ):
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
            self._kill_all()

    # What a worker says of the taps of another is not true, or the other's to say.

    def _counted(self, worker: int, counts: Counts) -> None:
        """Adds up what a worker counted. Tags of taps that are gone are nobody's any more."""
        for tag, of_tag in counts.counts.items():
            # Only what a sound worker says: one that a guest took over must not fill our memory with names.
            good = {name: n for name, n in of_tag.items() if 0 < n <= MAX_COUNT and name in NAMES}
            if tag == "0":
                self.unsteered.update(good)
                whose = NO_TAP
            elif len(tag) <= len(str(MAX_TAG)) and tag.isdecimal() and int(tag) in self._taps:
                state = self._taps[int(tag)]
                if not self._is_of(state.tap.tag, worker):
                    continue
                state.counts.update(good)
                whose = state.tap.name
            else:
                continue
            for name, number in good.items():
                self._refusals.counted(whose, name, number)

    def _asked(self, worker: int, rows: Iterable[Row]) -> None:
        """Adds up what the guests of *worker* asked for."""
        now = time.monotonic()
        for row in rows:
            if row.tag == 0:
                self.unsteered[str(row.status)] += row.number
                self._refusals.answered(NO_TAP, row.status, row.number)
                continue
            state = self._taps.get(row.tag) or self._leaving.get(row.tag)
            if state is None:
                continue
            if not self._is_of(row.tag, worker):
                self._misled(worker, row.tag)
                return
            if state.add(row, now):
                self._refusals.answered(state.tap.name, row.status, row.number)
            if (domain := state.first_fetch(row, now)) is not None:
                fields = _fields(state.tap, domain)
                what = {"document": row.label.value, "status": row.status, "worker": worker}
                self.events.emit(Kind.FIRST_FETCH, at=time.time() - (now - row.first), **fields, **what)

    def _refused(self, whose: str, what: str, number: int) -> None:
        state = next((state for state in self._taps.values() if state.tap.name == whose), None)
        fields = {"tap": None} if state is None else _fields(state.tap, state.domain)
        self.events.emit(Kind.REFUSED, **fields, what=what, count=number)

    def _reported(self, worker: int, told: Reported) -> None:
        """Keeps what guests reported of themselves."""
        now = time.monotonic()
        for each in told.reports:
            if (state := self._taps.get(each.tag)) is not None and self._is_of(each.tag, worker):
                state.add_report(each.generation, each.report, now)

    def _timed(self, worker: int, times: Iterable[Times]) -> None:
        """Adds up how long the answers of a worker took."""
        for each in times:
            if (state := self._taps.get(each.tag)) is not None and self._is_of(each.tag, worker):
                state.add_times(each)

    # -- passwords --

    def password(self, domain: UUID) -> str | None:
        """The password that the guest of *domain* posted, None where it posted none."""
        return self._passwords.get(domain)

    def clear_password(self, domain: UUID) -> Deferred[None]:
        """Forget the password of *domain*; the result comes when its guest can post another.

        :raises Problem: as :meth:`eve_meta.state.passwords.Passwords.clear`.
        """
        return self._passwords.clear(domain).addCallback(lambda _: self._password_changed(domain))

    def _password_posted(self, worker: int, tag: int, password: str, answer: Callable[[Outcome], None]) -> None:
        """A worker says that the guest of *tag* posted *password*. Whatever it knew, whether one is set is known here.

        A worker that a guest took over can set one for any tag that it answers for. But it can replace none, and at
        most it fills the disk with one for each domain.
        """
        state = self._taps.get(tag) if self._is_of(tag, worker) else None
        now = self._reactor.seconds()
        if state is None or state.domain is None or now - state.password_failed < PASSWORD_RETRY_TIME:
            answer(Outcome.FAILED)
            return
        domain = state.domain.instance_uuid

        def stored(outcome: Outcome) -> None:
            if outcome is Outcome.STORED:
                # Before the guest hears of it: its next request may come by another of its taps.
                self._password_changed(domain).addCallback(lambda _: answer(outcome))
                return
            if outcome is Outcome.FAILED:
                state.password_failed = self._reactor.seconds()
            answer(outcome)

        self._passwords.set(domain, password).addCallback(stored)

    def _password_changed(self, domain: UUID) -> Deferred[Any]:
        """The result comes when all workers know it: each hears of it before it is asked for its counts."""
        for state in self._taps.values():
            if state.domain is not None and state.domain.instance_uuid == domain:
                self._tell(state)
        return self.current_counts()


def _of_worker(listeners: Callable[[], Sequence[socket.socket]], number: int, workers: int) -> Sequence[socket.socket]:
    """Those of *listeners* that are for the worker of that number: one of each IP version."""
    return listeners()[number::workers]


def _unknown(state: TapState) -> PutTap:
    tap = state.tap
    return PutTap(tag=tap.tag, tap=tap.name, since=tap.since, generation=state.generation)


def _fields(tap: Tap, domain: Domain | None) -> dict[str, Any]:
    """What an event says of *tap*, and of *domain* behind it."""
    fields: dict[str, Any] = {"tap": tap.name, "tag": tap.tag, "ifindex": tap.ifindex}
    if domain is not None:
        fields |= {"uuid": str(domain.instance_uuid), "name": domain.display_name}
    return fields


def _domain_text(state: TapState) -> str:
    if state.domain is None:
        return "its domain is unknown"
    return f"domain {state.domain.display_name!r} ({state.domain.instance_uuid})"
