"""No tag is given to another tap while anything could still hold it."""

from __future__ import annotations

import pytest

from eve_meta.steering.taps.tags import QUARANTINE, TagAllocator
from eve_meta.values.problem import Problem
from eve_meta.values.tag import MAX_PLACE, MAX_TAG, MIN_TAG, PLACE_SHIFT, STEERED, mark_of_tag, tag_of_mark


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_tags_count_up_and_are_not_reused_at_once() -> None:
    tags = TagAllocator(Clock())
    first = tags.take()
    tags.release(first)
    assert [first, tags.take(), tags.take()] == [1, 2, 3]


def test_a_released_tag_stays_in_quarantine_even_when_counting_begins_again() -> None:
    clock = Clock()
    tags = TagAllocator(clock, following=MAX_TAG)
    last = tags.take()
    assert last == MAX_TAG
    tags.release(last)
    tags.following = MAX_TAG
    assert tags.take() == MIN_TAG
    tags.following = MAX_TAG
    clock.now += QUARANTINE - 1
    assert tags.take() == MIN_TAG + 1
    tags.following = MAX_TAG
    clock.now += 1
    assert tags.take() == MAX_TAG


def test_tags_in_use_are_skipped_when_counting_begins_again() -> None:
    tags = TagAllocator(Clock(), following=MAX_TAG)
    tags.adopt(1)
    tags.adopt(2)
    assert [tags.take(), tags.take()] == [MAX_TAG, 3]


def test_it_is_an_error_when_all_tags_are_taken_or_in_quarantine() -> None:
    clock = Clock()
    tags = TagAllocator(clock)
    for _ in range(MIN_TAG, MAX_TAG + 1):
        tags.release(tags.take())
    with pytest.raises(Problem, match="no tag is free"):
        tags.take()
    clock.now += QUARANTINE
    assert tags.take() == MIN_TAG


@pytest.mark.parametrize("following", [0, -1, MAX_TAG + 1])
def test_a_beginning_that_is_no_tag_is_ignored(following: int) -> None:
    assert TagAllocator(Clock(), following=following).take() == MIN_TAG


@pytest.mark.parametrize("mark", [0, 1, MAX_TAG, STEERED, STEERED << 1, (STEERED << 1) | 5])
def test_a_mark_that_steering_did_not_set_has_no_tag(mark: int) -> None:
    assert tag_of_mark(mark) is None


def test_every_tag_survives_in_the_mark() -> None:
    assert all(tag_of_mark(mark_of_tag(tag)) == tag for tag in (1, 2, 255, 256, 4711, MAX_TAG))
    for wrong in (0, -1, MAX_TAG + 1):
        with pytest.raises(ValueError, match="expected a tag"):
            mark_of_tag(wrong)


@pytest.mark.parametrize("place", [0, 1, MAX_PLACE])
def test_the_place_of_a_worker_in_a_mark_does_not_change_its_tag(place: int) -> None:
    assert tag_of_mark(place << PLACE_SHIFT | mark_of_tag(4711)) == 4711
    assert tag_of_mark(place << PLACE_SHIFT | 4711) is None
