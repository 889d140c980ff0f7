"""Limits on the connections to a socket of the daemon that programs of the host open.

Any user of the host may connect to the metrics, and each connection takes one of the daemon's descriptors, which taps
and processes need. So the number of connections is limited, a client has a limited time, and new connections are
accepted at a limited rate: further clients wait in the kernel's queue, where they cost the daemon nothing.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from eve_meta.values.bucket import TokenBucket

PAUSE = 0.1
"""Seconds for which no connection is accepted once the rate is exceeded."""


class Listening(Protocol):
    """A listening port of Twisted's."""

    def stopReading(self) -> None: ...

    def startReading(self) -> None: ...


class Connection(Protocol):
    """A protocol whose connection is counted."""

    @property
    def is_idle(self) -> bool:
        """Whether the daemon waits for the client, not the client for the daemon."""

    def abort(self) -> None:
        """End the connection at once."""


class Connections:
    """The open connections to one socket.

    :param most: the most connections at a time. A further one ends the oldest that is idle, so that a client that only
        opens connections does not keep others out.
    :param time: seconds that a connection may take, from its beginning to :meth:`asked` or :meth:`closed`.
    :param rate: the most connections that are accepted a second, and the most that are accepted at once.
    """

    def __init__(self, reactor: IReactorTime, *, most: int, time: float, rate: float) -> None:
        self._reactor = reactor
        self._most = most
        self._time = time
        self._bucket = TokenBucket(rate=rate, burst=rate, now=reactor.seconds())
        self._open: dict[Any, IDelayedCall] = {}
        self._port: Listening | None = None

    def __len__(self) -> int:
        return len(self._open)

    def listen(self, port: Listening) -> None:
        """Set the port that is paused while the rate is exceeded."""
        self._port = port

    def admit(self) -> bool:
        """Return whether a further connection may begin."""
        if not self._bucket.take(self._reactor.seconds()):
            if self._port is not None:
                port, self._port = self._port, None
                port.stopReading()
                self._reactor.callLater(PAUSE, self._resume, port)
            return False
        if len(self._open) >= self._most:
            oldest = next((each for each in self._open if each.is_idle), None)
            if oldest is None:
                return False
            self.closed(oldest)
            oldest.abort()
        return True

    def _resume(self, port: Listening) -> None:
        self._port = port
        port.startReading()

    def opened(self, connection: Connection) -> None:
        """Count *connection*."""
        self.limit(connection, self._time)

    def asked(self, connection: Connection) -> None:
        """End the time limit of *connection*: its client has asked, and the daemon takes its time to answer."""
        _cancel(self._open.get(connection))

    def limit(self, connection: Connection, time: float) -> None:
        """End *connection* unless it is closed within *time* seconds."""
        _cancel(self._open.get(connection))
        self._open[connection] = self._reactor.callLater(time, connection.abort)

    def closed(self, connection: Connection) -> None:
        """Stop counting *connection*."""
        _cancel(self._open.pop(connection, None))


def _cancel(call: IDelayedCall | None) -> None:
    if call is not None and call.active():
        call.cancel()
