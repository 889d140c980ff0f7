"""What happens on this host, as it happens: taps, domains, what guests read first, refusals, and what was mended.

The daemon keeps the latest :data:`KEPT` of them. Nothing in them is a guest's own words.
"""

from __future__ import annotations

import datetime
import enum
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from attrs import field, frozen

KEPT = 1000
"""Events that are kept: some 400 KB. A boot makes ten, so that a storm of 100 guests can still be read afterwards."""


class Kind(str, enum.Enum):
    """What happened."""

    TAP_APPEARED = "tap-appeared"
    TAP_GONE = "tap-gone"
    DOMAIN_FOUND = "domain-found"
    DOMAIN_LOST = "domain-lost"
    FIRST_FETCH = "first-fetch"
    """A domain read a document through a tap for the first time."""

    REFUSED = "refused"
    """Guests were refused: a sample, at most one a minute for a tap and one a second in all."""

    HEALED = "healed"
    """A piece of the way was gone and is back."""

    WORKER_STARTED = "worker-started"


@frozen
class Event:
    """One of them.

    :ivar number: counts them since the daemon started, from 1.
    :ivar at: seconds since the epoch.
    :ivar fields: what belongs to it; values are strings, numbers or None.
    """

    number: int
    at: float
    kind: Kind
    fields: Mapping[str, Any] = field(factory=dict)

    @property
    def plain(self) -> dict[str, Any]:
        """It as JSON has it."""
        return {"time": rfc3339(self.at), "event": self.kind.value, **self.fields}


def rfc3339(seconds: float) -> str:
    """*seconds* since the epoch as RFC 3339 has them, in UTC, with milliseconds."""
    stamp = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return stamp.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


class Events:
    """The latest events, and who is told of each.

    :param wall: seconds since the epoch.
    """

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._latest: deque[Event] = deque(maxlen=KEPT)
        self._listeners: list[Callable[[Event], None]] = []
        self._number = 0

    def emit(self, kind: Kind, *, at: float | None = None, **fields: Any) -> None:
        """*kind* happened: now, or at *at* (seconds since the epoch)."""
        self._number += 1
        event = Event(self._number, self._wall() if at is None else at, kind, fields)
        self._latest.append(event)
        for listener in tuple(self._listeners):
            listener(event)

    @property
    def latest(self) -> tuple[Event, ...]:
        """Those that are kept, the oldest first."""
        return tuple(self._latest)

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Have *listener* called with each event from now on; the result, when called, ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)
