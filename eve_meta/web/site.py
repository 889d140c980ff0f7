"""All connections of a worker: who may have another one, what each tap is answered, and when the slow ones end.

Connections come from :mod:`eve_meta.web.accept`; this module opens nothing. No guest's bytes reach a log: guests move
counters (:mod:`eve_meta.wire.counts`).
"""

from __future__ import annotations

import datetime
import os
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from wsgiref.handlers import format_date_time

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from eve_meta.values.eve_node import UNKNOWN_NODE
from eve_meta.web.answer import DEFECT, REPORT_TAKEN, STORED, TOO_MANY, RequestContext, answer, objection
from eve_meta.web.hosts import Hosts
from eve_meta.web.limits import Limits
from eve_meta.web.request import Memo, Request
from eve_meta.web.response import Response
from eve_meta.web.sockets import tag_of_socket
from eve_meta.web.table import NO_GRANTS, Grants, Table
from eve_meta.web.tally import Counts, Reports, RequestTally
from eve_meta.web.tap import GuestAllowance
from eve_meta.wire.boot_reports import BootReport, TaggedReport
from eve_meta.wire.latency import Times
from eve_meta.wire.password import Outcome
from eve_meta.wire.requests import Row

if TYPE_CHECKING:
    from eve_meta.web.connection import Connection

SWEEP_EVERY = 1.0
"""Seconds between two looks at all deadlines. A look at 10,000 connections takes some ms; there is none while no tap
has a connection or owes its allowance."""

AGE_EVERY = 15.0
"""Seconds after which a domain that did not ask is not kept ready any longer. A boot's requests come within two, and
what guests ask for later is not urgent."""

DEFECT_LOG_EVERY = 60.0
"""Seconds between two lines about answers that failed: guests choose how often they ask for them."""


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@frozen
class Now:
    """The wall clock's second, as answers need it.

    :ivar second: seconds since the epoch.
    :ivar date: it as an HTTP date (RFC 9110 section 5.6.7).
    :ivar today: its day in UTC.
    """

    second: int
    date: str
    today: datetime.date

    @classmethod
    def of(cls, second: int) -> Now:
        """The second *second* since the epoch."""
        return cls(
            second, format_date_time(second), datetime.datetime.fromtimestamp(second, datetime.timezone.utc).date()
        )


class Site:
    """What the connections of a worker share, and what answers for them.

    :param clock: the reactor, for the sweep.
    :param identify: the tag of an accepted socket, None for one that came through no tap.
    :param domain_wait: seconds from a tap's appearing during which its domain may still become known.
    :param hop_limit: the IP TTL or IPv6 hop limit of answers that must not leave the guest.
    :param hosts: which names mean us.
    :param monotonic: seconds that never jump. Not *clock*'s: Twisted's reactors count by the wall clock. What
        :meth:`put` is given as *since* is of the same clock.
    :param uptime: seconds of ``CLOCK_BOOTTIME``.
    :param wall: seconds since the epoch.

    :ivar table: what each tag means. Change it by :meth:`put` and :meth:`remove`.
    :ivar node: what all applications of an EVE-OS node are told alike; set it to change that.
    :ivar draining: whether each answer is its connection's last.
    :ivar counts: what guests did.
    :ivar ledger: what guests asked for.
    :ivar counted: called when there is something to be taken by :meth:`take_counts` and the like where there was
        nothing; set it to be told.
    :ivar store_password: keeps a password that the guest of a tag posted; set it to one that does.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        *,
        identify: Callable[[socket.socket], int | None] = tag_of_socket,
        domain_wait: float = 60.0,
        hop_limit: int = 1,
        hosts: Hosts | None = None,
        limits: Limits | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        uptime: Callable[[], float] = _boottime,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.identify = identify
        self.hop_limit = hop_limit
        self.limits = limits or Limits()
        self.monotonic = monotonic
        self.table = Table()
        self.memo = Memo(self.limits)
        self.node = UNKNOWN_NODE
        self.draining = False
        self.counted: Callable[[], None] = _nothing
        self.counts = Counts(self._counts_began)
        self.ledger = RequestTally(self._counts_began)
        self.reports = Reports(self._counts_began)
        self.store_password: Callable[[int, str], Deferred[Outcome]] = _cannot_store
        self._clock = clock
        self._hosts = hosts or Hosts()
        self._uptime = uptime
        self._wall = wall
        self._domain_wait = domain_wait
        self._now = Now.of(0)
        self._taps: dict[int, GuestAllowance] = {}
        self._sweeping = False
        self._ageing = False
        self._defect_logged = -DEFECT_LOG_EVERY

    # -- for the worker --

    def put(self, tag: int, tap: str, since: float, domain: bytes | None, extras: Grants = NO_GRANTS) -> None:
        """Let *tag* mean *tap*, which appeared at *since* (``time.monotonic()``), and *domain* (JSON, None: unknown).

        Where it meant another tap or domain, its connections are cut.
        """
        if self.table.put(tag, tap, since, domain, extras):
            self._revoke(tag)

    def remove(self, tag: int) -> None:
        """Let *tag* mean nothing any more, and cut its connections."""
        self.table.remove(tag)
        self._revoke(tag)

    @property
    def is_quiet(self) -> bool:
        """Whether there is no connection."""
        return not any(tap.connections for tap in self._taps.values())

    def end_idle(self) -> None:
        """End the connections on which nothing is asked."""
        for connection in self._connections():
            connection.end_if_idle()

    def finish(self) -> None:
        """Begin no answer any more, and end each connection when what is being said on it is said."""
        for connection in self._connections():
            connection.finish()

    def cut_all(self) -> None:
        """Cut all connections: with what they still have to say, they may outlive the way on which to say it."""
        for connection in self._connections():
            connection.revoke()

    def take_counts(self) -> dict[int, dict[str, int]]:
        """What guests did since the last call: by tag (0: no tap), by :class:`~eve_meta.wire.counts.Drop`
        and :class:`~eve_meta.wire.counts.Note`."""
        return self.counts.take()

    def take_rows(self) -> list[Row]:
        """What guests asked for since the last call."""
        return self.ledger.take()

    def take_times(self) -> list[Times]:
        """How long answers took since the last call."""
        return self.ledger.take_times()

    def take_reports(self) -> list[TaggedReport]:
        """What guests reported of themselves since the last call."""
        return self.reports.take()

    def _counts_began(self) -> None:
        self.counted()

    def _connections(self) -> Iterator[Connection]:
        for tap in tuple(self._taps.values()):
            yield from tuple(tap.connections)

    def _revoke(self, tag: int) -> None:
        tap = self._taps.get(tag)
        if tap is not None:
            for connection in tuple(tap.connections):
                connection.revoke()

    # -- for connections --

    def tap(self, tag: int) -> GuestAllowance:
        """What the tap of *tag* holds of this worker."""
        tap = self._taps.get(tag)
        if tap is None:
            tap = self._taps[tag] = GuestAllowance(tag, self.limits, self.monotonic())
            if not self._sweeping:
                self._sweeping = True
                self._clock.callLater(SWEEP_EVERY, self._sweep)
        return tap

    def now(self) -> Now:
        """The current second; formatting a date for each answer would take as long as parsing its request."""
        second = int(self._wall())
        if second != self._now.second:
            self._now = Now.of(second)
        return self._now

    def respond(self, tap: GuestAllowance, request: Request, peer: str, port: int) -> Response | Deferred[Response]:
        """The answer to *request*, which came through *tap* from IP address *peer* and *port*; it may come later."""
        now = self.monotonic()
        if not tap.take(now):
            return TOO_MANY
        try:
            asking = RequestContext(
                peer=peer,
                port=port,
                now=now,
                uptime=self._uptime(),
                today=self.now().today,
                random=os.urandom,
                domain_wait=self._domain_wait,
                hosts=self._hosts,
                node=self.node,
            )
            entry = self.table.get(tap.tag)
            if not self._ageing:
                self._ageing = True
                self._clock.callLater(AGE_EVERY, self._age)
            objected = objection(entry, request, asking)
            if objected is not None:
                self.counts.add(tap.tag, objected.value)
            found = answer(entry, request, asking, objected)
            if isinstance(found, Response):
                return found
            if isinstance(found, BootReport):
                kept = self.reports.add(tap.tag, self.ledger.generation(tap.tag), found)
                return REPORT_TAKEN if kept else TOO_MANY
            return self.store_password(tap.tag, found.password).addCallback(STORED.__getitem__)
        except Exception as error:
            # A defect of ours, which one guest's documents may trigger; the others go on.
            self.failed(tap.tag, error)
            return DEFECT

    def failed(self, tag: int, error: Exception) -> None:
        """What was done for the guest of *tag* raised *error*: a line in the log says so, now and then."""
        now = self.monotonic()
        if now - self._defect_logged >= DEFECT_LOG_EVERY:
            self._defect_logged = now
            # Where, but not what: the text of an exception may quote the request.
            where = traceback.extract_tb(error.__traceback__)[-1]
            self._log.critical(
                "an answer to tag {tag} failed: {kind} in {file}, line {line}; no such line for the next {every:.0f} s",
                tag=tag,
                kind=type(error).__name__,
                file=where.filename,
                line=where.lineno,
                every=DEFECT_LOG_EVERY,
            )

    def _age(self) -> None:
        self._ageing = self.table.age()
        if self._ageing:
            self._clock.callLater(AGE_EVERY, self._age)

    def _sweep(self) -> None:
        now = self.monotonic()
        for connection in self._connections():
            if connection.deadline <= now:
                connection.expire()
        for tap in tuple(self._taps.values()):
            if tap.is_idle(now):
                del self._taps[tap.tag]
        self._sweeping = bool(self._taps)
        if self._sweeping:
            self._clock.callLater(SWEEP_EVERY, self._sweep)


def _nothing() -> None:
    pass


def _cannot_store(_tag: int, _password: str) -> Deferred[Outcome]:
    return succeed(Outcome.FAILED)
