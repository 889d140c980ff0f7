"""The supervisor's heartbeat: it confirms the workers' tables, and has the workers show that they still answer.

The law: the supervisor confirms a worker's table only after it has acted on everything that the kernel and the
inventory had reported. So it does not matter why a supervisor does not keep up: one that is stopped, busy, dead or
behind confirms nothing, and a worker without a confirmation soon answers nobody
(:data:`eve_meta.wire.messages.LEASE_TIME`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from eve_meta.runtime.timer import Timer
from eve_meta.wire.messages import LEASE_TIME

BEAT = 0.25
"""Seconds between two beats: an eighth of the lease. A delay of a second and a half costs no guest an answer, and a
worker that hangs is noticed at most this much later than it could be."""

CATCH_UP_DELAY = 0.02
"""Seconds until a supervisor that is behind tries again. Meanwhile its reactor does everything else."""


class BeatingWorker(Protocol):
    """A worker, as far as the heartbeat needs it."""

    def beat(self) -> None:
        """Look whether the worker still answers."""

    def confirm_table(self, at: float) -> None:
        """Confirm to the worker that its table was true at *at*."""


class Heartbeat:
    """Beats for *workers*.

    :param true_at: acts on what was reported and not acted on yet, and returns the last moment at which the tables were
        true, in seconds of ``CLOCK_MONOTONIC``; None where it needs another turn of the reactor.
    :param returned: called before *true_at* when the supervisor has done nothing for longer than a lease lasts.
    :ivar lapses: how often leases ended because the tables were not confirmed in time.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        workers: Sequence[BeatingWorker],
        true_at: Callable[[], float | None],
        returned: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._workers = workers
        self._true_at = true_at
        self._returned = returned
        self._beats = Timer(reactor, self._beat)
        self._confirmations = Timer(reactor, self._confirm)
        self._confirmed: float | None = None
        self._beaten = math.inf
        self.lapses = 0

    def start(self) -> None:
        """Beat from the next turn of the reactor on."""
        self._beats.start()

    def stop(self) -> None:
        """Beat no more."""
        self._beats.cancel()
        self._confirmations.cancel()

    def _beat(self) -> None:
        self._beats.start(BEAT)
        if self._reactor.seconds() > self._beaten + LEASE_TIME:
            self._returned()
        self._beaten = self._reactor.seconds()
        for worker in self._workers:
            worker.beat()
        self._confirmations.cancel()
        self._confirm()

    def _confirm(self) -> None:
        at, now = self._true_at(), self._reactor.seconds()
        if at is None or at + LEASE_TIME <= now:
            self._confirmations.start(CATCH_UP_DELAY)
            return
        if self._confirmed is not None and self._confirmed + LEASE_TIME <= now:
            self.lapses += 1
            self._log.warn(
                "the supervisor was stopped or fell behind for {late:.1f} s; guests got 503 after {lease:.0f} s",
                late=now - self._confirmed,
                lease=LEASE_TIME,
            )
        if at + BEAT < now:
            self._confirmations.start(CATCH_UP_DELAY)
        self._confirmed = at
        for worker in self._workers:
            worker.confirm_table(at)
