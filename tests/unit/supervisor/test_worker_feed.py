"""In which order, how often and how much at a time a worker is sent what has changed."""

from __future__ import annotations

from typing import Any, cast

import pytest
from attrs import field, frozen

from eve_meta.supervisor.worker_feed import Content, WorkerFeed
from eve_meta.wire.channel import Channel
from eve_meta.wire.messages import Begin, CountsRequest, PutTap, RemoveTap, ToWorker
from tests.unit.turns import TurnClock


@frozen
class Wire:
    """Channel and transport in one.

    :ivar sent: the messages and their payloads.
    :ivar producers: the feed, as the transport's producer.
    :ivar full: the numbers of messages after which the transport's buffer is full.
    """

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
        self.clock = TurnClock()
        self.wire = Wire()
        self.feed = WorkerFeed(self.clock, cast(Channel, self.wire))

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


def test_a_single_entry_is_sent_at_once_with_its_payload_and_leaves_no_timer(scene: Scene) -> None:
    scene.feed.put(1, content(1))
    assert scene.wire.sent == [(put(1), b"a")]
    scene.clock.turns()
    assert scene.wire.sent == [(put(1), b"a")]
    assert scene.clock.getDelayedCalls() == []


def test_of_many_entries_one_is_sent_in_a_turn(scene: Scene) -> None:
    for tag in range(1, 5):
        scene.feed.put(tag, content(tag))
    for tag in range(1, 5):
        assert scene.sent == [put(number) for number in range(1, tag + 1)]
        scene.clock.turn()


def test_changes_of_one_tag_are_sent_once_as_they_are_by_then(scene: Scene) -> None:
    scene.feed.put(1, content(1))
    for text in "abc":
        scene.feed.put(2, content(2, text))
    scene.clock.turns()
    assert scene.sent == [put(1), put(2, "c")]


def test_a_worker_that_does_not_read_is_sent_nothing_until_it_does(scene: Scene) -> None:
    scene.wire.full.append(2)
    for tag in range(1, 5):
        scene.feed.put(tag, content(tag))
    scene.clock.turns()
    assert scene.sent == [put(1), put(2)]
    scene.feed.put(5, content(5))
    scene.clock.turns()
    assert scene.sent == [put(1), put(2)]
    scene.feed.resumeProducing()
    scene.clock.turns()
    assert scene.sent == [put(tag) for tag in range(1, 6)]


@pytest.mark.parametrize("message", [RemoveTap(tag=3), PutTap(tag=3, tap="c", since=0.0)], ids=["gone", "unknown"])
def test_a_message_that_takes_a_domain_away_is_sent_first_and_replaces_the_pending_entry(
    scene: Scene, message: RemoveTap | PutTap
) -> None:
    scene.wire.full.append(1)
    for tag in range(1, 5):
        scene.feed.put(tag, content(tag))
    scene.feed.send_now(message)
    assert scene.sent == [put(1), message]
    scene.feed.resumeProducing()
    scene.clock.turns()
    assert scene.sent == [put(1), message, put(2), put(4)]


def test_begin_and_counts_requests_are_sent_after_what_was_pending(scene: Scene) -> None:
    scene.feed.put(1, content(1))
    scene.feed.put(2, content(2))
    scene.feed.send_after_pending(Begin())
    scene.feed.send_after_pending(CountsRequest(number=1))
    scene.feed.put(3, content(3))
    scene.clock.turns()
    assert scene.sent == [put(1), put(2), Begin(), CountsRequest(number=1), put(3)]


def test_the_end_of_the_connection_drops_what_is_pending(scene: Scene) -> None:
    for tag in range(1, 5):
        scene.feed.put(tag, content(tag))
    scene.feed.stopProducing()
    scene.clock.turns()
    assert scene.sent == [put(1)]
