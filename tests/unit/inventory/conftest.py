"""A reactor that turns while a test waits: Twisted's cannot be run twice in one process."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from eve_meta.runtime.reactor import reactor as the_reactor

Until = Callable[[Callable[[], bool]], None]
LongestTurn = Callable[[Callable[[], bool]], float]


@pytest.fixture
def reactor() -> Any:
    return the_reactor


@pytest.fixture
def until(reactor: Any) -> Until:
    """A function that turns the reactor until a condition holds, and fails when it does not within 10 seconds."""

    def turn(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < end, "the condition did not come to hold within 10 s"
            reactor.iterate(0.01)

    return turn


@pytest.fixture
def longest_turn(reactor: Any) -> LongestTurn:
    """A function that turns the reactor until a condition holds, and returns the longest turn in CPU seconds."""

    def measure(condition: Callable[[], bool]) -> float:
        longest = 0.0
        while not condition():
            began = time.thread_time()  # other programs' time does not count
            reactor.iterate(0)
            longest = max(longest, time.thread_time() - began)
        return longest

    return measure


@pytest.fixture
def turn(reactor: Any) -> Callable[[float], None]:
    """A function that turns the reactor for some seconds, so that a test can see that nothing happens."""

    def turn_for(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            reactor.iterate(0.01)

    return turn_for


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A living process, for a made-up procfs to present as a QEMU."""
    process = subprocess.Popen(["sleep", "100"])
    yield process
    process.kill()
    process.wait()
