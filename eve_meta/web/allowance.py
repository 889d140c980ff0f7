"""The allowance of the guest of one tap: connections up to their limit, requests at their rate, memory up to its share.

It is also a share of each turn of the reactor, so that all that the connections of one tap could do at once takes the
others a moment only. What exceeds the share waits in the allowance's queue for the next turn: behind what others ask
meanwhile, and for nothing else, so that a worker that has nothing else to do answers no later.

To renew the share by a timer in each turn would cost each request something. It is whole again in the turn after that
which spent it, which the allowance asks the reactor for only then; and whenever a listener accepts the tap's first
connection in a turn, unless it is spent. So a guest gets less than two shares in a turn, or three with two listeners.

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

    def take_turn(self) -> None:
        """Go on, in another turn of the reactor than that of :meth:`GuestAllowance.queue`."""


class GuestAllowance:
    """The open connections of one tag, the bytes that these hold, and the token bucket of its requests.

    An allowance outlives its connections until the bucket is full again; otherwise a guest would get a full bucket by
    closing them all.

    :param next_turn: calls a function in the next turn of the reactor.

    :ivar tag: the tag, or :data:`NO_TAG`.
    :ivar connections: the connections that are open.
    :ivar left: how often the guest may still be answered in this turn of the reactor. At 0 or below, a connection that
        could answer is to :meth:`queue` instead.
    :ivar take: takes one request at a time in seconds of the monotonic clock; returns False when none is left. It is
        the bucket's own method, so that a request costs one call, not two.
    """

    __slots__ = (
        "_bucket",
        "_max_answers",
        "_max_connections",
        "_max_pinned",
        "_next_turn",
        "_pinned",
        "_queue",
        "_turn",
        "connections",
        "left",
        "tag",
        "take",
    )

    def __init__(
        self, tag: int, limits: Limits, now: float, *, next_turn: Callable[[Callable[[], None]], object]
    ) -> None:
        self.tag = tag
        self.connections: set[OpenConnection] = set()
        self._max_connections = limits.max_connections
        self._max_pinned = limits.max_pinned
        self._pinned = 0
        self._next_turn = next_turn
        self._turn = 0
        self._max_answers = self.left = limits.max_answers_a_turn
        self._queue: dict[OpenConnection, None] = {}  # a dict keeps their order
        self._bucket = TokenBucket(rate=limits.rate, burst=limits.burst, now=now)
        self.take: Callable[[float], bool] = self._bucket.take

    def admit(self, connection: OpenConnection, turn: int) -> bool:
        """Add *connection*; return False, and do not add it, when as many are open as may be.

        :param turn: a number that another turn of the reactor changes.
        """
        if len(self.connections) >= self._max_connections:
            return False
        self.connections.add(connection)
        if self._turn != turn and self.left > 0:
            self._turn = turn
            self.left = self._max_answers
        return True

    def spend(self) -> None:
        """Take note of an answer, or of a slice of a long one."""
        self.left -= 1
        if not self.left:
            self._next_turn(self._begin_turn)

    def queue(self, connection: OpenConnection) -> None:
        """Let *connection* take its turn in a later turn of the reactor."""
        self._queue[connection] = None

    def leave(self, connection: OpenConnection) -> None:
        """Take *connection* out of the queue."""
        self._queue.pop(connection, None)

    def _begin_turn(self) -> None:
        self.left = self._max_answers
        while self._queue and self.left > 0:
            connection = next(iter(self._queue))
            del self._queue[connection]
            connection.take_turn()

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
