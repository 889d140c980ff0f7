"""A reactor that turns for as long as a test waits: Twisted's cannot be run twice in one process."""

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
    """Turns the reactor until something is so; fails when it is not within 10 seconds."""

    def turn(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < end, "it did not come about"
            reactor.iterate(0.01)

    return turn


@pytest.fixture
def longest_turn(reactor: Any) -> LongestTurn:
    """Turns the reactor until something is so; the longest turn, in seconds of this thread's own time."""

    def measure(condition: Callable[[], bool]) -> float:
        longest = 0.0
        while not condition():
            began = time.thread_time()  # not the time that other programs take
            reactor.iterate(0)
            longest = max(longest, time.thread_time() - began)
        return longest

    return measure


@pytest.fixture
def turn(reactor: Any) -> Callable[[float], None]:
    """Turns the reactor for some seconds, to see that nothing happens."""

    def turn_for(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            reactor.iterate(0.01)

    return turn_for


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A living process, for a procfs of files to say that it is QEMU."""
    process = subprocess.Popen(["sleep", "100"])
    yield process
    process.kill()
    process.wait()
