"""The activity of a worker's guests since the last message about it: counters, requests, durations, reports.

A guest chooses how fast the numbers grow, never how many there are: names and kinds are closed sets, and reports have
a budget in bytes. Each part gives what it holds to whoever takes it, and begins anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from eve_meta.values.request_kind import RequestKind
from eve_meta.wire.boot_reports import BootReport, TaggedReport
from eve_meta.wire.latency import Histogram, Times
from eve_meta.wire.requests import MAX_COUNT, Row

MAX_BYTES = 512 * 1024
"""Bytes of reports of all guests between two messages to the supervisor, which are a second apart: 2,500 reports. A
cloud-init boot sends 120."""

MAX_TAP_BYTES = 16 * 1024
"""Bytes of reports of one guest in that time: 80 reports, or two of phone_home."""


class Tally:
    """The activity of a worker's guests, in three parts.

    :ivar counts: counters by tag and name.
    :ivar requests: requests by tag, kind and status, and how long their answers took.
    :ivar reports: the reports of guests' cloud-init.
    :ivar began: called when there is something to take where there was nothing; set it to a function that takes it.
    """

    def __init__(self) -> None:
        self.began: Callable[[], None] = _nothing
        self.counts = GuestCounts(self._begin)
        self.requests = RequestTally(self._begin)
        self.reports = GuestReports(self._begin)

    def _begin(self) -> None:
        self.began()


def _nothing() -> None:
    pass


class GuestReports:
    """The reports of guests, up to :data:`MAX_BYTES` of all and :data:`MAX_TAP_BYTES` of each.

    :param began: called when there is something to :meth:`take` where there was nothing.
    """

    def __init__(self, began: Callable[[], None]) -> None:
        self._began = began
        self._reports: list[TaggedReport] = []
        self._bytes: Counter[int] = Counter()
        self._all_bytes = 0

    def add(self, tag: int, generation: int, report: BootReport) -> bool:
        """Keep *report* of the guest of *tag*; return False, and drop it, where it would exceed a limit."""
        if self._all_bytes + report.cost > MAX_BYTES or self._bytes[tag] + report.cost > MAX_TAP_BYTES:
            return False
        if not self._reports:
            self._began()
        self._reports.append(TaggedReport(tag, generation, report))
        self._bytes[tag] += report.cost
        self._all_bytes += report.cost
        return True

    def take(self) -> list[TaggedReport]:
        """Return the reports that were added since the last call."""
        (taken, self._reports) = (self._reports, [])
        self._bytes.clear()
        self._all_bytes = 0
        return taken


class GuestCounts:
    """Counters by tag and name, one of :data:`eve_meta.wire.counts.NAMES`.

    What requests were answered is counted in :class:`RequestTally`.

    :param began: called when there is something to :meth:`take` where there was nothing.
    """

    def __init__(self, began: Callable[[], None]) -> None:
        self._began = began
        self._deltas: dict[int, dict[str, int]] = {}

    def add(self, tag: int, name: str) -> None:
        """Count *name* once more for *tag*; :data:`~eve_meta.web.allowance.NO_TAG` stands for no tap."""
        if not self._deltas:
            self._began()
        deltas = self._deltas.setdefault(tag, {})
        deltas[name] = deltas.get(name, 0) + 1

    def take(self) -> dict[int, dict[str, int]]:
        """Return, by tag and name, what was added since the last call."""
        (taken, self._deltas) = (self._deltas, {})
        return taken


class RequestTally:
    """The requests of a worker's guests.

    It has at most one row for each answer that was given since the last :meth:`take`; a worker gives some 20,000 a
    second at most.

    :param began: called when there is something to :meth:`take` where there was nothing.
    """

    def __init__(self, began: Callable[[], None]) -> None:
        self._began = began
        # A list [count, first, last] under each key, because what happens most is that it changes.
        self._rows: dict[int, dict[tuple[RequestKind, int], list[float]]] = {}
        self._times: dict[int, Histogram] = {}
        self._generations: dict[int, int] = {}
        self._closed: list[Row] = []

    def add(self, tag: int, kind: RequestKind, status: int, now: float) -> None:
        """Count one request of *kind* by the guest of *tag* that is answered *status* at *now*."""
        rows = self._rows.get(tag)
        if rows is None:
            if not self._rows:
                self._began()
            rows = self._rows[tag] = {}
        row = rows.get((kind, status))
        if row is None:
            rows[kind, status] = [1, now, now]
        else:
            row[0] += 1
            row[2] = now

    def time(self, tag: int, seconds: float) -> None:
        """Add the *seconds* that an answer to the guest of *tag* took."""
        times = self._times.get(tag)
        if times is None:
            # A slow reader's answer may end when its request has long been taken: then only its duration is left.
            if not self._rows and not self._times:
                self._began()
            times = self._times[tag] = Histogram()
        times.add(seconds)

    def begin(self, tag: int, generation: int) -> None:
        """Count what is added for *tag* from now on as of *generation*; 0 is the generation of tags without one."""
        if self._generations.get(tag, 0) != generation:
            self._closed += self._rows_of(tag, self._rows.pop(tag, {}))
            # A few durations, of a guest that was answered within the last second, are not worth another table.
            self._times.pop(tag, None)
            self._generations[tag] = generation
        if not generation:
            self._generations.pop(tag, None)

    def generation(self, tag: int) -> int:
        """Return the generation of *tag*."""
        return self._generations.get(tag, 0)

    def take(self) -> list[Row]:
        """Return the requests that were added since the last call."""
        (taken, self._rows) = (self._rows, {})
        (rows, self._closed) = (self._closed, [])
        for tag, tag_rows in taken.items():
            rows += self._rows_of(tag, tag_rows)
        return rows

    def take_times(self) -> list[Times]:
        """Return the durations that were added since the last call."""
        (taken, self._times) = (self._times, {})
        return [histogram.times(tag, self._generations.get(tag, 0)) for tag, histogram in taken.items()]

    def _rows_of(self, tag: int, rows: dict[tuple[RequestKind, int], list[float]]) -> list[Row]:
        generation = self._generations.get(tag, 0)
        return [
            Row(tag, kind, status, min(int(count), MAX_COUNT), first, last, generation)
            for (kind, status), (count, first, last) in rows.items()
        ]
