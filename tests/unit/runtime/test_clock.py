"""Times of one clock of the host, converted to another clock."""

from __future__ import annotations

import time

import pytest

from eve_meta.runtime.clock import Clock


def test_times_are_converted_as_the_clocks_are_now() -> None:
    clock = Clock(monotonic=lambda: 100.0, boot=lambda: 160.0, wall=lambda: 5000.0)
    assert clock.wall_of_monotonic(90.0) == 4990.0
    assert clock.wall_of_boot(150.0) == 4990.0
    assert clock.monotonic_of_boot(150.0) == 90.0


def test_the_clocks_are_the_hosts() -> None:
    clock = Clock()
    assert clock.monotonic() == pytest.approx(time.monotonic(), abs=5)
    assert clock.boot() >= clock.monotonic() - 5
    assert clock.wall() == pytest.approx(time.time(), abs=5)
