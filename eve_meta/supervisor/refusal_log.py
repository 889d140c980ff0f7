"""The one line in the log about what guests were refused.

Guests choose how much of that there is, so it moves counters, which ``eve-meta status`` shows. For who only reads the
log, a line now and then says whose guests it were. It holds nothing that a guest sent.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from http import HTTPStatus

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from eve_meta.wire.counts import Drop

EVERY = 60.0
"""Seconds between two lines, and from the first refusal to the line that tells of it."""

SAMPLE_EVERY = 1.0
"""Seconds between two samples: what guests are refused must not push all else out of what is kept of events."""

MAX_TAPS = 3
"""Taps in a line, those that were refused most; the others are counted."""

STATUSES = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS})
"""Answers that are told of. Guests in order look for what is not there, and what cannot be read is told as
:attr:`~eve_meta.wire.counts.Drop.MALFORMED`."""

DROPS = frozenset({Drop.REFUSED_CONNECTIONS, Drop.MALFORMED, Drop.TIMEOUT, Drop.SLOW_READER})
"""Ends of connections that are told of. That a tap changed hands is not its guest's doing."""


class RefusalLog:
    """Gathers what was refused, and tells it.

    :param sample: told at once whose guest was refused, what and how often: once between two lines for each tap, and no
        more often than each :data:`SAMPLE_EVERY` in all.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorTime, sample: Callable[[str, str, int], None]) -> None:
        self._reactor = reactor
        self._sample = sample
        self._next_sample = 0.0
        self._sampled: set[str] = set()
        self._refused: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def answered(self, whose: str, status: int, number: int) -> None:
        """The guest of *whose*, a tap's name or "no tap", was answered *status* so often."""
        if status in STATUSES:
            self._add(whose, f"answered {status}", number)

    def counted(self, whose: str, name: str, number: int) -> None:
        """*name* of :data:`eve_meta.wire.counts.NAMES` happened to the guest of *whose* so often."""
        if name in DROPS:
            self._add(whose, Drop(name).value, number)

    def _add(self, whose: str, what: str, number: int) -> None:
        if not self._refused:
            self._reactor.callLater(EVERY, self._tell)
        self._refused[whose][what] += number
        now = self._reactor.seconds()
        if whose not in self._sampled and now >= self._next_sample:
            self._sampled.add(whose)
            self._next_sample = now + SAMPLE_EVERY
            self._sample(whose, what, number)

    def _tell(self) -> None:
        ranked = sorted(self._refused.items(), key=lambda item: item[1].total(), reverse=True)
        said = [
            f"{whose}: " + ", ".join(f"{number} {what}" for what, number in counter.most_common())
            for whose, counter in ranked[:MAX_TAPS]
        ]
        if len(ranked) > MAX_TAPS:
            said.append(f"and guests of {len(ranked) - MAX_TAPS} more taps")
        self._refused.clear()
        self._sampled.clear()
        self._log.warn(
            "guests were refused within the last {every:.0f} s: {said}; 'eve-meta status' has all counts",
            every=EVERY,
            said="; ".join(said),
        )
