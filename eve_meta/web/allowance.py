"""The allowance of the guest of one tap: connections up to their limit, requests at their rate, memory up to its share.

No I/O and no clock: the caller brings the time (:mod:`eve_meta.web.guests`). All that is known here of an open
connection is how to end it (:class:`OpenConnection`), so that nothing below :mod:`eve_meta.web.connection` imports it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from eve_meta.values.bucket import TokenBucket
from eve_meta.web.limits import Limits

NO_TAG = 0
"""The tag under which connections from no tap are limited and counted; no tap has it."""


class OpenConnection(Protocol):
    """An open connection, as far as it takes to end it; :class:`eve_meta.web.connection.Connection` is one."""

    deadline: float
    """The time of the monotonic clock, in seconds, at which :meth:`expire` is due."""

    def expire(self) -> None:
        """End what has lasted until the deadline."""

    def revoke(self) -> None:
        """Cut the connection: its tag has another tap or domain now."""

    def end_if_idle(self) -> None:
        """End the connection, unless some bytes of a request are here or an answer is under way."""

    def finish(self) -> None:
        """Begin no further answer, and end the connection after the one that is under way."""


class GuestAllowance:
    """The open connections of one tag, the bytes that these hold, and the token bucket of its requests.

    An allowance outlives its connections until the bucket is full again; otherwise a guest would get a full bucket by
    closing them all.

    :ivar tag: the tag, or :data:`NO_TAG`.
    :ivar connections: the connections that are open.
    :ivar take: takes one request at a time in seconds of the monotonic clock; returns False when none is left. It is
        the bucket's own method, so that a request costs one call, not two.
    """

    __slots__ = ("_bucket", "_max_connections", "_max_pinned", "_pinned", "connections", "tag", "take")

    def __init__(self, tag: int, limits: Limits, now: float) -> None:
        self.tag = tag
        self.connections: set[OpenConnection] = set()
        self._max_connections = limits.max_connections
        self._max_pinned = limits.max_pinned
        self._pinned = 0
        self._bucket = TokenBucket(rate=limits.rate, burst=limits.burst, now=now)
        self.take: Callable[[float], bool] = self._bucket.take

    def admit(self, connection: OpenConnection) -> bool:
        """Add *connection*; return False, and do not add it, when as many are open as may be."""
        if len(self.connections) >= self._max_connections:
            return False
        self.connections.add(connection)
        return True

    def pin(self, size: int) -> bool:
        """Let a connection hold a body of *size* bytes until :meth:`unpin`; return False where they hold too many."""
        if self._pinned and self._pinned + size > self._max_pinned:
            return False
        self._pinned += size
        return True

    def unpin(self, size: int) -> None:
        """Take note that a connection holds a body of *size* bytes no longer."""
        self._pinned -= size

    def is_idle(self, now: float) -> bool:
        """Return whether a new allowance would behave alike: no connection is open, and the bucket is full."""
        return not self.connections and self._bucket.is_full(now)
