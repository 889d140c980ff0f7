"""What the log has about refusals: enough to look further, and nothing that a guest could choose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from http import HTTPStatus

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs, eventAsText

from eve_meta.supervisor.refusal_log import LINE_EVERY, MAX_TAPS, SAMPLE_EVERY, RefusalLog
from eve_meta.wire.counts import NAMES, Drop


@pytest.fixture
def logged() -> Iterator[Sequence[LogEvent]]:
    with capturedLogs() as logged:
        yield logged


def lines(logged: Sequence[LogEvent]) -> list[str]:
    return [eventAsText(event, includeTimestamp=False, includeSystem=False) for event in logged]


def test_a_flood_of_refusals_is_one_line_a_minute(logged: Sequence[LogEvent]) -> None:
    clock = Clock()
    refusals = RefusalLog(clock, lambda *_: None)
    for _ in range(3):
        for _ in range(1000):
            refusals.answered("vnet3", HTTPStatus.TOO_MANY_REQUESTS, 50)
            refusals.counted("vnet3", "malformed", 1)
            clock.advance(LINE_EVERY / 1000)
    assert len(logged) == 3
    refusals_text = "vnet3: 50000 answered 429, 1000 malformed"
    assert set(lines(logged)) == {
        f"guests were refused within the last 60 s: {refusals_text}; 'eve-meta status' has all counts",
    }


def test_without_refusals_there_is_no_line_and_no_timer(logged: Sequence[LogEvent]) -> None:
    clock = Clock()
    refusals = RefusalLog(clock, lambda *_: None)
    for status in (200, 304, 400, 404, 503):
        refusals.answered("vnet3", status, 1)
    for name in NAMES - {"malformed", "timeout", "slow_reader", "refused_connections"}:
        refusals.counted("vnet3", name, 1)
    assert clock.getDelayedCalls() == []
    refusals.counted("vnet3", "timeout", 1)
    clock.advance(LINE_EVERY)
    assert len(logged) == 1
    assert clock.getDelayedCalls() == []


def test_the_line_is_short_however_many_taps_there_are(logged: Sequence[LogEvent]) -> None:
    clock = Clock()
    refusals = RefusalLog(clock, lambda *_: None)
    for number in range(1, 1001):
        refusals.counted(f"vnet{number}", Drop.TIMEOUT.value, number)
    refusals.answered("no tap", HTTPStatus.FORBIDDEN, 7)
    clock.advance(LINE_EVERY)
    (line,) = lines(logged)
    assert "vnet1000: 1000 timeout; vnet999: 999 timeout; vnet998: 998 timeout; " in line
    assert f"and guests of {1001 - MAX_TAPS} more taps" in line
    assert len(line) < 250


def test_a_sample_of_the_refusals_is_passed_on_at_once() -> None:
    clock = Clock()
    clock.advance(1000)
    samples: list[tuple[str, str, int]] = []
    refusals = RefusalLog(clock, lambda *sample: samples.append(sample))
    for number in range(100):
        refusals.answered("vnet1", 429, 2)
        refusals.counted(f"vnet{number}", "malformed", 1)
    assert samples == [("vnet1", "answered 429", 2)]
    clock.advance(SAMPLE_EVERY)
    refusals.answered("vnet1", 429, 2)
    refusals.counted("vnet2", "malformed", 3)
    assert samples[1:] == [("vnet2", "malformed", 3)]
    clock.advance(LINE_EVERY)
    refusals.answered("vnet1", 401, 1)
    assert samples[2:] == [("vnet1", "answered 401", 1)]
