"""Reports of guests on their way to the supervisor: few enough that no guest keeps the others' from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from eve_meta.reports import Report, Told

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
        self._waiting: list[Told] = []
        self._bytes: Counter[int] = Counter()
        self._all_bytes = 0

    def add(self, tag: int, generation: int, report: Report) -> bool:
        """Keeps *report* of the guest of *tag*, unless there are as many as there may be; says which."""
        if self._all_bytes + report.cost > MAX_BYTES or self._bytes[tag] + report.cost > MAX_TAP_BYTES:
            return False
        if not self._waiting:
            self._began()
        self._waiting.append(Told(tag, generation, report))
        self._bytes[tag] += report.cost
        self._all_bytes += report.cost
        return True

    def take(self) -> list[Told]:
        """What was added since the last call."""
        (taken, self._waiting) = (self._waiting, [])
        self._bytes.clear()
        self._all_bytes = 0
        return taken
