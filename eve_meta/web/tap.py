"""What one tap holds of the worker: its connections and the rest of its allowance of requests. No I/O, no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eve_meta.values.bucket import TokenBucket
from eve_meta.web.limits import Limits

if TYPE_CHECKING:
    from eve_meta.web.connection import Connection


class GuestAllowance:
    """The connections of one tag, and a token bucket for its requests.

    It outlives its connections until the bucket is full again; otherwise a guest would get a full one by closing them
    all.

    :ivar tag: the tag; 0, which no tap has, for connections from no tap.
    :ivar connections: those that are open.
    """

    def __init__(self, tag: int, limits: Limits, now: float) -> None:
        self.tag = tag
        self.connections: set[Connection] = set()
        self._max_connections = limits.max_connections
        self._requests = TokenBucket(rate=limits.rate, burst=limits.burst, now=now)

    def admit(self, connection: Connection) -> bool:
        """Count *connection* in, unless there are as many as there may be."""
        if len(self.connections) >= self._max_connections:
            return False
        self.connections.add(connection)
        return True

    def take(self, now: float) -> bool:
        """Take one request from the allowance at *now* (seconds, monotonic), unless it is used up."""
        return self._requests.take(now)

    def is_idle(self, now: float) -> bool:
        """Whether there is nothing to remember."""
        return not self.connections and self._requests.is_full(now)
