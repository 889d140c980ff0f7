"""From a guest's request to its answer: the part that all connections of a worker share.

:mod:`eve_meta.web.answer` decides the answer, without I/O and without a clock. This module provides what the decision
depends on (clocks, randomness, the table), and does what follows from it (counts, reports, passwords). No byte that a
guest sent reaches a log: guests move counters (:mod:`eve_meta.wire.counts`).
"""

from __future__ import annotations

import datetime
import math
import os
import time
import traceback
from collections.abc import Callable
from wsgiref.handlers import format_date_time

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from eve_meta.runtime.timer import Timer
from eve_meta.values.eve_node import UNKNOWN_NODE
from eve_meta.web.allowance import GuestAllowance
from eve_meta.web.answer import DEFECT, NOT_CURRENT, REPORT_TAKEN, STORED, TOO_MANY, RequestContext, answer, objection
from eve_meta.web.guests import Guests
from eve_meta.web.hosts import Hosts
from eve_meta.web.request import Memo, Request
from eve_meta.web.response import Response
from eve_meta.wire.boot_reports import BootReport
from eve_meta.wire.messages import LEASE_TIME
from eve_meta.wire.password import Outcome

AGE_EVERY = 15.0
"""Seconds after which a domain whose guest has not asked is kept ready no longer. A boot's requests come within two
seconds, and what guests ask for later is not urgent."""

DEFECT_LOG_EVERY = 60.0
"""Seconds between two log lines about answers that failed: a guest chooses how often it asks for one."""


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@frozen
class Now:
    """One second of the wall clock, in the forms that answers need.

    :ivar second: seconds since the epoch.
    :ivar date: the second as an HTTP date (RFC 9110 section 5.6.7).
    :ivar today: the day in UTC.
    """

    second: int
    date: str
    today: datetime.date

    @classmethod
    def of(cls, second: int) -> Now:
        """Return the forms of *second*, in seconds since the epoch."""
        return cls(
            second, format_date_time(second), datetime.datetime.fromtimestamp(second, datetime.timezone.utc).date()
        )


class Answering:
    """Answers the requests of *guests*.

    :param clock: the reactor, for the ageing of the table.
    :param domain_wait: seconds from a tap's appearing during which its domain may still become known.
    :param hop_limit: the IP TTL or IPv6 hop limit of answers that must not leave the guest.
    :param hosts: the names by which guests may call this service.
    :param uptime: seconds of ``CLOCK_BOOTTIME``.
    :param wall: seconds since the epoch.

    :ivar guests: the parameter of that name.
    :ivar limits: the limits of *guests*.
    :ivar monotonic: the clock of *guests*.
    :ivar counts: the counters of *guests*.
    :ivar requests: the requests of *guests*.
    :ivar memo: requests that were read before.
    :ivar hop_limit: the parameter of that name.
    :ivar node: what EVE-OS publishes of its node; all applications on it are answered alike. Set it when it changes.
    :ivar current_until: when the lease ends, in seconds of the guests' monotonic clock: from then on nobody gets a byte
        that the table decides.
    :ivar draining: whether each answer is its connection's last. Set it when the worker is to end.
    :ivar store_password: stores a password that the guest of a tag posted. Set it to a function that can.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        guests: Guests,
        *,
        domain_wait: float = 60.0,
        hop_limit: int = 1,
        hosts: Hosts | None = None,
        uptime: Callable[[], float] = _boottime,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.guests = guests
        # Kept here too, so that a connection reaches them by one attribute, not two, for each request.
        self.limits = guests.limits
        self.monotonic = guests.monotonic
        self.counts = guests.tally.counts
        self.requests = guests.tally.requests
        self.memo = Memo(guests.limits)
        self.hop_limit = hop_limit
        self.node = UNKNOWN_NODE
        self.current_until = -math.inf
        self.draining = False
        self.store_password: Callable[[int, str], Deferred[Outcome]] = _cannot_store
        self._clock = clock
        self._domain_wait = domain_wait
        self._hosts = hosts or Hosts()
        self._uptime = uptime
        self._wall = wall
        self._table = guests.table
        self._reports = guests.tally.reports
        self._now = Now.of(0)
        self._ageing = False
        self._lease = Timer(clock, self._end_lease)
        self._defect_logged = -DEFECT_LOG_EVERY

    def now(self) -> Now:
        """Return the current second. To format a date for each answer would take as long as to parse its request."""
        second = int(self._wall())
        if second != self._now.second:
            self._now = Now.of(second)
        return self._now

    def renew_lease(self, at: float) -> None:
        """Believe the table, which was true at *at*, for :data:`~eve_meta.wire.messages.LEASE_TIME` seconds from then.

        :param at: in seconds of the guests' monotonic clock.
        """
        self.current_until = at + LEASE_TIME
        # A pending call of the timer stays where it is, and looks again.
        self._lease.start_at(self.current_until)

    def _end_lease(self) -> None:
        if self.monotonic() < self.current_until:
            self._lease.start_at(self.current_until)
        else:
            # With them all answers that are under way: their guests may be others by now.
            self.guests.cut_all()

    def respond(
        self, allowance: GuestAllowance, request: Request, peer: str, port: int
    ) -> Response | Deferred[Response]:
        """Return the answer to *request*, or a Deferred of it where the supervisor has a part in it.

        :param allowance: the allowance of the tap through which the request came.
        :param peer: the guest's IP address.
        :param port: the guest's TCP port.
        """
        now = self.monotonic()
        if not allowance.take(now):
            return TOO_MANY
        if now >= self.current_until:
            return NOT_CURRENT
        tag = allowance.tag
        try:
            context = RequestContext(
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
            entry = self._table.get(tag)
            if not self._ageing:
                self._ageing = True
                self._clock.callLater(AGE_EVERY, self._age)
            objected = objection(entry, request, context)
            if objected is not None:
                self.counts.add(tag, objected.value)
            decided = answer(entry, request, context, objected)
            if isinstance(decided, Response):
                return decided
            if isinstance(decided, BootReport):
                kept = self._reports.add(tag, self.requests.generation(tag), decided)
                return REPORT_TAKEN if kept else TOO_MANY
            return self.store_password(tag, decided.password).addCallback(STORED.__getitem__)
        except Exception as error:
            # A defect of ours, which one guest's documents may trigger; the other guests are served all the same.
            self.failed(tag, error)
            return DEFECT

    def failed(self, tag: int, error: Exception) -> None:
        """Log that *error* was raised while the guest of *tag* was served, at most once in :data:`DEFECT_LOG_EVERY`."""
        now = self.monotonic()
        if now - self._defect_logged >= DEFECT_LOG_EVERY:
            self._defect_logged = now
            # The place alone: the text of an exception may quote the request.
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
        self._ageing = self._table.age()
        if self._ageing:
            self._clock.callLater(AGE_EVERY, self._age)


def _cannot_store(_tag: int, _password: str) -> Deferred[Outcome]:
    return succeed(Outcome.FAILED)
