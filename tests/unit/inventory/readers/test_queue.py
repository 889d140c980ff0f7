"""The documents for the reader: their order, their time, and the fate of those that are not read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from eve_meta.inventory.readers.queue import (
    FIRST_WAIT,
    IMPATIENT_TIME,
    IN_FLIGHT,
    IN_FLIGHT_BYTES,
    MAX_WAIT,
    Nonsense,
    ReadingQueue,
)
from eve_meta.inventory.readers.reading import Reading, Unread
from eve_meta.wire.reading import DOCUMENT_TIME, Frames, Parts, max_head, max_parts


def reading(name: str = "a", content: bytes = b"x") -> Reading[Any]:
    return Reading(name, {"kind": "domain"}, content, lambda plain, _: plain["value"])


def sent(queue: ReadingQueue, now: float = 0.0) -> list[bytes]:
    frames = Frames(lambda head, parts: True)
    return [content for frame in queue.to_send(now) for _, content in frames.feed(frame)]


def answer(queue: ReadingQueue, value: object, now: float = 0.0) -> None:
    queue.answered(json.dumps({"value": value}).encode(), b"", now)


def test_answers_belong_to_the_documents_in_their_order() -> None:
    queue = ReadingQueue()
    one, two = reading("a", b"1"), reading("b", b"2")
    queue.add(one, 0)
    queue.add(two, 0)
    assert sent(queue) == [b"1", b"2"]
    answer(queue, 1)
    assert (one.result, two.result) == (1, None)
    answer(queue, 2)
    assert two.result == 2
    assert queue.is_idle


def test_few_documents_are_under_way_at_once() -> None:
    queue = ReadingQueue()
    for number in range(100):
        queue.add(reading(str(number)), 0)
    assert len(sent(queue)) == IN_FLIGHT
    answer(queue, 1)
    assert len(sent(queue)) == 1
    queue = ReadingQueue()
    for number in range(3):
        queue.add(reading(str(number), bytes(IN_FLIGHT_BYTES)), 0)
    assert len(sent(queue)) == 1


def test_a_document_has_its_time_from_the_answer_before_it() -> None:
    queue = ReadingQueue()
    assert queue.overdue_at() is None
    queue.add(reading("a"), 0)
    queue.add(reading("b"), 0)
    sent(queue, 10)
    assert queue.overdue_at() == 10 + DOCUMENT_TIME
    answer(queue, 1, 11)
    assert queue.overdue_at() == 11 + DOCUMENT_TIME
    answer(queue, 1, 12)
    assert queue.overdue_at() is None


def test_a_document_that_takes_too_long_is_unread_and_those_behind_it_are_sent_again() -> None:
    queue = ReadingQueue()
    monster, other = reading("a", b"1"), reading("b", b"2")
    queue.add(monster, 0)
    queue.add(other, 0)
    sent(queue)
    queue.failed("it takes too long", 2)
    assert monster.result == Unread("it takes too long", 2 + FIRST_WAIT)
    assert other.result is None
    assert sent(queue, 3) == [b"2"]


def test_after_a_document_that_took_too_long_others_have_less_time() -> None:
    queue = ReadingQueue()
    for name in "abc":
        queue.add(reading(name), 0)
    sent(queue)
    queue.failed("it takes too long", 2)
    sent(queue, 3)
    assert queue.overdue_at() == 3 + IMPATIENT_TIME
    answer(queue, 1, 2 + FIRST_WAIT)
    assert queue.overdue_at() == 2 + FIRST_WAIT + DOCUMENT_TIME


def test_the_name_of_a_document_that_took_too_long_waits_longer_each_time() -> None:
    queue = ReadingQueue()
    now, waits = 0.0, []
    for _ in range(9):
        again = reading()
        queue.add(again, now)
        sent(queue, now)
        queue.failed("it takes too long", now)
        assert isinstance(again.result, Unread)
        early = reading()
        queue.add(early, again.result.retry_at - 0.1)
        assert early.result == again.result  # at once, and without the reader
        assert sent(queue, now) == []
        waits.append(again.result.retry_at - now)
        now = again.result.retry_at
    assert waits == [10, 20, 40, 80, 160, 320, 640, MAX_WAIT, MAX_WAIT]
    good = reading()
    queue.add(good, now)
    sent(queue, now)
    answer(queue, 1, now)
    bad = reading()
    queue.add(bad, now)
    sent(queue, now)
    queue.failed("it takes too long", now)
    assert bad.result == Unread("it takes too long", now + FIRST_WAIT)


def test_a_reader_that_dies_once_costs_no_document() -> None:
    queue = ReadingQueue()
    one, two = reading("a", b"1"), reading("b", b"2")
    queue.add(one, 0)
    queue.add(two, 0)
    sent(queue)
    queue.died("killed", 1)
    assert sent(queue, 1) == [b"1", b"2"]
    queue.died("killed", 2)
    assert one.result == Unread("killed", 2 + FIRST_WAIT)
    assert two.result is None
    assert sent(queue, 2) == [b"2"]


def test_without_a_reader_all_documents_are_unread() -> None:
    queue = ReadingQueue()
    one, two = reading("a"), reading("b")
    queue.add(one, 0)
    sent(queue)
    queue.add(two, 0)
    queue.give_up("it does not start", 5)
    assert one.result == two.result == Unread("it does not start", 5)
    assert queue.is_idle


@pytest.mark.parametrize("head", [b"", b"[]", b"{", b"5", b"{}", b"\xff", b"[" * 100_000, b"9" * 100_000, b'{"value"}'])
def test_what_no_honest_reader_answers(head: bytes) -> None:
    queue = ReadingQueue()
    one = reading()
    queue.add(one, 0)
    sent(queue)
    with pytest.raises(Nonsense):
        queue.answered(head, b"", 0)
    assert one.result is None


def test_an_answer_to_nothing() -> None:
    queue = ReadingQueue()
    assert not queue.may_be(0, 0)
    with pytest.raises(Nonsense):
        answer(queue, 1)


def test_an_answer_is_no_larger_than_its_document_allows() -> None:
    queue = ReadingQueue()
    queue.add(reading("a", bytes(1000)), 0)
    sent(queue)
    assert queue.may_be(max_head(1000), max_parts(1000))
    assert not queue.may_be(max_head(1000) + 1, 0)
    assert not queue.may_be(0, max_parts(1000) + 1)


def test_frames_come_in_any_pieces() -> None:
    whole = b"".join(ReadingFrames.make(number) for number in range(5))
    for size in (1, 2, 7, 1000):
        frames = Frames(lambda head, parts: True)
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        assert [head for piece in pieces for head, _ in frames.feed(piece)] == [b"{}"] * 5


class ReadingFrames:
    @staticmethod
    def make(number: int) -> bytes:
        return b"\0\0\0\2" + number.to_bytes(4, "big") + b"{}" + b"x" * number


@pytest.mark.parametrize("sizes", [[], [1], [4], [5, -2], [1, 1]])
def test_parts_of_other_sizes(sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="sizes"):
        Parts(b"abc", sizes)


def test_parts_are_taken_once_and_in_their_order() -> None:
    parts = Parts(b"abc", [1, 2])
    with pytest.raises(ValueError, match="order"):
        parts.take(1)
    assert (parts.take(0), parts.take(1)) == (b"a", b"bc")
    for index in (1, 2, -1):
        with pytest.raises(ValueError, match="order"):
            parts.take(index)
