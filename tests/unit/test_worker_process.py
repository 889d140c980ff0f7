"""A worker's process, with a reactor that starts none: what happens when it cannot start, and how much it may say."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, capturedLogs, eventAsText
from twisted.python.failure import Failure

from eve_meta.channel import Channel, Counts, PutTap
from eve_meta.errors import Problem
from eve_meta.latency import Times
from eve_meta.ledger import Label, Row, pack
from eve_meta.worker_process import (
    DRAIN_TIMEOUT,
    FRAME_COST,
    RESTART_DELAYS,
    SAY_BURST,
    SAY_RATE,
    STOP_TIMEOUT,
    WorkerConfig,
    WorkerProcess,
)

CONFIG = WorkerConfig(uid=1, gid=1, root=Path("/"), domain_wait=60, hop_limit=1, hosts=())


class Reactor(Clock):
    """Starts processes that are none, unless it is to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.failing: OSError | None = None
        self.started: list[dict[int, int | str]] = []
        self.killed = 0
        self.told: list[str] = []
        self.transports: list[StringTransport] = []
        self.pid = 7
        self.pipes: dict[int, object] = {}

    def spawnProcess(self, *_: object, childFDs: dict[int, int | str], **__: object) -> Any:  # noqa: N802, N803
        if self.failing is not None:
            raise self.failing
        self.started.append(childFDs)
        return self

    def adoptStreamConnection(self, _fd: int, _family: int, factory: Any) -> None:  # noqa: N802
        self.transports.append(StringTransport())
        factory.buildProtocol(None).makeConnection(self.transports[-1])

    def signalProcess(self, signal: str) -> None:  # noqa: N802
        if signal == "KILL":
            self.killed += 1
        else:
            self.told.append(signal)


class Scene:
    def __init__(self, events: Sequence[LogEvent]) -> None:
        self._events = events
        self.reactor = Reactor()
        self.gone = False
        self.counted: list[Counts] = []
        self.asked: list[list[Row]] = []
        self.timed: list[list[Times]] = []
        self.new = 0
        self.accepted = 0
        self.worker = WorkerProcess(
            cast(Any, self.reactor),
            CONFIG,
            0,
            lambda: (),
            entered=self._entered,
            started=self._started,
            accepting=self._accepting,
            counted=self.counted.append,
            asked=self.asked.append,
            timed=self.timed.append,
            reported=lambda _: None,
            posted=cast(Callable[..., None], None),
        )

    @contextlib.contextmanager
    def _entered(self) -> Iterator[None]:
        if self.gone:
            raise Problem("the network namespace 'x' is gone: restart eve-meta")
        yield

    def _started(self, _: WorkerProcess) -> None:
        self.new += 1

    def _accepting(self) -> None:
        self.accepted += 1

    @property
    def lines(self) -> list[str]:
        return [eventAsText(event, includeTimestamp=False, includeSystem=False) for event in self._events]

    def say(self, size: int) -> None:
        channel = self.worker._channel
        assert isinstance(channel, Channel)
        frame = b'{"message": "Counts", "counts": {}}\n'
        channel.stringReceived(frame + b"x" * (size - len(frame)))

    def tell(self, *payloads: bytes) -> None:
        channel = self.worker._channel
        assert isinstance(channel, Channel)
        for payload in payloads:
            channel.stringReceived(b'{"message": "Asked"}\n' + payload)


@pytest.fixture
def scene() -> Iterator[Scene]:
    with capturedLogs() as events:
        yield Scene(events)


def open_files() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


# -- starting --


def test_it_accepts_when_it_says_so_and_not_when_it_is_gone(scene: Scene) -> None:
    scene.worker.start()
    scene.worker.begin()
    scene.reactor.advance(0)
    scene.reactor.advance(0)
    assert (scene.worker.accepts, scene.accepted) == (False, 0)
    channel = scene.worker._channel
    assert isinstance(channel, Channel)
    channel.stringReceived(b'{"message": "Counts", "counts": {}, "number": 1}\n')
    assert (scene.worker.accepts, scene.accepted) == (True, 1)
    scene.worker.processEnded(Failure(RuntimeError()))
    assert not scene.worker.accepts


def test_one_that_dies_before_it_accepts_never_did(scene: Scene) -> None:
    scene.worker.start()
    scene.worker.begin()
    channel = scene.worker._channel
    assert channel is not None
    channel.connectionLost()
    assert (scene.worker.accepts, scene.accepted) == (False, 0)


def test_it_holds_a_pipe_in_place_of_our_standard_error(scene: Scene) -> None:
    scene.worker.start()
    ((files),) = scene.reactor.started
    assert files[2] == "r"
    assert set(files) == {2, 3}


@pytest.mark.parametrize("way", ["fork", "namespace", "socket pair"])
def test_a_start_that_fails_is_tried_again_and_leaves_nothing_open(
    scene: Scene, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_pair() -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    if way == "fork":
        scene.reactor.failing = BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    scene.gone = way == "namespace"
    with monkeypatch.context() as patch:
        if way == "socket pair":
            patch.setattr(socket, "socketpair", no_pair)
        before = open_files()
        scene.worker.start()
        for delay in (*RESTART_DELAYS, RESTART_DELAYS[-1]):
            scene.reactor.advance(delay)
        assert open_files() == before
    assert all(transport.disconnecting for transport in scene.reactor.transports)
    assert len(scene.lines) == len(RESTART_DELAYS) + 2
    assert scene.lines[0].startswith("worker 0 cannot start: ")
    assert scene.lines[0].endswith("it is tried again in 0.0 s")
    assert scene.worker.report().called  # nobody waits for it
    scene.gone, scene.reactor.failing = False, None
    scene.reactor.advance(RESTART_DELAYS[-1])
    assert (scene.new, len(scene.reactor.started)) == (1, 1)
    assert scene.worker.pid == 7


def test_one_that_cannot_start_can_be_stopped(scene: Scene) -> None:
    scene.gone = True
    scene.worker.start()
    assert scene.worker.stop().called
    assert scene.reactor.getDelayedCalls() == []


def test_the_channel_of_one_that_died_does_not_end_the_next(scene: Scene) -> None:
    scene.worker.start()
    old = scene.worker._channel
    assert old is not None
    scene.worker.processEnded(Failure(RuntimeError()))
    scene.reactor.advance(0)
    assert scene.new == 2
    old.connectionLost()
    assert (scene.reactor.killed, scene.worker._channel is None) == (0, False)


def test_it_is_stopped_while_it_does_not_read(scene: Scene) -> None:
    scene.worker.start()
    scene.worker.put(1, lambda: (PutTap(tag=1, tap="a", since=0.0), b"x"))
    assert scene.worker._feed is not None
    scene.worker._feed.pauseProducing()
    scene.worker.stop()
    assert scene.reactor.transports[0].disconnected  # which waits for no producer


# -- its end --


def test_one_that_is_to_end_is_told_so_whatever_fills_its_channel(scene: Scene) -> None:
    scene.worker.start()
    scene.worker.stop()
    assert (scene.reactor.told, scene.reactor.transports[0].disconnected) == (["HUP"], True)
    scene.reactor.advance(STOP_TIMEOUT)
    assert scene.reactor.killed == 1


def drained(scene: Scene) -> list[None]:
    """Its result, when there is one."""
    done: list[None] = []
    scene.worker.drain().addCallback(done.append)
    return done


def sent(scene: Scene) -> bytes:
    return cast(bytes, scene.reactor.transports[-1].value())


def test_one_that_drains_says_when_it_has(scene: Scene) -> None:
    scene.worker.start()
    done = drained(scene)
    assert b'"Drain"' in sent(scene)
    assert done == []
    channel = scene.worker._channel
    assert isinstance(channel, Channel)
    for _ in range(2):
        channel.stringReceived(b'{"message": "Drained"}\n')
    assert done == [None]
    assert scene.reactor.getDelayedCalls() == []
    scene.worker.stop()
    scene.worker.processEnded(Failure(RuntimeError()))
    assert (scene.new, scene.lines) == (1, [])


def test_one_that_does_not_drain_is_not_waited_for(scene: Scene) -> None:
    scene.worker.start()
    done = drained(scene)
    scene.reactor.advance(DRAIN_TIMEOUT - 0.1)
    assert done == []
    scene.reactor.advance(0.1)
    assert done == [None]


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_one_that_dies_instead_is_not_started_again(scene: Scene, when: str) -> None:
    scene.worker.start()
    if when == "before":
        scene.worker.processEnded(Failure(RuntimeError()))
    done = drained(scene)
    if when == "meanwhile":
        channel = scene.worker._channel
        assert channel is not None
        channel.connectionLost()
        scene.worker.processEnded(Failure(RuntimeError()))
    assert done == [None]
    scene.reactor.advance(DRAIN_TIMEOUT)
    assert scene.new == 1
    assert scene.worker.stop().called


def test_nobody_asked_it_to_drain(scene: Scene) -> None:
    scene.worker.start()
    channel = scene.worker._channel
    assert isinstance(channel, Channel)
    channel.stringReceived(b'{"message": "Drained"}\n')
    assert drained(scene) == []


# -- how much it may say --


def test_what_guests_asked_for_comes_as_it_was_told_and_no_row_but_a_sound_one(scene: Scene) -> None:
    scene.worker.start()
    rows = [Row(7, Label.TOKEN, 200, 3, 1.5, 2.5), Row(0, Label.UNREAD, 403, 1, 0.0, 0.0)]
    scene.tell(*pack(rows))
    assert (scene.asked, scene.reactor.killed) == ([rows], 0)
    scene.tell(b"x" * 7)
    assert (scene.asked, scene.reactor.killed) == ([rows], 1)
    assert scene.lines == ["worker 0 said what no sound worker says; it is killed"]


def test_one_that_says_too_much_is_killed_once_and_no_more_of_it_heard(scene: Scene) -> None:
    scene.worker.start()
    size = 100_000
    enough = SAY_BURST // (size + FRAME_COST)
    for _ in range(enough):
        scene.say(size)
    assert (len(scene.counted), scene.reactor.killed) == (enough, 0)
    for _ in range(10):
        scene.say(size)
    assert (len(scene.counted), scene.reactor.killed) == (enough, 1)
    assert scene.lines == ["worker 0 said what is more than any sound worker says; it is killed"]


def test_small_frames_cost_by_their_number(scene: Scene) -> None:
    scene.worker.start()
    for _ in range(SAY_BURST // FRAME_COST):
        scene.say(36)
    assert scene.reactor.killed == 1


def test_what_a_busy_worker_says_for_ever_is_heard(scene: Scene) -> None:
    scene.worker.start()
    for _ in range(1000):
        scene.say(SAY_RATE // 2)
        scene.reactor.advance(1)
    assert (len(scene.counted), scene.reactor.killed) == (1000, 0)


def test_the_next_one_begins_anew(scene: Scene) -> None:
    scene.worker.start()
    for _ in range(100):
        scene.say(100_000)
    scene.worker.processEnded(Failure(RuntimeError()))
    scene.reactor.advance(0)
    scene.counted.clear()
    scene.say(1000)
    assert (len(scene.counted), scene.worker.restarts) == (1, 1)
