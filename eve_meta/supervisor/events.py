"""The events of this host, as they happen: taps, domains, what guests read first, refusals, and what was restored.

The daemon keeps the latest :data:`KEPT` events. Nothing in them is text that a guest chose.
"""

from __future__ import annotations

import datetime
import enum
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from attrs import field, frozen

from eve_meta.runtime.clock import Clock

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

    RESTORED = "healed"
    """A piece of the path was gone and has been restored."""

    WORKER_STARTED = "worker-started"
    FORBIDDEN_CALL = "forbidden-call"
    """A worker made a system call that no worker makes, and was killed for it."""
    WORKER_HUNG = "worker-hung"
    """A worker did not answer, and was killed."""


@frozen
class Event:
    """An event.

    :ivar number: the count of events since the daemon started, from 1.
    :ivar at: seconds since the epoch.
    :ivar fields: the event's own fields; values are strings, numbers or None.
    """

    number: int
    at: float
    kind: Kind
    fields: Mapping[str, Any] = field(factory=dict)

    @property
    def plain(self) -> dict[str, Any]:
        """The event as an object of JSON."""
        return {"time": rfc3339(self.at), "event": self.kind.value, **self.fields}


def rfc3339(seconds: float) -> str:
    """Return *seconds* since the epoch as a time of RFC 3339, in UTC, with milliseconds."""
    stamp = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return stamp.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


class Events:
    """The latest events, and the listeners to which each new one is passed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._latest: deque[Event] = deque(maxlen=KEPT)
        self._listeners: list[Callable[[Event], None]] = []
        self._number = 0

    def emit(self, kind: Kind, *, at: float | None = None, **fields: Any) -> None:
        """Record that *kind* happened.

        :param at: when, in seconds of ``CLOCK_MONOTONIC``; now, if None.
        """
        self._number += 1
        wall = self._clock.wall() if at is None else self._clock.wall_of_monotonic(at)
        event = Event(self._number, wall, kind, fields)
        self._latest.append(event)
        for listener in tuple(self._listeners):
            listener(event)

    @property
    def latest(self) -> tuple[Event, ...]:
        """The events that are kept, the oldest first."""
        return tuple(self._latest)

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call *listener* with each event from now on, until the function that this returns is called."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)
