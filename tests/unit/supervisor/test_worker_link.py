"""What goes between the supervisor and a worker's process, and what is not believed of it."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from eve_meta.supervisor.worker_link import FRAME_COST, REPORT_TIMEOUT, SAY_BURST, SAY_RATE, Hearers, WorkerLink
from eve_meta.values.request_kind import RequestKind
from eve_meta.wire.channel import Channel
from eve_meta.wire.latency import Histogram, Times, pack_times
from eve_meta.wire.messages import Counts, PutTap
from eve_meta.wire.password import MAX_PASSWORD, Outcome
from eve_meta.wire.requests import Row, pack


class Reactor(Clock):
    """Gives what is adopted a transport that keeps what is written."""

    channel: Channel

    def __init__(self) -> None:
        super().__init__()
        self.transport = StringTransport()

    def adoptStreamConnection(self, _fd: int, _family: int, factory: Any) -> None:
        self.channel = factory.buildProtocol(None)
        self.channel.makeConnection(self.transport)


class Scene:
    """A link, and what came of what the process said."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.counted: list[Counts] = []
        self.asked: list[list[Row]] = []
        self.timed: list[list[Times]] = []
        self.posted: list[tuple[int, str, Any]] = []
        self.distrusted: list[str] = []
        self.drained = 0
        self.closed = 0
        self.link = WorkerLink(
            cast(Any, self.reactor),
            0,
            Hearers(
                counted=self.counted.append,
                asked=self.asked.append,
                timed=self.timed.append,
                reported=lambda _: None,
                posted=lambda *posted: self.posted.append(posted),
            ),
            drained=self._drained,
            distrusted=self.distrusted.append,
            closed=self._closed,
        )

    def _drained(self) -> None:
        self.drained += 1

    def _closed(self) -> None:
        self.closed += 1

    def says(self, message: str, payload: bytes = b"", **fields: Any) -> None:
        self.reactor.channel.stringReceived(json.dumps({"message": message, **fields}).encode() + b"\n" + payload)

    def says_much(self, size: int) -> None:
        """Counts in a frame of *size* bytes."""
        frame = b'{"message": "Counts", "counts": {}}\n'
        self.reactor.channel.stringReceived(frame + b"x" * (size - len(frame)))

    @property
    def sent(self) -> list[dict[str, Any]]:
        """What the process was told by now, without payloads."""
        frames, rest = [], cast(bytes, self.reactor.transport.value())
        while rest:
            size = int.from_bytes(rest[:4], "big")
            frames.append(json.loads(rest[4 : 4 + size].partition(b"\n")[0]))
            rest = rest[4 + size :]
        return frames


@pytest.fixture
def scene() -> Scene:
    return Scene()


# -- what it is told --


def test_it_has_begun_when_it_answers_what_it_was_told_afterwards(scene: Scene) -> None:
    scene.link.feed.put(1, lambda: (PutTap(tag=1, tap="a", since=0.0), b""))
    begun: list[None] = []
    scene.link.begin().addCallback(begun.append)
    for _ in range(3):
        scene.reactor.advance(0)
    assert [message["message"] for message in scene.sent] == ["PutTap", "Begin", "CountsRequest"]
    assert begun == []
    scene.says("Counts", counts={}, number=1)
    assert begun == [None]


def test_whoever_waits_for_its_counts_waits_no_longer_than_that(scene: Scene) -> None:
    done: list[str] = []
    scene.link.report().addCallback(lambda _: done.append("first"))
    scene.link.report().addCallback(lambda _: done.append("second"))
    scene.says("Counts", counts={}, number=2)
    assert done == ["second"]
    scene.reactor.advance(REPORT_TIMEOUT)
    assert done == ["second", "first"]
    assert scene.reactor.getDelayedCalls() == []


def test_nobody_waits_for_one_that_is_gone(scene: Scene) -> None:
    done: list[None] = []
    scene.link.begin().addCallback(done.append)
    scene.link.report().addCallback(done.append)
    scene.reactor.channel.connectionLost()
    assert (len(done), scene.closed) == (2, 1)


def test_it_says_when_its_guests_are_done(scene: Scene) -> None:
    scene.link.drain()
    assert scene.sent == [{"message": "Drain"}]
    assert scene.drained == 0
    scene.says("Drained")
    assert scene.drained == 1


# -- what it says --


def test_what_guests_asked_for_comes_as_it_was_told_and_no_row_but_a_sound_one(scene: Scene) -> None:
    rows = [Row(7, RequestKind.TOKEN, 200, 3, 1.5, 2.5), Row(0, RequestKind.UNREAD, 403, 1, 0.0, 0.0)]
    for packed in pack(rows):
        scene.says("Asked", packed)
    assert (scene.asked, scene.distrusted) == ([rows], [])
    scene.says("Asked", b"x" * 7)
    assert (scene.asked, scene.distrusted) == ([rows], ["no sound worker says"])


def test_how_long_answers_took_comes_as_it_was_told_and_no_row_but_a_sound_one(scene: Scene) -> None:
    histogram = Histogram()
    histogram.add(0.0002)
    times = [histogram.told(7, 0)]
    for packed in pack_times(times):
        scene.says("Timed", packed)
    assert (scene.timed, scene.distrusted) == ([times], [])
    scene.says("Timed", b"x" * 7)
    assert (scene.timed, scene.distrusted) == ([times], ["no sound worker says"])


def test_what_became_of_a_password_is_told_to_who_asked(scene: Scene) -> None:
    scene.says("SetPassword", "pässword".encode(), tag=7)
    ((tag, text, answer),) = scene.posted
    answer(Outcome.STORED)
    assert (tag, text) == (7, "pässword")
    assert scene.sent == [{"message": "PasswordDone", "tag": 7, "outcome": "stored"}]
    assert scene.distrusted == []


def test_one_that_is_gone_is_told_nothing(scene: Scene) -> None:
    scene.says("SetPassword", b"x", tag=7)
    scene.reactor.channel.connectionLost()
    scene.posted[0][2](Outcome.STORED)
    assert scene.sent == []


@pytest.mark.parametrize("posted", [b"", b"x" * (MAX_PASSWORD + 1), b"\xff", b"x" * 1_000_000])
def test_a_worker_that_says_what_no_sound_worker_says_is_distrusted(scene: Scene, posted: bytes) -> None:
    scene.says("SetPassword", posted, tag=7)
    assert (scene.posted, scene.distrusted) == ([], ["no sound worker says"])


def test_a_worker_that_speaks_like_the_supervisor_is_distrusted(scene: Scene) -> None:
    scene.says("PasswordDone", tag=7, outcome="stored")
    assert scene.distrusted == ["only the supervisor says"]


# -- how much it may say --


def test_one_that_says_too_much_is_distrusted_once_and_no_more_of_it_heard(scene: Scene) -> None:
    size = 100_000
    enough = SAY_BURST // (size + FRAME_COST)
    for _ in range(enough):
        scene.says_much(size)
    assert (len(scene.counted), scene.distrusted) == (enough, [])
    for _ in range(10):
        scene.says_much(size)
    assert (len(scene.counted), scene.distrusted) == (enough, ["is more than any sound worker says"])


def test_small_frames_cost_by_their_number(scene: Scene) -> None:
    for _ in range(SAY_BURST // FRAME_COST):
        scene.says_much(36)
    assert len(scene.distrusted) == 1


def test_what_a_busy_worker_says_for_ever_is_heard(scene: Scene) -> None:
    for _ in range(1000):
        scene.says_much(SAY_RATE // 2)
        scene.reactor.advance(1)
    assert (len(scene.counted), scene.distrusted) == (1000, [])
