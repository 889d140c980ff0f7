"""What workers send about their guests, added up by tap.

The law: the worker that sends it may be compromised. So what a worker sends about the taps of another worker counts for
nothing, and neither does a name, a number or a time that no sound worker sends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IReactorTime

from eve_meta.supervisor.events import Events, Kind
from eve_meta.supervisor.refusal_log import RefusalLog
from eve_meta.supervisor.tap_state import TapState, event_fields
from eve_meta.supervisor.tap_table import TapTable
from eve_meta.values.domain import Domain
from eve_meta.values.tag import MAX_TAG
from eve_meta.wire.boot_reports import BootReport, What
from eve_meta.wire.counts import NAMES
from eve_meta.wire.latency import Times
from eve_meta.wire.messages import BootReports, Counts
from eve_meta.wire.requests import Row

MAX_COUNT = 2**53 - 1
"""The largest count that is taken from a worker in one message: what every reader of JSON can hold."""

NO_TAP = "no tap"
"""What the log calls connections that came through none of our taps."""


class Tallies:
    """Adds up what the workers of *table* send.

    :param reactor: its clock is ``CLOCK_MONOTONIC``, as that of the times that workers send.
    :param events: takes the first requests of domains, and refusals.
    :param misrouted: called with the number of a worker, and a tag of another worker whose guest was connected to it.
    :param phoned_home: called with a domain and the phone_home of its guest.
    :ivar unsteered: what happened to connections that came through no tap.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        table: TapTable,
        events: Events,
        misrouted: Callable[[int, int], None],
        phoned_home: Callable[[Domain, BootReport], None],
    ) -> None:
        self._reactor = reactor
        self._table = table
        self._events = events
        self._misrouted = misrouted
        self._phoned_home = phoned_home
        self._refusals = RefusalLog(reactor, self._emit_refusal)
        self.unsteered: Counter[str] = Counter()

    def counted(self, worker: int, counts: Counts) -> None:
        """Add up what *worker* counted; tags of taps that are gone are left out."""
        for tag, tag_counts in counts.counts.items():
            # Only what a sound worker sends: a compromised one must not fill our memory with names.
            sound = {name: number for name, number in tag_counts.items() if 0 < number <= MAX_COUNT and name in NAMES}
            if tag == "0":
                self.unsteered.update(sound)
                tap = NO_TAP
            elif len(tag) <= len(str(MAX_TAG)) and tag.isdecimal() and (state := self._state_of(int(tag), worker)):
                state.counts.update(sound)
                tap = state.tap.name
            else:
                continue
            for name, number in sound.items():
                self._refusals.counted(tap, name, number)

    def asked(self, worker: int, rows: Iterable[Row]) -> None:
        """Add up what the guests of *worker* requested, also through taps that are gone."""
        now = self._reactor.seconds()
        for row in rows:
            if row.tag == 0:
                self.unsteered[str(row.status)] += row.number
                self._refusals.answered(NO_TAP, row.status, row.number)
                continue
            state = self._table.get_also_gone(row.tag)
            if state is None:
                continue
            if self._table.worker_of(row.tag) != worker:
                self._misrouted(worker, row.tag)
                return
            if state.add(row, now):
                self._refusals.answered(state.tap.name, row.status, row.number)
            if (domain := state.first_fetch(row, now)) is not None:
                fields = event_fields(state.tap, domain)
                request = {"document": row.kind.value, "status": row.status, "worker": worker}
                self._events.emit(Kind.FIRST_FETCH, at=row.first, **fields, **request)

    def timed(self, worker: int, times: Iterable[Times]) -> None:
        """Add up how long the answers of *worker* took."""
        for each in times:
            if (state := self._state_of(each.tag, worker)) is not None:
                state.add_times(each)

    def reported(self, worker: int, reports: BootReports) -> None:
        """Keep what the guests of *worker* reported of their boot."""
        now = self._reactor.seconds()
        for each in reports.reports:
            if (state := self._state_of(each.tag, worker)) is not None:
                domain = state.add_report(each.generation, each.report, now)
                if domain is not None and each.report.what is What.PHONE_HOME:
                    self._phoned_home(domain, each.report)

    def _state_of(self, tag: int, worker: int) -> TapState | None:
        return self._table.get(tag) if self._table.worker_of(tag) == worker else None

    def _emit_refusal(self, tap: str, what: str, number: int) -> None:
        named = self._table.named(tap)
        fields = event_fields(named[0].tap, named[0].domain) if named else {"tap": None}
        self._events.emit(Kind.REFUSED, **fields, what=what, count=number)
