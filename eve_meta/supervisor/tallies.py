"""What workers tell of their guests, added up by tap.

The law: a guest may have taken the worker over that tells it. So what is told of the taps of another worker counts for
nothing, and neither does a name, a number or a time that no sound worker tells.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IReactorTime

from eve_meta.supervisor.events import Events, Kind
from eve_meta.supervisor.refusal_log import RefusalLog
from eve_meta.supervisor.tap_state import TapState, event_fields
from eve_meta.supervisor.tap_table import TapTable
from eve_meta.values.tag import MAX_TAG
from eve_meta.wire.counts import NAMES
from eve_meta.wire.latency import Times
from eve_meta.wire.messages import BootReports, Counts
from eve_meta.wire.requests import Row

MAX_COUNT = 2**53 - 1
"""The largest count that is taken from a worker, in one go: what every reader of JSON can hold."""

NO_TAP = "no tap"
"""What the log calls connections that came through none of ours."""


class Tallies:
    """Adds up what the workers of *table* tell.

    :param events: hears of what domains read first, and of refusals.
    :param misled: called with the number of a worker and a tag of another's, whose guest has asked that worker.
    :ivar unsteered: what happened to connections that came through no tap.
    """

    def __init__(
        self, reactor: IReactorTime, table: TapTable, events: Events, misled: Callable[[int, int], None]
    ) -> None:
        self._table = table
        self._events = events
        self._misled = misled
        self._refusals = RefusalLog(reactor, self._refused)
        self.unsteered: Counter[str] = Counter()

    def counted(self, worker: int, counts: Counts) -> None:
        """Adds up what *worker* counted. Tags of taps that are gone are nobody's any more."""
        for tag, of_tag in counts.counts.items():
            # Only what a sound worker says: one that a guest took over must not fill our memory with names.
            good = {name: n for name, n in of_tag.items() if 0 < n <= MAX_COUNT and name in NAMES}
            if tag == "0":
                self.unsteered.update(good)
                whose = NO_TAP
            elif len(tag) <= len(str(MAX_TAG)) and tag.isdecimal() and (state := self._of(int(tag), worker)):
                state.counts.update(good)
                whose = state.tap.name
            else:
                continue
            for name, number in good.items():
                self._refusals.counted(whose, name, number)

    def asked(self, worker: int, rows: Iterable[Row]) -> None:
        """Adds up what the guests of *worker* asked for, also of taps that are gone."""
        now = time.monotonic()
        for row in rows:
            if row.tag == 0:
                self.unsteered[str(row.status)] += row.number
                self._refusals.answered(NO_TAP, row.status, row.number)
                continue
            state = self._table.get_also_gone(row.tag)
            if state is None:
                continue
            if self._table.worker_of(row.tag) != worker:
                self._misled(worker, row.tag)
                return
            if state.add(row, now):
                self._refusals.answered(state.tap.name, row.status, row.number)
            if (domain := state.first_fetch(row, now)) is not None:
                fields = event_fields(state.tap, domain)
                what = {"document": row.kind.value, "status": row.status, "worker": worker}
                self._events.emit(Kind.FIRST_FETCH, at=time.time() - (now - row.first), **fields, **what)

    def timed(self, worker: int, times: Iterable[Times]) -> None:
        """Adds up how long the answers of *worker* took."""
        for each in times:
            if (state := self._of(each.tag, worker)) is not None:
                state.add_times(each)

    def reported(self, worker: int, told: BootReports) -> None:
        """Keeps what guests reported of themselves."""
        now = time.monotonic()
        for each in told.reports:
            if (state := self._of(each.tag, worker)) is not None:
                state.add_report(each.generation, each.report, now)

    def _of(self, tag: int, worker: int) -> TapState | None:
        return self._table.get(tag) if self._table.worker_of(tag) == worker else None

    def _refused(self, whose: str, what: str, number: int) -> None:
        named = self._table.named(whose)
        fields = event_fields(named[0].tap, named[0].domain) if named else {"tap": None}
        self._events.emit(Kind.REFUSED, **fields, what=what, count=number)
