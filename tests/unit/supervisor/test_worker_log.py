"""What a compromised worker can do to our log: next to nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs, eventAsText

from eve_meta.supervisor.worker_log import MAX_LINE, MAX_LINES, WINDOW, WorkerLog


class Scene:
    def __init__(self, events: Sequence[LogEvent]) -> None:
        self._events = events
        self.clock = Clock()
        self.reads: list[bool] = []
        self.log = WorkerLog(
            self.clock, 3, pause=lambda: self.reads.append(False), resume=lambda: self.reads.append(True)
        )

    @property
    def lines(self) -> list[str]:
        return [eventAsText(event, includeTimestamp=False, includeSystem=False) for event in self._events]


@pytest.fixture
def scene() -> Iterator[Scene]:
    with capturedLogs() as events:
        yield Scene(events)


def test_lines_are_split_at_their_ends_however_their_pieces_come(scene: Scene) -> None:
    for piece in (b"on", b"e\ntwo\nthr", b"ee"):
        scene.log.received(piece)
    assert scene.lines == ["worker 3: one", "worker 3: two"]
    scene.log.closed()
    assert scene.lines[2:] == ["worker 3: three"]
    assert scene.clock.getDelayedCalls() == []


def test_nothing_that_a_terminal_would_obey_reaches_the_log(scene: Scene) -> None:
    scene.log.received("\x1b]0;x\x07\r\0{evil}ä\u202e\n".encode() + b"\xff\n")
    assert scene.lines == [r"worker 3: \x1b]0;x\x07\r\x00{evil}ä\u202e", r"worker 3: \xff"]


@pytest.mark.parametrize("piece", [1, 7, 65536])
def test_a_line_without_an_end_is_cut_and_not_kept_in_memory(scene: Scene, piece: int) -> None:
    for _ in range(200_000 // piece + 1):
        scene.log.received(b"x" * piece)
    assert len(scene.log._rest) <= MAX_LINE + 1
    scene.log.received(b"\n")
    assert scene.lines == [f"worker 3: {'x' * MAX_LINE}…"]


def test_a_flood_stays_in_the_pipe(scene: Scene) -> None:
    scene.log.received(b"x\n" * 1000)
    scene.log.received(b"x\n" * 1000)
    assert (len(scene.lines), scene.reads) == (MAX_LINES, [False])
    scene.clock.advance(WINDOW)
    assert scene.lines[MAX_LINES:] == [f"worker 3: at least {2000 - MAX_LINES} more lines, left out"]
    assert scene.reads == [False, True]
    scene.log.received(b"y\n")
    assert scene.lines[-1] == "worker 3: y"


def test_a_paused_pipe_is_read_when_the_process_is_gone(scene: Scene) -> None:
    scene.log.received(b"x\n" * 100)
    scene.log.ended()
    assert scene.reads == [False, True]
    scene.log.received(b"x\n" * 100)
    assert scene.reads == [False, True]
    scene.log.closed()
    assert scene.lines[MAX_LINES:] == [f"worker 3: at least {200 - MAX_LINES} more lines, left out"]
    assert scene.clock.getDelayedCalls() == []


def test_after_a_window_without_a_flood_there_is_no_timer(scene: Scene) -> None:
    scene.log.received(b"x\n")
    scene.clock.advance(WINDOW)
    assert scene.clock.getDelayedCalls() == []
    assert scene.lines == ["worker 3: x"]
