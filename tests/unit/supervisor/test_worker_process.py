"""A worker's process, with a reactor that starts none: what happens when it cannot start, and when it is to end."""

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

from eve_meta.supervisor.worker_link import SAY_BURST, Hearers
from eve_meta.supervisor.worker_process import (
    BLAMELESS_DELAY,
    DRAIN_TIMEOUT,
    RESTART_DELAYS,
    STOP_TIMEOUT,
    WorkerConfig,
    WorkerProcess,
)
from eve_meta.values.problem import Problem
from eve_meta.wire.channel import Channel
from eve_meta.wire.messages import Counts, PutTap

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
        self.channels: list[Channel] = []
        self.pid = 7
        self.pipes: dict[int, object] = {}

    def spawnProcess(self, *_: object, childFDs: dict[int, int | str], **__: object) -> Any:
        if self.failing is not None:
            raise self.failing
        self.started.append(childFDs)
        return self

    def adoptStreamConnection(self, _fd: int, _family: int, factory: Any) -> None:
        self.transports.append(StringTransport())
        self.channels.append(factory.buildProtocol(None))
        self.channels[-1].makeConnection(self.transports[-1])

    def signalProcess(self, signal: str) -> None:
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
            hearers=Hearers(
                counted=self.counted.append,
                asked=lambda _: None,
                timed=lambda _: None,
                reported=lambda _: None,
                posted=cast(Callable[..., None], None),
            ),
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

    def says(self, message: str) -> None:
        """The process that was started last says *message*, a line of JSON."""
        self.reactor.channels[-1].stringReceived(message.encode() + b"\n")

    def says_much(self) -> None:
        """Counts in a frame of 100 KB."""
        self.reactor.channels[-1].stringReceived(b'{"message": "Counts", "counts": {}}\n' + b"x" * 100_000)


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
    scene.says('{"message": "Counts", "counts": {}, "number": 1}')
    assert (scene.worker.accepts, scene.accepted) == (True, 1)
    scene.worker.processEnded(Failure(RuntimeError()))
    assert not scene.worker.accepts


def test_one_that_dies_before_it_accepts_never_did(scene: Scene) -> None:
    scene.worker.start()
    scene.worker.begin()
    scene.reactor.channels[-1].connectionLost()
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
    scene.worker.processEnded(Failure(RuntimeError()))
    scene.reactor.advance(0)
    assert scene.new == 2
    scene.reactor.channels[0].connectionLost()
    assert scene.reactor.killed == 0
    scene.worker.put(1, lambda: (PutTap(tag=1, tap="a", since=0.0), b""))
    assert b'"PutTap"' in sent(scene)


def test_it_is_stopped_while_it_does_not_read(scene: Scene) -> None:
    scene.worker.start()
    scene.worker.put(1, lambda: (PutTap(tag=1, tap="a", since=0.0), b"x"))
    producer = scene.reactor.transports[0].producer
    assert producer is not None
    producer.pauseProducing()
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
    for _ in range(2):
        scene.says('{"message": "Drained"}')
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
        scene.reactor.channels[-1].connectionLost()
        scene.worker.processEnded(Failure(RuntimeError()))
    assert done == [None]
    scene.reactor.advance(DRAIN_TIMEOUT)
    assert scene.new == 1
    assert scene.worker.stop().called


def test_nobody_asked_it_to_drain(scene: Scene) -> None:
    scene.worker.start()
    scene.says('{"message": "Drained"}')
    assert drained(scene) == []


# -- how much it may say --


def test_of_one_that_is_being_killed_no_more_is_heard_nor_of_one_that_was(scene: Scene) -> None:
    """It may have said as much as it could before it died, and the supervisor have read a part."""
    scene.worker.start()
    scene.says_much()
    scene.worker.kill(blameless=True)
    scene.says_much()
    assert len(scene.counted) == 1
    scene.worker.processEnded(Failure(RuntimeError()))
    scene.reactor.advance(0)
    old, new = scene.reactor.channels
    new.stringReceived(b'{"message": "Counts", "counts": {}}')
    for _ in range(100):
        old.stringReceived(b"x" * 100_000)
    assert (scene.new, len(scene.counted), scene.reactor.killed) == (2, 2, 1)


@pytest.mark.parametrize("how", ["exit", "kill"])
def test_what_one_that_is_gone_said_ends_not_the_next(scene: Scene, how: str) -> None:
    scene.worker.start()
    if how == "kill":
        scene.worker.kill()
    killed = scene.reactor.killed
    scene.worker.processEnded(Failure(RuntimeError()))
    scene.reactor.advance(0)
    scene.reactor.channels[0].stringReceived(b'{"message": "Asked"}\nno rows')
    assert (scene.new, scene.reactor.killed) == (2, killed)


def test_one_that_is_killed_for_what_another_did_is_soon_back(scene: Scene) -> None:
    scene.worker.start()
    for _ in range(10):
        scene.worker.kill(blameless=True)
        scene.reactor.channels[-1].connectionLost()  # which alone would be its own fault
        scene.worker.processEnded(Failure(RuntimeError()))
        scene.reactor.advance(BLAMELESS_DELAY)
    assert scene.new == 11
    scene.worker.kill()  # for what it did itself, and then for another as well
    scene.worker.kill(blameless=True)
    scene.worker.processEnded(Failure(RuntimeError()))
    scene.reactor.advance(BLAMELESS_DELAY)
    assert scene.new == 11


def test_one_that_says_too_much_is_killed_once_and_the_next_begins_anew(scene: Scene) -> None:
    scene.worker.start()
    for _ in range(SAY_BURST // 100_000 + 10):
        scene.says_much()
    assert scene.reactor.killed == 1
    assert scene.lines == ["worker 0 said what is more than any sound worker says; it is killed"]
    scene.worker.processEnded(Failure(RuntimeError()))
    scene.reactor.advance(0)
    scene.counted.clear()
    scene.says_much()
    assert (len(scene.counted), scene.worker.restarts, scene.reactor.killed) == (1, 1, 1)
