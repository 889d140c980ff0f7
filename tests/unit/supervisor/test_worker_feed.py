"""In which order, how often and how much at a time a worker is sent what has changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from attrs import field, frozen

from eve_meta.runtime.sealed import descriptor_pair
from eve_meta.supervisor.worker_contents import WorkerContents
from eve_meta.supervisor.worker_entry import WorkerEntry
from eve_meta.supervisor.worker_feed import NO_ROOM_REST, STARVED_REST, MakeEntry, WorkerFeed
from eve_meta.values.content import SMALL, Content, content_of
from eve_meta.wire.channel import Channel
from eve_meta.wire.messages import (
    Begin,
    CountsRequest,
    DropContents,
    PutContents,
    PutSealedContent,
    PutTap,
    RemoveTap,
    ToWorker,
)
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
        self.sender, self.receiver = descriptor_pair()
        self.feed = WorkerFeed(self.clock, cast(Channel, self.wire), WorkerContents(self.wire.send, self.sender))

    @property
    def sent(self) -> list[ToWorker]:
        return [message for message, _ in self.wire.sent]


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    with scene.sender, scene.receiver:
        yield scene


def put(tag: int, text: str = "a") -> PutTap:
    return PutTap(tag=tag, tap=text, since=0.0)


def entry(tag: int, text: str = "a", *contents: Content) -> MakeEntry:
    return lambda: WorkerEntry(put(tag, text), contents, lambda _: text.encode())


def small(number: int) -> Content:
    return content_of(b"%d" % number)


def large(number: int) -> Content:
    return content_of(b"%d" % number + bytes(SMALL))


def test_a_single_entry_is_sent_at_once_with_its_payload_and_leaves_no_timer(scene: Scene) -> None:
    scene.feed.put(1, entry(1))
    assert scene.wire.sent == [(put(1), b"a")]
    scene.clock.turns()
    assert scene.wire.sent == [(put(1), b"a")]
    assert scene.clock.getDelayedCalls() == []


def test_of_many_entries_one_is_sent_in_a_turn(scene: Scene) -> None:
    for tag in range(1, 5):
        scene.feed.put(tag, entry(tag))
    for tag in range(1, 5):
        assert scene.sent == [put(number) for number in range(1, tag + 1)]
        scene.clock.turn()


def test_changes_of_one_tag_are_sent_once_as_they_are_by_then(scene: Scene) -> None:
    scene.feed.put(1, entry(1))
    for text in "abc":
        scene.feed.put(2, entry(2, text))
    scene.clock.turns()
    assert scene.sent == [put(1), put(2, "c")]


def test_a_worker_that_does_not_read_is_sent_nothing_until_it_does(scene: Scene) -> None:
    scene.wire.full.append(2)
    for tag in range(1, 5):
        scene.feed.put(tag, entry(tag))
    scene.clock.turns()
    assert scene.sent == [put(1), put(2)]
    scene.feed.put(5, entry(5))
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
        scene.feed.put(tag, entry(tag))
    scene.feed.send_now(message)
    assert scene.sent == [put(1), message]
    scene.feed.resumeProducing()
    scene.clock.turns()
    assert scene.sent == [put(1), message, put(2), put(4)]


def test_begin_and_counts_requests_are_sent_after_what_was_pending(scene: Scene) -> None:
    scene.feed.put(1, entry(1))
    scene.feed.put(2, entry(2))
    scene.feed.send_after_pending(Begin())
    scene.feed.send_after_pending(CountsRequest(number=1))
    scene.feed.put(3, entry(3))
    scene.clock.turns()
    assert scene.sent == [put(1), put(2), Begin(), CountsRequest(number=1), put(3)]


def test_the_end_of_the_connection_drops_what_is_pending(scene: Scene) -> None:
    for tag in range(1, 5):
        scene.feed.put(tag, entry(tag))
    scene.feed.stopProducing()
    scene.clock.turns()
    assert scene.sent == [put(1)]


# -- contents --


def test_contents_are_sent_before_the_entry_that_names_them_and_by_its_numbers(scene: Scene) -> None:
    contents = (small(1), small(2))

    def write(number_of: Any) -> bytes:
        return b"%d %d" % tuple(map(number_of, contents))

    scene.feed.put(1, lambda: WorkerEntry(put(1), contents, write))
    assert scene.wire.sent == [(PutContents(numbers=(1, 2), sizes=(1, 1)), b"12"), (put(1), b"1 2")]


def test_a_large_content_is_not_sent_over_the_channel(scene: Scene) -> None:
    content = large(1)
    scene.feed.put(1, entry(1, "a", content))
    assert scene.wire.sent == [
        (PutSealedContent(number=1, size=len(content), digest=content.digest), b""),
        (put(1), b"a"),
    ]
    assert not isinstance(content.storage, bytes)


def test_an_entry_with_much_takes_several_turns_and_is_made_when_it_is_sent(scene: Scene) -> None:
    text = "a"
    scene.feed.put(1, lambda: WorkerEntry(put(1, text), (large(1), large(2)), lambda _: b""))
    assert len(scene.sent) == 1
    text = "b"
    scene.clock.turns()
    assert [type(message) for message in scene.sent] == [PutSealedContent, PutSealedContent, PutTap]
    assert scene.sent[-1] == put(1, "b")


def test_what_two_domains_have_in_common_is_sent_once_and_dropped_with_the_second(scene: Scene) -> None:
    for tag in (1, 2):
        scene.feed.put(tag, entry(tag, "a", small(1)))
    scene.clock.turns()
    assert scene.sent == [PutContents(numbers=(1,), sizes=(1,)), put(1), put(2)]
    scene.feed.send_now(RemoveTap(tag=1))
    scene.feed.put(2, entry(2, "a", small(2)))
    scene.clock.turns()
    assert scene.sent[3:] == [
        RemoveTap(tag=1),
        PutContents(numbers=(2,), sizes=(1,)),
        put(2),
        DropContents(numbers=(1,)),
    ]


def test_contents_that_were_sent_for_a_domain_that_is_lost_meanwhile_are_dropped(scene: Scene) -> None:
    scene.feed.put(1, entry(1, "a", large(1), large(2)))
    scene.feed.send_now(put(1))
    scene.clock.turns()
    assert scene.sent[1:] == [put(1), DropContents(numbers=(1,))]


def test_a_worker_that_takes_no_descriptors_is_sent_more_when_it_does(scene: Scene) -> None:
    count = 1000
    for tag in range(1, count):
        scene.feed.put(tag, entry(tag, "a", large(1), large(tag)))
    scene.clock.turns()
    sent = len(scene.sent)
    assert sent < count
    assert 0 < scene.clock.getDelayedCalls()[0].getTime() - scene.clock.seconds() <= NO_ROOM_REST
    scene.receiver.recv(100)
    scene.clock.advance(NO_ROOM_REST)
    assert len(scene.sent) > sent


def test_a_domain_whose_contents_the_kernel_has_no_room_for_waits_for_all_others(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(data: bytes) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr("eve_meta.runtime.sealed.seal", fail)
        scene.feed.put(1, entry(1, "a", content_of(b"never sealed" + bytes(SMALL))))
        scene.feed.put(2, entry(2))
        scene.clock.turns()
        assert scene.sent == [put(2)]
    scene.clock.advance(STARVED_REST)
    scene.clock.turns()
    assert scene.sent[-1] == put(1)
