"""The guests of a worker: the tap and domain of each tag, the connections that each guest holds open, and their ends.

A connection belongs to the tag that the kernel gave its socket. It is admitted while its tap has fewer than the limit,
it ends when its deadline passes, and it is cut the moment that its tag gets another tap or domain.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from functools import partial

from twisted.internet.interfaces import IReactorTime

from eve_meta.web.allowance import NO_TAG, GuestAllowance, OpenConnection
from eve_meta.web.limits import Limits
from eve_meta.web.sockets import tag_of_socket
from eve_meta.web.table import NO_GRANTS, Grants, Table
from eve_meta.web.tally import Tally
from eve_meta.wire.counts import Drop

SWEEP_EVERY = 1.0
"""Seconds between two looks at all deadlines. A look at 10,000 connections takes some milliseconds; there is none while
no tap has a connection or an allowance that is not whole."""


class Guests:
    """The table, and the open connections and allowances of the guests in it.

    :param clock: the reactor, for the sweep.
    :param identify: returns the tag of an accepted socket, None for one that came through no tap.
    :param monotonic: returns seconds of ``CLOCK_MONOTONIC``.

    :ivar limits: what one guest may cost.
    :ivar monotonic: the parameter of that name.
    :ivar table: the tap and the domain of each tag. Change it by :meth:`put` and :meth:`remove` alone, which cut
        connections.
    :ivar tally: the counts of what the guests did.
    :ivar turn: a number that another turn of the reactor changes. Change it before connections are accepted.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        identify: Callable[[socket.socket], int | None] = tag_of_socket,
        limits: Limits | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits or Limits()
        self.monotonic = monotonic
        self.table = Table()
        self.tally = Tally()
        self.turn = 0
        self._clock = clock
        self._identify = identify
        self._allowances: dict[int, GuestAllowance] = {}
        self._sweeping = False

    def put(self, tag: int, tap: str, since: float, domain: bytes | None, grants: Grants = NO_GRANTS) -> None:
        """Put *tag* into the table with its *tap* and *domain*; cut its connections where it had another tap or domain.

        :param since: when the tap appeared, in seconds of the monotonic clock.
        :param domain: the domain's JSON, None while the domain is unknown.
        """
        if self.table.put(tag, tap, since, domain, grants):
            self._revoke(tag)

    def remove(self, tag: int) -> None:
        """Remove *tag* from the table, and cut its connections."""
        self.table.remove(tag)
        self._revoke(tag)

    def admit(self, connection: OpenConnection, accepted: socket.socket) -> GuestAllowance | None:
        """Admit *connection*, whose socket is *accepted*, to the allowance of its tap.

        :return: the allowance; None when the tap has as many connections as it may have.
        """
        tag = self._identify(accepted)
        if tag is None:
            tag = NO_TAG
        allowance = self._allowances.get(tag)
        if allowance is None:
            allowance = self._allowances[tag] = GuestAllowance(
                tag, self.limits, self.monotonic(), next_turn=partial(self._clock.callLater, 0)
            )
            if not self._sweeping:
                self._sweeping = True
                self._clock.callLater(SWEEP_EVERY, self._sweep)
        if allowance.admit(connection, self.turn):
            return allowance
        self.tally.counts.add(tag, Drop.REFUSED_CONNECTIONS.value)
        return None

    @property
    def is_quiet(self) -> bool:
        """Whether no connection is open."""
        return not any(allowance.connections for allowance in self._allowances.values())

    def end_idle(self) -> None:
        """End the connections on which no request and no answer is under way."""
        for connection in self._connections():
            connection.end_if_idle()

    def finish(self) -> None:
        """Begin no further answer, and end each connection after the answer that is under way on it."""
        for connection in self._connections():
            connection.finish()

    def cut_all(self) -> None:
        """Cut all connections. With unsent bytes they could outlive the path on which to send them."""
        for connection in self._connections():
            connection.revoke()

    def _connections(self) -> Iterator[OpenConnection]:
        for allowance in tuple(self._allowances.values()):
            yield from tuple(allowance.connections)

    def _revoke(self, tag: int) -> None:
        allowance = self._allowances.get(tag)
        if allowance is not None:
            for connection in tuple(allowance.connections):
                connection.revoke()

    def _sweep(self) -> None:
        now = self.monotonic()
        for connection in self._connections():
            if connection.deadline <= now:
                connection.expire()
        for allowance in tuple(self._allowances.values()):
            if allowance.is_idle(now):
                del self._allowances[allowance.tag]
        self._sweeping = bool(self._allowances)
        if self._sweeping:
            self._clock.callLater(SWEEP_EVERY, self._sweep)
