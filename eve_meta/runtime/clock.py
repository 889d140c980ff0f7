"""The clocks of the host, as one object that the daemon makes and hands down.

Code that has the reactor takes monotonic time from ``reactor.seconds()``, which is the same clock
(:mod:`eve_meta.runtime.reactor`) and the one that its timers run by. This object is for code that shows times to people
or compares clocks.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from attrs import frozen


def _boot_time() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@frozen(kw_only=True)
class Clock:
    """Three clocks of the host, each a function that returns seconds.

    :ivar monotonic: ``CLOCK_MONOTONIC``, which never jumps and stands still while the host sleeps: the clock of all
        times that the daemon's processes keep and exchange.
    :ivar boot: ``CLOCK_BOOTTIME``, which goes on while the host sleeps: the BPF programs' clock.
    :ivar wall: seconds since the epoch, which jump when somebody sets the clock.
    """

    monotonic: Callable[[], float] = time.monotonic
    boot: Callable[[], float] = _boot_time
    wall: Callable[[], float] = time.time

    def wall_of_monotonic(self, monotonic: float) -> float:
        """Return a time of ``CLOCK_MONOTONIC`` as seconds since the epoch, as the wall clock is set now."""
        return self.wall() - self.monotonic() + monotonic

    def wall_of_boot(self, boot: float) -> float:
        """Return a time of ``CLOCK_BOOTTIME`` as seconds since the epoch, as the wall clock is set now."""
        return self.wall() - self.boot() + boot

    def monotonic_of_boot(self, boot: float) -> float:
        """Return a time of ``CLOCK_BOOTTIME`` as one of ``CLOCK_MONOTONIC``, as if the host had not slept since."""
        return self.monotonic() - self.boot() + boot
