"""The documents for the reader: their order, their time, and their fate when the reader dies.

The queue does no input or output. The reader answers one document after the other, so it works on the first one that
has no answer. When that takes longer than :data:`~eve_meta.wire.reading.DOCUMENT_TIME`, the reader has to be killed,
and the document is *unread*. So is a document at which the reader died twice, or whose answer no honest reader gives.
Each time that this happens to documents of one name, the name waits longer until it is read again: whoever writes one
bad document after the other delays the documents of others by two seconds, and then more and more rarely.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from typing import Any

from attrs import frozen

from eve_meta.inventory.readers.reading import Reading, Unread
from eve_meta.wire.reading import DOCUMENT_TIME, max_head, max_parts, pack

IN_FLIGHT = 64
"""The most documents that are sent and not answered: enough to keep the reader busy while root does other things."""

IN_FLIGHT_BYTES = 4 * 1024 * 1024
"""The bytes of these after which no further one is sent."""

FIRST_WAIT = 10.0
"""Seconds until a document that took too long is read again; twice as long after each further time."""

IMPATIENT_TIME = 0.5
"""Seconds that each document has for :data:`FIRST_WAIT` after one was unread: many bad ones at once must not take two
seconds each."""

MAX_WAIT = 640.0
"""The most seconds of that. Two in ten minutes is what a document that is always too long costs."""

MAX_WAITING_NAMES = 1000
"""The most names that wait. The first of more is forgotten."""


class Nonsense(Exception):
    """The reader sent what no honest reader sends, and has to be killed."""


@frozen
class _Wait:
    times: int
    until: float
    why: str


class ReadingQueue:
    """The documents that are to be read, in their order."""

    def __init__(self) -> None:
        self._waiting: deque[Reading[Any]] = deque()
        self._sent: deque[Reading[Any]] = deque()
        self._sent_bytes = 0
        self._since = 0.0
        self._waits: dict[str, _Wait] = {}
        self._impatient_until = 0.0

    def add(self, reading: Reading[Any], now: float) -> None:
        """Add a document. One whose name has to wait gets its result at once."""
        wait = self._waits.get(reading.name)
        if wait is not None and now < wait.until:
            reading.finish(Unread(wait.why, wait.until))
        else:
            self._waiting.append(reading)

    @property
    def is_idle(self) -> bool:
        """Whether no document waits for its result."""
        return not self._waiting and not self._sent

    def to_send(self, now: float) -> Iterator[bytes]:
        """Yield the frames that the reader should have by now."""
        while self._waiting and len(self._sent) < IN_FLIGHT and self._sent_bytes < IN_FLIGHT_BYTES:
            reading = self._waiting.popleft()
            if not self._sent:
                self._since = now
            self._sent.append(reading)
            self._sent_bytes += len(reading.content)
            yield pack(reading.head, (reading.content,))

    def may_be(self, head: int, parts: int) -> bool:
        """Return whether the next answer can have *head* and *parts* bytes."""
        if not self._sent:
            return False
        size = len(self._sent[0].content)
        return head <= max_head(size) and parts <= max_parts(size)

    def answered(self, head: bytes, parts: bytes, now: float) -> None:
        """Take the next answer.

        :raises Nonsense: when no honest reader gives it. The document is the first one still.
        """
        if not self._sent:
            raise Nonsense
        reading = self._sent[0]
        try:
            plain = json.loads(head)
            if not isinstance(plain, dict):
                raise Nonsense
            result = reading.structure(plain, parts)
        except Exception:
            # Of any kind: the compromised reader chooses what goes wrong.
            raise Nonsense from None
        self._take_first(now)
        self._waits.pop(reading.name, None)
        reading.finish(result)

    def overdue_at(self) -> float | None:
        """Return when the reader will have had too long for its document, None while it has none."""
        if not self._sent:
            return None
        return self._since + (IMPATIENT_TIME if self._since < self._impatient_until else DOCUMENT_TIME)

    def failed(self, why: str, now: float) -> None:
        """Give up the document that the reader works on, where there is one, for the reason *why*.

        The reader is gone, or the caller ends it.
        """
        if not self._sent:
            return
        reading = self._take_first(now)
        self._impatient_until = now + FIRST_WAIT
        before = self._waits.pop(reading.name, None)
        times = 1 if before is None else before.times + 1
        until = now + min(MAX_WAIT, FIRST_WAIT * 2 ** min(times - 1, 16))
        self._waits[reading.name] = _Wait(times, until, why)
        if len(self._waits) > MAX_WAITING_NAMES:
            del self._waits[next(iter(self._waits))]
        self._resend()
        reading.finish(Unread(why, until))

    def died(self, why: str, now: float) -> None:
        """Have the documents sent again that a reader that died for the reason *why* has not answered.

        The one that it worked on may have killed it, or somebody else: it is tried once more.
        """
        if self._sent:
            self._sent[0].deaths += 1
            if self._sent[0].deaths > 1:
                self.failed(why, now)
        self._resend()

    def give_up(self, why: str, retry_at: float) -> None:
        """Let all documents be unread, for the reason *why*: there is no reader."""
        self._resend()
        given_up, self._waiting = self._waiting, deque()
        for reading in given_up:
            reading.finish(Unread(why, retry_at))

    def _take_first(self, now: float) -> Reading[Any]:
        reading = self._sent.popleft()
        self._sent_bytes -= len(reading.content)
        self._since = now
        return reading

    def _resend(self) -> None:
        self._waiting.extendleft(reversed(self._sent))
        self._sent.clear()
        self._sent_bytes = 0
