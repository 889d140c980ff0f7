"""What the supervisor and a worker's process send each other, and what is not taken from the process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from eve_meta.runtime.sealed import descriptor_pair
from eve_meta.supervisor.heartbeat import BEAT
from eve_meta.supervisor.worker_entry import WorkerEntry
from eve_meta.supervisor.worker_link import (
    COUNTS_TIMEOUT,
    FRAME_COST,
    HANG_BEATS,
    INPUT_BURST,
    INPUT_RATE,
    START_BEATS,
    WorkerLink,
)
from eve_meta.values.request_kind import RequestKind
from eve_meta.wire.channel import Channel
from eve_meta.wire.latency import Histogram, Times, pack_times
from eve_meta.wire.messages import BootReports, Counts, PutTap
from eve_meta.wire.password import MAX_PASSWORD, Outcome
from eve_meta.wire.requests import Row, pack


class Reactor(Clock):
    """Gives an adopted connection a transport that keeps what is written."""

    channel: Channel

    def __init__(self) -> None:
        super().__init__()
        self.transport = StringTransport()

    def adoptStreamConnection(self, _fd: int, _family: int, factory: Any) -> None:
        self.channel = factory.buildProtocol(None)
        self.channel.makeConnection(self.transport)


class Scene:
    """A link, and what it made of what the process sent: the scene is both its owner and the taker of its events."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.counts: list[Counts] = []
        self.rows: list[list[Row]] = []
        self.times: list[list[Times]] = []
        self.passwords: list[tuple[int, str, Callable[[Outcome], None]]] = []
        self.distrusted: list[str] = []
        self.drained = 0
        self.silences: list[float] = []
        self.closed: list[WorkerLink] = []
        self.sender, self.receiver = descriptor_pair()
        self.link = WorkerLink(cast(Any, self.reactor), 0, self.sender, self, self)

    # -- the owner --

    def link_drained(self) -> None:
        self.drained += 1

    def link_distrusted(self, reason: str) -> None:
        self.distrusted.append(reason)

    def link_hung(self, seconds: float) -> None:
        self.silences.append(seconds)

    def link_closed(self, link: WorkerLink) -> None:
        self.closed.append(link)

    # -- the events --

    def started(self) -> None:
        raise AssertionError("the link starts nothing")

    def accepting(self) -> None:
        raise AssertionError("the link does not know who accepts")

    def made_forbidden_call(self, pid: int | None) -> None:
        pass

    def hung(self) -> None:
        raise AssertionError("the link does not know what follows")

    def counted(self, counts: Counts) -> None:
        self.counts.append(counts)

    def asked(self, rows: list[Row]) -> None:
        self.rows.append(rows)

    def timed(self, times: list[Times]) -> None:
        self.times.append(times)

    def reported(self, reports: BootReports) -> None:
        pass

    def posted(self, tag: int, password: str, answer: Callable[[Outcome], None]) -> None:
        self.passwords.append((tag, password, answer))

    # -- the process --

    def send(self, message: str, payload: bytes = b"", **fields: Any) -> None:
        self.reactor.channel.stringReceived(json.dumps({"message": message, **fields}).encode() + b"\n" + payload)

    def send_counts_of_size(self, size: int) -> None:
        """Have the process send its counts in a frame of *size* bytes."""
        frame = b'{"message": "Counts", "counts": {}}\n'
        self.reactor.channel.stringReceived(frame + b"x" * (size - len(frame)))

    @property
    def sent(self) -> list[dict[str, Any]]:
        """The messages that the process was sent by now, without payloads."""
        frames, rest = [], cast(bytes, self.reactor.transport.value())
        while rest:
            size = int.from_bytes(rest[:4], "big")
            frames.append(json.loads(rest[4 : 4 + size].partition(b"\n")[0]))
            rest = rest[4 + size :]
        return frames


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    with scene.sender, scene.receiver:
        yield scene


# -- what the process is sent --


def test_the_process_has_begun_when_it_answers_the_message_after_begin(scene: Scene) -> None:
    scene.link.feed.put(1, lambda: WorkerEntry(PutTap(tag=1, tap="a", since=0.0)))
    begun: list[None] = []
    scene.link.begin().addCallback(begun.append)
    for _ in range(3):
        scene.reactor.advance(0)
    assert [message["message"] for message in scene.sent] == ["PutTap", "Begin", "CountsRequest"]
    assert begun == []
    scene.send("Counts", counts={}, number=1)
    assert begun == [None]


def test_a_request_for_counts_ends_when_they_come_or_after_its_timeout(scene: Scene) -> None:
    done: list[str] = []
    scene.link.request_counts().addCallback(lambda _: done.append("first"))
    scene.link.request_counts().addCallback(lambda _: done.append("second"))
    scene.send("Counts", counts={}, number=2)
    assert done == ["second"]
    scene.reactor.advance(COUNTS_TIMEOUT)
    assert done == ["second", "first"]
    assert scene.reactor.getDelayedCalls() == []


def test_nobody_waits_for_a_process_that_is_gone(scene: Scene) -> None:
    done: list[None] = []
    scene.link.begin().addCallback(done.append)
    scene.link.request_counts().addCallback(done.append)
    scene.reactor.channel.connectionLost()
    assert (len(done), scene.closed) == (2, [scene.link])


def test_the_owner_learns_when_the_process_is_drained(scene: Scene) -> None:
    scene.link.drain()
    assert scene.sent == [{"message": "Drain"}]
    assert scene.drained == 0
    scene.send("Drained")
    assert scene.drained == 1


# -- what the process sends --


def test_rows_of_requests_come_unchanged_and_broken_ones_are_distrusted(scene: Scene) -> None:
    rows = [Row(7, RequestKind.TOKEN, 200, 3, 1.5, 2.5), Row(0, RequestKind.UNREAD, 403, 1, 0.0, 0.0)]
    for packed in pack(rows):
        scene.send("RequestRows", packed)
    assert (scene.rows, scene.distrusted) == ([rows], [])
    scene.send("RequestRows", b"x" * 7)
    assert (scene.rows, scene.distrusted) == ([rows], ["what no sound worker sends"])


def test_rows_of_latencies_come_unchanged_and_broken_ones_are_distrusted(scene: Scene) -> None:
    histogram = Histogram()
    histogram.add(0.0002)
    times = [histogram.times(7, 0)]
    for packed in pack_times(times):
        scene.send("LatencyRows", packed)
    assert (scene.times, scene.distrusted) == ([times], [])
    scene.send("LatencyRows", b"x" * 7)
    assert (scene.times, scene.distrusted) == ([times], ["what no sound worker sends"])


def test_the_process_that_passed_on_a_password_gets_the_outcome(scene: Scene) -> None:
    scene.send("SetPassword", "pässword".encode(), tag=7)
    ((tag, text, answer),) = scene.passwords
    answer(Outcome.STORED)
    assert (tag, text) == (7, "pässword")
    assert scene.sent == [{"message": "PasswordDone", "tag": 7, "outcome": "stored"}]
    assert scene.distrusted == []


def test_a_process_that_is_gone_gets_no_outcome(scene: Scene) -> None:
    scene.send("SetPassword", b"x", tag=7)
    scene.reactor.channel.connectionLost()
    scene.passwords[0][2](Outcome.STORED)
    assert scene.sent == []


@pytest.mark.parametrize("posted", [b"", b"x" * (MAX_PASSWORD + 1), b"\xff", b"x" * 1_000_000])
def test_a_password_that_no_sound_worker_sends_is_distrusted(scene: Scene, posted: bytes) -> None:
    scene.send("SetPassword", posted, tag=7)
    assert (scene.passwords, scene.distrusted) == ([], ["what no sound worker sends"])


def test_a_message_of_the_supervisor_is_distrusted(scene: Scene) -> None:
    scene.send("PasswordDone", tag=7, outcome="stored")
    assert scene.distrusted == ["what only the supervisor sends"]


# -- how much the process may send --


def test_a_process_that_sends_too_much_is_distrusted_once_and_ignored_from_then_on(scene: Scene) -> None:
    size = 100_000
    enough = INPUT_BURST // (size + FRAME_COST)
    for _ in range(enough):
        scene.send_counts_of_size(size)
    assert (len(scene.counts), scene.distrusted) == (enough, [])
    for _ in range(10):
        scene.send_counts_of_size(size)
    assert (len(scene.counts), scene.distrusted) == (enough, ["more than any sound worker sends"])


def test_small_frames_count_by_their_number(scene: Scene) -> None:
    for _ in range(INPUT_BURST // FRAME_COST):
        scene.send_counts_of_size(36)
    assert len(scene.distrusted) == 1


def test_what_a_busy_worker_sends_for_ever_is_taken(scene: Scene) -> None:
    for _ in range(1000):
        scene.send_counts_of_size(INPUT_RATE // 2)
        scene.reactor.advance(1)
    assert (len(scene.counts), scene.distrusted) == (1000, [])


# -- whether it answers --


def pings(scene: Scene) -> list[int]:
    """Return the numbers of the pings that were sent."""
    return [message["number"] for message in scene.sent if message["message"] == "Ping"]


def beat(scene: Scene, times: int = 1) -> None:
    for _ in range(times):
        scene.link.beat()


def test_a_process_that_answers_is_asked_again_and_again(scene: Scene) -> None:
    for number in range(1, 10):
        beat(scene)
        assert pings(scene) == [*range(1, number + 1)]
        scene.send("Pong", number=number)
    assert scene.silences == []


def test_a_process_that_answers_no_more_has_two_seconds(scene: Scene) -> None:
    beat(scene)
    scene.send("Pong", number=1)
    beat(scene)
    beat(scene, HANG_BEATS - 1)
    assert scene.silences == []
    beat(scene)
    assert scene.silences == [HANG_BEATS * BEAT] == [2.0]
    assert pings(scene) == [1, 2]  # one at a time, whatever waits for the process
    beat(scene, 10)
    assert len(scene.silences) == 1


def test_a_late_answer_is_an_answer(scene: Scene) -> None:
    beat(scene)
    scene.send("Pong", number=1)
    for number in range(2, 10):
        beat(scene, HANG_BEATS)
        scene.send("Pong", number=number)
    assert scene.silences == []


def test_only_the_answer_to_the_last_ping_counts(scene: Scene) -> None:
    beat(scene)
    scene.send("Pong", number=1)
    beat(scene)
    for _ in range(HANG_BEATS):
        scene.send("Pong", number=1)
        scene.send("Pong", number=3)
        beat(scene)
    assert scene.silences == [2.0]


def test_a_process_that_starts_has_longer(scene: Scene) -> None:
    beat(scene, START_BEATS)
    assert scene.silences == []
    beat(scene)
    assert scene.silences == [START_BEATS * BEAT]


def test_a_process_that_is_being_killed_is_asked_no_more(scene: Scene) -> None:
    scene.link.ignore()
    beat(scene, 2 * START_BEATS)
    assert (pings(scene), scene.silences) == ([], [])
