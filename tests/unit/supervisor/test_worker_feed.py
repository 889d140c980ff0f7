"""What a worker is still to be told: in which order, how often, and how much at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from attrs import field, frozen

from eve_meta.supervisor.worker_feed import Content, WorkerFeed
from eve_meta.wire.channel import Channel
from eve_meta.wire.messages import Begin, CountsRequest, PutTap, RemoveTap, ToWorker


@frozen
class Wire:
    """Both channel and transport: what was sent, and the feed as its producer. *full* after so many messages."""

    sent: list[tuple[ToWorker, bytes]] = field(factory=list)
    producers: list[WorkerFeed] = field(factory=list)
    full: list[int] = field(factory=list)

    @property
    def transport(self) -> Any:
        return self

    def registerProducer(self, producer: WorkerFeed, streaming: bool) -> None:
        assert streaming
        self.producers.append(producer)

    def send(self, message: ToWorker, payload: bytes = b"") -> None:
        self.sent.append((message, payload))
        if len(self.sent) in self.full:
            self.producers[0].pauseProducing()


class Scene:
    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []
        self.wire = Wire()
        self.feed = WorkerFeed(cast(Any, self), cast(Channel, self.wire))

    def turn(self) -> None:
        """One turn of the reactor, which leaves what is called for in it to the next."""
        calls, self.calls = self.calls, []
        for call in calls:
            call()

    def turns(self) -> None:
        while self.calls:
            self.turn()

    def callLater(self, delay: float, call: Callable[[], None]) -> Any:
        assert delay == 0
        self.calls.append(call)
        return call

    @property
    def sent(self) -> list[ToWorker]:
        return [message for message, _ in self.wire.sent]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def put(tag: int, text: str = "a") -> PutTap:
    return PutTap(tag=tag, tap=text, since=0.0)


def content(tag: int, text: str = "a") -> Content:
    return lambda: (put(tag, text), text.encode())


def test_one_alone_goes_at_once_with_its_payload_and_no_timer_stays(scene: Scene) -> None:
    scene.feed.put(1, content(1))
    assert scene.wire.sent == [(put(1), b"a")]
    scene.turns()
    assert scene.wire.sent == [(put(1), b"a")]


def test_of_many_one_goes_in_a_turn(scene: Scene) -> None:
    for tag in range(1, 5):
        scene.feed.put(tag, content(tag))
    for tag in range(1, 5):
        assert scene.sent == [put(number) for number in range(1, tag + 1)]
        scene.turn()


def test_changes_of_one_tag_are_told_once_and_as_they_are_when_told(scene: Scene) -> None:
    scene.feed.put(1, content(1))
    for text in "abc":
        scene.feed.put(2, content(2, text))
    scene.turns()
    assert scene.sent == [put(1), put(2, "c")]


def test_a_worker_that_does_not_read_is_told_no_more_until_it_does(scene: Scene) -> None:
    scene.wire.full.append(2)
    for tag in range(1, 5):
        scene.feed.put(tag, content(tag))
    scene.turns()
    assert scene.sent == [put(1), put(2)]
    scene.feed.put(5, content(5))
    scene.turns()
    assert scene.sent == [put(1), put(2)]
    scene.feed.resumeProducing()
    scene.turns()
    assert scene.sent == [put(tag) for tag in range(1, 6)]


@pytest.mark.parametrize("message", [RemoveTap(tag=3), PutTap(tag=3, tap="c", since=0.0)], ids=["gone", "unknown"])
def test_what_takes_a_domain_away_goes_first_and_what_was_to_come_never(
    scene: Scene, message: RemoveTap | PutTap
) -> None:
    scene.wire.full.append(1)
    for tag in range(1, 5):
        scene.feed.put(tag, content(tag))
    scene.feed.at_once(message)
    assert scene.sent == [put(1), message]
    scene.feed.resumeProducing()
    scene.turns()
    assert scene.sent == [put(1), message, put(2), put(4)]


def test_it_begins_and_reports_when_it_was_told_what_came_before(scene: Scene) -> None:
    scene.feed.put(1, content(1))
    scene.feed.put(2, content(2))
    scene.feed.afterwards(Begin())
    scene.feed.afterwards(CountsRequest(number=1))
    scene.feed.put(3, content(3))
    scene.turns()
    assert scene.sent == [put(1), put(2), Begin(), CountsRequest(number=1), put(3)]


def test_the_end_of_the_connection_ends_it(scene: Scene) -> None:
    for tag in range(1, 5):
        scene.feed.put(tag, content(tag))
    scene.feed.stopProducing()
    scene.turns()
    assert scene.sent == [put(1)]
