"""A worker's process, with a reactor that starts none: when it starts, cannot start, is drained, stopped or killed."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet.error import ProcessTerminated
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, capturedLogs, eventAsText
from twisted.python.failure import Failure

from eve_meta.supervisor.worker_entry import WorkerEntry
from eve_meta.supervisor.worker_link import HANG_BEATS, INPUT_BURST
from eve_meta.supervisor.worker_process import (
    DRAIN_TIMEOUT,
    RESTART_DELAYS,
    STOP_TIMEOUT,
    WorkerConfig,
    WorkerProcess,
)
from eve_meta.values.problem import Problem
from eve_meta.wire.channel import Channel
from eve_meta.wire.latency import Times
from eve_meta.wire.messages import BootReports, Counts, PutTap
from eve_meta.wire.password import Outcome
from eve_meta.wire.requests import Row

CONFIG = WorkerConfig(
    ids=range(1, 65), root=Path("/"), birth=contextlib.nullcontext, domain_wait=60, hop_limit=1, hosts=()
)


class Reactor(Clock):
    """Pretends to start processes.

    :ivar failing: what starting one raises, if anything.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failing: OSError | None = None
        self.started: list[dict[int, int | str]] = []
        self.killed = 0
        self.signals: list[str] = []
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
            self.signals.append(signal)


class Scene:
    """A worker, and the taker of its events."""

    def __init__(self, events: Sequence[LogEvent]) -> None:
        self._events = events
        self.reactor = Reactor()
        self.namespace_is_gone = False
        self.counts: list[Counts] = []
        self.forbidden: list[int | None] = []
        self.starts = 0
        self.accepted = 0
        self.hangs = 0
        self.worker = WorkerProcess(
            cast(Any, self.reactor),
            CONFIG,
            0,
            get_listeners=lambda: (),
            in_namespace=self._in_namespace,
            events=self,
        )

    @contextlib.contextmanager
    def _in_namespace(self) -> Iterator[None]:
        if self.namespace_is_gone:
            raise Problem("the network namespace 'x' is gone: restart eve-meta")
        yield

    # -- the events --

    def started(self) -> None:
        self.starts += 1

    def accepting(self) -> None:
        self.accepted += 1

    def made_forbidden_call(self, pid: int | None) -> None:
        self.forbidden.append(pid)

    def hung(self) -> None:
        self.hangs += 1

    def counted(self, counts: Counts) -> None:
        self.counts.append(counts)

    def asked(self, rows: list[Row]) -> None:
        pass

    def timed(self, times: list[Times]) -> None:
        pass

    def reported(self, reports: BootReports) -> None:
        pass

    def posted(self, tag: int, password: str, answer: Callable[[Outcome], None]) -> None:
        pass

    # -- what the process writes --

    @property
    def lines(self) -> list[str]:
        return [eventAsText(event, includeTimestamp=False, includeSystem=False) for event in self._events]

    def send(self, message: str) -> None:
        """Have the process that was started last send *message*, a line of JSON."""
        self.reactor.channels[-1].stringReceived(message.encode() + b"\n")

    def send_large_counts(self) -> None:
        """Have it send its counts in a frame of 100 KB."""
        self.reactor.channels[-1].stringReceived(b'{"message": "Counts", "counts": {}}\n' + b"x" * 100_000)


@pytest.fixture
def scene() -> Iterator[Scene]:
    with capturedLogs() as events:
        yield Scene(events)


def open_files() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


# -- starting --


def test_a_worker_accepts_from_its_answer_to_begin_until_it_is_gone(scene: Scene) -> None:
    scene.worker.start()
    scene.worker.begin()
    scene.reactor.advance(0)
    scene.reactor.advance(0)
    assert (scene.worker.accepts, scene.accepted) == (False, 0)
    scene.send('{"message": "Counts", "counts": {}, "number": 1}')
    assert (scene.worker.accepts, scene.accepted) == (True, 1)
    scene.worker.processEnded(Failure(RuntimeError()))
    assert not scene.worker.accepts


def test_a_worker_that_dies_before_it_accepts_never_accepts(scene: Scene) -> None:
    scene.worker.start()
    scene.worker.begin()
    scene.reactor.channels[-1].connectionLost()
    assert (scene.worker.accepts, scene.accepted) == (False, 0)


def test_a_worker_has_a_pipe_in_place_of_our_standard_error(scene: Scene) -> None:
    scene.worker.start()
    ((files),) = scene.reactor.started
    assert files[2] == "r"
    assert set(files) == {2, 3, 4}


@pytest.mark.parametrize("step", ["fork", "namespace", "socket pair"])
def test_a_start_that_fails_is_tried_again_and_leaves_nothing_open(
    scene: Scene, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_pair() -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    if step == "fork":
        scene.reactor.failing = BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    scene.namespace_is_gone = step == "namespace"
    with monkeypatch.context() as patch:
        if step == "socket pair":
            patch.setattr(socket, "socketpair", no_pair)
        gc.collect()  # what earlier tests left open
        before = open_files()
        scene.worker.start()
        for delay in (*RESTART_DELAYS, RESTART_DELAYS[-1]):
            scene.reactor.advance(delay)
        assert open_files() == before
    assert all(transport.disconnecting for transport in scene.reactor.transports)
    assert len(scene.lines) == len(RESTART_DELAYS) + 2
    assert scene.lines[0].startswith("worker 0 cannot start: ")
    assert scene.lines[0].endswith("the next try is in 0.0 s")
    assert scene.worker.request_counts().called  # there is no process to wait for
    scene.namespace_is_gone, scene.reactor.failing = False, None
    scene.reactor.advance(RESTART_DELAYS[-1])
    assert (scene.starts, len(scene.reactor.started)) == (1, 1)
    assert scene.worker.pid == 7


def test_a_worker_that_cannot_start_can_be_stopped(scene: Scene) -> None:
    scene.namespace_is_gone = True
    scene.worker.start()
    assert scene.worker.stop().called
    assert scene.reactor.getDelayedCalls() == []


def test_the_channel_of_a_process_that_died_does_not_end_the_next(scene: Scene) -> None:
    scene.worker.start()
    scene.worker.processEnded(Failure(RuntimeError()))
    scene.reactor.advance(0)
    assert scene.starts == 2
    scene.reactor.channels[0].connectionLost()
    assert scene.reactor.killed == 0
    scene.worker.put(1, lambda: WorkerEntry(PutTap(tag=1, tap="a", since=0.0)))
    assert b'"PutTap"' in sent(scene)


def test_a_worker_that_does_not_read_is_stopped(scene: Scene) -> None:
    scene.worker.start()
    scene.worker.put(1, lambda: WorkerEntry(PutTap(tag=1, tap="a", since=0.0)))
    producer = scene.reactor.transports[0].producer
    assert producer is not None
    producer.pauseProducing()
    scene.worker.stop()
    assert scene.reactor.transports[0].disconnected  # an abort waits for no producer


# -- whether it answers --


def test_a_worker_that_does_not_answer_is_killed_and_started_again(scene: Scene) -> None:
    scene.worker.start()
    scene.worker.beat()
    scene.send('{"message": "Pong", "number": 1}')
    for _ in range(HANG_BEATS + 1):
        assert scene.reactor.killed == 0
        scene.worker.beat()
    assert (scene.reactor.killed, scene.hangs, scene.worker.hangs) == (1, 1, 1)
    assert scene.lines == ["worker 0 (pid 7) is killed: it has not answered its supervisor for 2 s"]
    scene.worker.beat()
    scene.worker.processEnded(Failure(RuntimeError()))
    scene.worker.beat()
    scene.worker.confirm_table(1.0)
    scene.reactor.advance(0)
    assert (scene.starts, scene.worker.restarts, scene.worker.hangs) == (2, 1, 1)


# -- what it died of --


def test_a_death_of_a_forbidden_system_call_is_named_and_counted(scene: Scene) -> None:
    scene.worker.start()
    scene.worker.processEnded(Failure(ProcessTerminated(signal=signal.SIGSYS)))
    assert (scene.forbidden, scene.worker.forbidden_calls, scene.worker.restarts) == ([7], 1, 1)
    assert "worker 0 (pid 7) was killed for a system call that no worker makes" in scene.lines[-2]
    scene.reactor.advance(0)
    scene.worker.processEnded(Failure(ProcessTerminated(signal=signal.SIGKILL)))
    assert (scene.worker.forbidden_calls, scene.worker.restarts) == (1, 2)


# -- stopping and draining --


def test_a_worker_is_stopped_by_a_signal_whatever_fills_its_channel(scene: Scene) -> None:
    scene.worker.start()
    scene.worker.stop()
    assert (scene.reactor.signals, scene.reactor.transports[0].disconnected) == (["HUP"], True)
    scene.reactor.advance(STOP_TIMEOUT)
    assert scene.reactor.killed == 1


def drain(scene: Scene) -> list[None]:
    """Drain the worker; return a list that gets the result when it comes."""
    done: list[None] = []
    scene.worker.drain().addCallback(done.append)
    return done


def sent(scene: Scene) -> bytes:
    return cast(bytes, scene.reactor.transports[-1].value())


def test_draining_ends_when_the_worker_has_drained(scene: Scene) -> None:
    scene.worker.start()
    done = drain(scene)
    assert b'"Drain"' in sent(scene)
    assert done == []
    for _ in range(2):
        scene.send('{"message": "Drained"}')
    assert done == [None]
    assert scene.reactor.getDelayedCalls() == []
    scene.worker.stop()
    scene.worker.processEnded(Failure(RuntimeError()))
    assert (scene.starts, scene.lines) == (1, [])


def test_draining_ends_after_its_timeout(scene: Scene) -> None:
    scene.worker.start()
    done = drain(scene)
    scene.reactor.advance(DRAIN_TIMEOUT - 0.1)
    assert done == []
    scene.reactor.advance(0.1)
    assert done == [None]


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_worker_that_dies_while_it_drains_is_not_started_again(scene: Scene, when: str) -> None:
    scene.worker.start()
    if when == "before":
        scene.worker.processEnded(Failure(RuntimeError()))
    done = drain(scene)
    if when == "meanwhile":
        scene.reactor.channels[-1].connectionLost()
        scene.worker.processEnded(Failure(RuntimeError()))
    assert done == [None]
    scene.reactor.advance(DRAIN_TIMEOUT)
    assert scene.starts == 1
    assert scene.worker.stop().called


def test_drained_that_nobody_requested_changes_nothing(scene: Scene) -> None:
    scene.worker.start()
    scene.send('{"message": "Drained"}')
    assert drain(scene) == []


# -- what is not taken from it --


def test_nothing_more_is_taken_from_a_process_that_is_being_killed_or_was(scene: Scene) -> None:
    """Before it died it may have sent as much as it could, of which the supervisor has read only a part."""
    scene.worker.start()
    scene.send_large_counts()
    scene.worker.kill()
    scene.send_large_counts()
    assert len(scene.counts) == 1
    scene.worker.processEnded(Failure(RuntimeError()))
    scene.reactor.advance(0)
    old, new = scene.reactor.channels
    new.stringReceived(b'{"message": "Counts", "counts": {}}')
    for _ in range(100):
        old.stringReceived(b"x" * 100_000)
    assert (scene.starts, len(scene.counts), scene.reactor.killed) == (2, 2, 1)


@pytest.mark.parametrize("how", ["exit", "kill"])
def test_what_a_process_that_is_gone_sent_does_not_end_the_next(scene: Scene, how: str) -> None:
    scene.worker.start()
    if how == "kill":
        scene.worker.kill()
    killed = scene.reactor.killed
    scene.worker.processEnded(Failure(RuntimeError()))
    scene.reactor.advance(0)
    scene.reactor.channels[0].stringReceived(b'{"message": "RequestRows"}\nno rows')
    assert (scene.starts, scene.reactor.killed) == (2, killed)


def test_a_process_that_sends_too_much_is_killed_once_and_the_next_begins_anew(scene: Scene) -> None:
    scene.worker.start()
    for _ in range(INPUT_BURST // 100_000 + 10):
        scene.send_large_counts()
    assert scene.reactor.killed == 1
    assert scene.lines == ["worker 0 is killed: it sent more than any sound worker sends"]
    scene.worker.processEnded(Failure(RuntimeError()))
    scene.reactor.advance(0)
    scene.counts.clear()
    scene.send_large_counts()
    assert (len(scene.counts), scene.worker.restarts, scene.reactor.killed) == (1, 1, 1)
