"""What the supervisor knows of one tap: whose it is, and what its guest did."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import Any

from eve_meta.steering.taps.tap import Tap
from eve_meta.supervisor.requests_seen import RequestsSeen
from eve_meta.values.domain import Domain
from eve_meta.values.request_kind import RequestKind
from eve_meta.wire.boot_reports import BootReport, What
from eve_meta.wire.latency import Histogram, Times
from eve_meta.wire.requests import Row

GENERATIONS = 4
"""Meanings of a tag that are remembered, for what workers still have to tell of the last but one."""

MAX_REPORTS = 128
"""Reports of a guest that are kept, the latest: those of one boot of cloud-init. They take 60 KB at most."""

_WRITTEN = frozenset({RequestKind.REPORT, RequestKind.PHONE_HOME})
"""What guests post, where there is nothing to read."""

_REJECTED = 400
"""The first status that is no answer to what was asked."""


class TapState:
    """A tap, what its domain is, and what came of that domain's requests.

    What is counted begins anew when one domain follows another, or is no longer known.

    :ivar generation: counts the domains that the tap's tag meant (:mod:`eve_meta.wire.requests`).
    :ivar counts: how often each of :data:`eve_meta.wire.counts.NAMES` happened.
    :ivar asked: what its guest asked for.
    :ivar times: how long the answers took.
    :ivar reports: what its guest's cloud-init told of its boot, but its phone_home.
    :ivar phone_home: what that told last.
    :ivar password_failed: when a password of its guest could not be kept, in seconds of the reactor's clock.
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
        self._begin(tap.since)

    def _begin(self, since: float) -> None:
        self._first_generation = self.generation
        self.counts: Counter[str] = Counter()
        self.asked = RequestsSeen(since)
        self.times = Histogram()
        self.reports: list[BootReport] = []
        self.phone_home: BootReport | None = None

    def assign(self, domain: Domain | None) -> bool:
        """Let it mean *domain* from now on; say whether that is another one, or none, after one that was known."""
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
            self._begin(time.monotonic())
        return old is not None

    def add(self, row: Row, now: float) -> bool:
        """Adds what a worker told at *now*; says whether it is of the domain, or of the wait for it."""
        if not self._first_generation <= row.generation <= self.generation:
            return False
        self.asked.add(row, now)
        return True

    def add_times(self, times: Times) -> None:
        """Adds what a worker told of how long answers took."""
        if self._first_generation <= times.generation <= self.generation:
            self.times.add_all(times)

    def add_report(self, generation: int, report: BootReport, now: float) -> None:
        """Adds what a worker told at *now* that the guest reported."""
        if generation != self.generation or self.domain is None or not self.tap.since <= report.at <= now:
            return
        if report.what is What.PHONE_HOME:
            self.phone_home = report
        else:
            self.reports.append(report)
            del self.reports[:-MAX_REPORTS]

    def first_fetch(self, row: Row, now: float) -> Domain | None:
        """The domain that read what *row* tells for the first time, None where that is no news or cannot be true."""
        domain = self._domains.get(row.generation)
        fetch = (row.generation, row.kind)
        sound = self.tap.since <= row.first <= row.last <= now
        if domain is None or row.status >= _REJECTED or not sound or fetch in self._fetched or row.kind in _WRITTEN:
            return None
        self._fetched[fetch] = None
        return domain


def event_fields(tap: Tap, domain: Domain | None) -> dict[str, Any]:
    """What an event says of *tap*, and of *domain* behind it."""
    fields: dict[str, Any] = {"tap": tap.name, "tag": tap.tag, "ifindex": tap.ifindex}
    if domain is not None:
        fields |= {"uuid": str(domain.instance_uuid), "name": domain.display_name}
    return fields
