"""The one line in the log about refusals.

Guests choose how many refusals there are, so these move counters, which ``eve-meta status`` shows. For people who read
only the log, a line now and then names the taps whose guests were refused. It holds nothing that a guest sent.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from http import HTTPStatus

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from eve_meta.runtime.timer import Timer
from eve_meta.wire.counts import Drop

LINE_EVERY = 60.0
"""Seconds between two lines, and from the first refusal to the line about it."""

SAMPLE_EVERY = 1.0
"""Seconds between two samples: refusals must not push everything else out of the events that are kept."""

MAX_TAPS = 3
"""Taps in a line, those that were refused most; the others are counted."""

STATUSES = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS})
"""Answers that count as refusals. Not 404: sound guests look for documents that do not exist. Not 400 and its like: a
request that cannot be read is counted as :attr:`~eve_meta.wire.counts.Drop.MALFORMED`."""

DROPS = frozenset({Drop.REFUSED_CONNECTIONS, Drop.MALFORMED, Drop.TIMEOUT, Drop.SLOW_READER})
"""Ends of connections that count as refusals. Not ``REVOKED``: that a tap changed hands is not its guest's doing."""


class RefusalLog:
    """Gathers refusals, and logs them from time to time.

    :param sample: called at once with the tap, the kind and the number of some refusals: once between two lines for
        each tap, and no more often than every :data:`SAMPLE_EVERY` in all.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorTime, sample: Callable[[str, str, int], None]) -> None:
        self._reactor = reactor
        self._sample = sample
        self._next_sample = 0.0
        self._sampled: set[str] = set()
        self._refused: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._line = Timer(reactor, self._write_line)

    def answered(self, tap: str, status: int, number: int) -> None:
        """Note *number* answers of *status* to the guest of *tap*, a tap's name or "no tap"."""
        if status in STATUSES:
            self._add(tap, f"answered {status}", number)

    def counted(self, tap: str, name: str, number: int) -> None:
        """Note that *name* of :data:`eve_meta.wire.counts.NAMES` happened *number* times to the guest of *tap*."""
        if name in DROPS:
            self._add(tap, Drop(name).value, number)

    def _add(self, tap: str, what: str, number: int) -> None:
        self._line.start(LINE_EVERY)
        self._refused[tap][what] += number
        now = self._reactor.seconds()
        if tap not in self._sampled and now >= self._next_sample:
            self._sampled.add(tap)
            self._next_sample = now + SAMPLE_EVERY
            self._sample(tap, what, number)

    def _write_line(self) -> None:
        ranked = sorted(self._refused.items(), key=lambda item: item[1].total(), reverse=True)
        refusals = [
            f"{tap}: " + ", ".join(f"{number} {what}" for what, number in counter.most_common())
            for tap, counter in ranked[:MAX_TAPS]
        ]
        if len(ranked) > MAX_TAPS:
            refusals.append(f"and guests of {len(ranked) - MAX_TAPS} more taps")
        self._refused.clear()
        self._sampled.clear()
        self._log.warn(
            "guests were refused within the last {every:.0f} s: {refusals}; 'eve-meta status' has all counts",
            every=LINE_EVERY,
            refusals="; ".join(refusals),
        )
