"""The state of one tap: its domain, and the tallies of that domain's guest."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from eve_meta.documents.paths import REPORT_KINDS
from eve_meta.steering.taps.tap import Tap
from eve_meta.supervisor.requests_seen import RequestsSeen
from eve_meta.values.domain import Domain
from eve_meta.values.request_kind import RequestKind
from eve_meta.wire.boot_reports import BootReport, What
from eve_meta.wire.latency import Histogram, Times
from eve_meta.wire.requests import Row

GENERATIONS = 4
"""Assignments of a tag that are remembered, the latest: workers may still have something to send about earlier ones."""

MAX_REPORTS = 128
"""Reports of a guest that are kept, the latest: those of one boot of cloud-init. They take 60 KB at most."""

_FIRST_ERROR = 400
"""The first status of an answer that brings no document."""


class TapState:
    """A tap, its domain, and the tallies of that domain's guest.

    The tallies begin anew when one domain follows another, or when the domain is no longer known.

    :ivar generation: the count of the domains that the tap's tag was assigned to (:mod:`eve_meta.wire.requests`).
    :ivar counts: how often each of :data:`eve_meta.wire.counts.NAMES` happened.
    :ivar asked: the requests of the guest.
    :ivar times: how long the answers took.
    :ivar reports: the reports of the guest's cloud-init about its boot, without its phone_home.
    :ivar phone_home: the latest phone_home.
    :ivar password_failed: when a password of the guest could not be stored, in seconds of ``CLOCK_MONOTONIC``.
    """

    __slots__ = (
        "_domains",
        "_fetched",
        "_first_generation",
        "asked",
        "counts",
        "domain",
        "generation",
        "password_failed",
        "phone_home",
        "reports",
        "tap",
        "times",
    )

    def __init__(self, tap: Tap, domain: Domain | None) -> None:
        self.tap = tap
        self.domain = domain
        self.password_failed = -math.inf
        self.generation = 0
        self._domains = {0: domain}
        # A dict for a set, and a list for a deque: empty ones take 0.7 KB less of each of thousands of taps.
        self._fetched: dict[tuple[int, RequestKind], None] = {}
        self._begin_tallies(tap.since)

    def _begin_tallies(self, since: float) -> None:
        self._first_generation = self.generation
        self.counts: Counter[str] = Counter()
        self.asked = RequestsSeen(since)
        self.times = Histogram()
        self.reports: list[BootReport] = []
        self.phone_home: BootReport | None = None

    def assign(self, domain: Domain | None, now: float) -> bool:
        """Assign *domain* to the tap at *now*; return whether a known domain was replaced by another, or by none.

        Another value of the same domain, one with the same uuid, replaces nothing.
        """
        old, self.domain = self.domain, domain
        if old is not None and domain is not None and old.instance_uuid == domain.instance_uuid:
            self._domains[self.generation] = domain
            return False
        self.generation += 1
        self._domains[self.generation] = domain
        forgotten = self.generation - GENERATIONS
        self._domains.pop(forgotten, None)
        self._fetched = {fetch: None for fetch in self._fetched if fetch[0] > forgotten}
        if old is not None:
            self._begin_tallies(now)
        return old is not None

    def add(self, row: Row, now: float) -> bool:
        """Add *row*, which arrived at *now*; return whether it belongs to the domain, or to the wait for one."""
        if not self._first_generation <= row.generation <= self.generation:
            return False
        self.asked.add(row, now)
        return True

    def add_times(self, times: Times) -> None:
        """Add how long answers to the guest took, as a worker sent it."""
        if self._first_generation <= times.generation <= self.generation:
            self.times.add_all(times)

    def add_report(self, generation: int, report: BootReport, now: float) -> Domain | None:
        """Add a report of the guest, which a worker sent and which arrived at *now*; return the domain that sent it.

        None where the report is about another domain of the tap, or cannot be true.
        """
        if generation != self.generation or not self.tap.since <= report.at <= now:
            return None
        if self.domain is not None:
            if report.what is What.PHONE_HOME:
                self.phone_home = report
            else:
                self.reports.append(report)
                del self.reports[:-MAX_REPORTS]
        return self.domain

    def first_fetch(self, row: Row, now: float) -> Domain | None:
        """Return the domain that read the document of *row*, which arrived at *now*, for the first time.

        None where the domain has read that document before, where it got none, and where *row* cannot be true.
        """
        domain = self._domains.get(row.generation)
        fetch = (row.generation, row.kind)
        sound = self.tap.since <= row.first <= row.last <= now
        if (
            domain is None
            or row.status >= _FIRST_ERROR
            or not sound
            or fetch in self._fetched
            or row.kind in REPORT_KINDS
        ):
            return None
        self._fetched[fetch] = None
        return domain


def event_fields(tap: Tap, domain: Domain | None) -> dict[str, Any]:
    """Return the fields of an event that name *tap*, and *domain* behind it."""
    fields: dict[str, Any] = {"tap": tap.name, "tag": tap.tag, "ifindex": tap.ifindex}
    if domain is not None:
        fields |= {"uuid": str(domain.instance_uuid), "name": domain.display_name}
    return fields
