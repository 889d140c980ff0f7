"""What a worker gathers of its guests between two messages to the supervisor: counts, requests, durations, reports.

A guest chooses how fast the numbers grow, never how many there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from eve_meta.values.request_kind import RequestKind
from eve_meta.wire.boot_reports import BootReport, TaggedReport
from eve_meta.wire.latency import Histogram, Times
from eve_meta.wire.requests import MAX_COUNT, Row

MAX_BYTES = 512 * 1024
"""Of all guests between two tellings, which are a second apart: 2,500 reports. A cloud-init boot sends 120."""

MAX_TAP_BYTES = 16 * 1024
"""Of one guest: 80 reports, or two of phone_home."""


class Reports:
    """Gathers them.

    :param began: called when there is something to :meth:`take` where there was nothing.
    """

    def __init__(self, began: Callable[[], None]) -> None:
        self._began = began
        self._waiting: list[TaggedReport] = []
        self._bytes: Counter[int] = Counter()
        self._all_bytes = 0

    def add(self, tag: int, generation: int, report: BootReport) -> bool:
        """Keeps *report* of the guest of *tag*, unless there are as many as there may be; says which."""
        if self._all_bytes + report.cost > MAX_BYTES or self._bytes[tag] + report.cost > MAX_TAP_BYTES:
            return False
        if not self._waiting:
            self._began()
        self._waiting.append(TaggedReport(tag, generation, report))
        self._bytes[tag] += report.cost
        self._all_bytes += report.cost
        return True

    def take(self) -> list[TaggedReport]:
        """What was added since the last call."""
        (taken, self._waiting) = (self._waiting, [])
        self._bytes.clear()
        self._all_bytes = 0
        return taken


class Counts:
    """Counters by tag and name, one of :data:`eve_meta.wire.counts.NAMES`.

    What requests were answered is in :mod:`eve_meta.wire.requests`.

    :param began: called when there is something to :meth:`take` where there was nothing.
    """

    def __init__(self, began: Callable[[], None]) -> None:
        self._began = began
        self._deltas: dict[int, dict[str, int]] = {}

    def add(self, tag: int, name: str) -> None:
        """Count one more of *name* for *tag*."""
        if not self._deltas:
            self._began()
        names = self._deltas.setdefault(tag, {})
        names[name] = names.get(name, 0) + 1

    def take(self) -> dict[int, dict[str, int]]:
        """What was added since the last call."""
        (taken, self._deltas) = (self._deltas, {})
        return taken


class RequestTally:
    """What a worker's guests asked for since it was last told.

    It has at most a row for each answer that was given meanwhile; a worker gives some 20,000 a second at most.

    :param began: called when there is something to :meth:`take` where there was nothing.
    """

    def __init__(self, began: Callable[[], None]) -> None:
        self._began = began
        # A list [count, first, last] under each, because the most that happens is that it changes.
        self._rows: dict[int, dict[tuple[RequestKind, int], list[float]]] = {}
        self._times: dict[int, Histogram] = {}
        self._generations: dict[int, int] = {}
        self._closed: list[Row] = []

    def add(self, tag: int, kind: RequestKind, status: int, now: float) -> None:
        """The guest of *tag* is answered *status* to what *kind* says, at *now*."""
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
        """To answer the guest of *tag* took *seconds*."""
        times = self._times.get(tag)
        if times is None:
            # What a slow reader took may be all that there is to tell.
            if not self._rows and not self._times:
                self._began()
            times = self._times[tag] = Histogram()
        times.add(seconds)

    def begin(self, tag: int, generation: int) -> None:
        """What is added for *tag* from now on is of *generation*; 0 is that of tags of which nothing was said."""
        if self._generations.get(tag, 0) != generation:
            self._closed += self._rows_of(tag, self._rows.pop(tag, {}))
            # A few durations, of a guest that was answered within the last second, are not worth another table.
            self._times.pop(tag, None)
            self._generations[tag] = generation
        if not generation:
            self._generations.pop(tag, None)

    def generation(self, tag: int) -> int:
        """The generation of *tag*."""
        return self._generations.get(tag, 0)

    def take(self) -> list[Row]:
        """What was added since the last call."""
        (taken, self._rows) = (self._rows, {})
        (rows, self._closed) = (self._closed, [])
        for tag, of_tag in taken.items():
            rows += self._rows_of(tag, of_tag)
        return rows

    def take_times(self) -> list[Times]:
        """How long answers took since the last call."""
        (taken, self._times) = (self._times, {})
        return [times.told(tag, self._generations.get(tag, 0)) for tag, times in taken.items()]

    def _rows_of(self, tag: int, rows: dict[tuple[RequestKind, int], list[float]]) -> list[Row]:
        generation = self._generations.get(tag, 0)
        return [
            Row(tag, kind, status, min(int(count), MAX_COUNT), first, last, generation)
            for (kind, status), (count, first, last) in rows.items()
        ]
