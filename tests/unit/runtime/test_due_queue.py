"""Keys that fall due at their times."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from eve_meta.runtime.due_queue import DueQueue


class Scene:
    """A queue, and the keys that have fallen due in it, each with the time."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.fallen: list[tuple[float, list[str]]] = []
        self.queue: DueQueue[str] = DueQueue(self.clock, self._fall_due)
        self.queue.resume()

    def _fall_due(self, keys: Sequence[str]) -> None:
        self.fallen.append((self.clock.seconds(), list(keys)))

    def pass_to(self, time: float) -> None:
        """Let time pass until *time*, each timer at its own time."""
        while self.clock.calls and self.clock.calls[0].getTime() <= time:
            self.clock.advance(max(0.0, self.clock.calls[0].getTime() - self.clock.seconds()))
        self.clock.advance(time - self.clock.seconds())


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_each_key_falls_due_at_its_time_in_whatever_order_they_came(scene: Scene) -> None:
    scene.queue.put("late", 3.0)
    scene.queue.put("early", 1.0)
    scene.queue.put("past", -5.0)
    scene.pass_to(10.0)
    assert scene.fallen == [(0.0, ["past"]), (1.0, ["early"]), (3.0, ["late"])]
    assert scene.clock.calls == []


def test_keys_of_one_time_fall_due_together_in_the_order_in_which_they_came(scene: Scene) -> None:
    for key in ("b", "c", "a"):
        scene.queue.put(key, 2.0)
    scene.pass_to(2.0)
    assert scene.fallen == [(2.0, ["b", "c", "a"])]


def test_a_key_that_is_put_again_falls_due_at_its_last_time_only(scene: Scene) -> None:
    scene.queue.put("a", 1.0)
    scene.queue.put("a", 4.0)
    scene.queue.put("b", 5.0)
    scene.queue.put("b", 2.0)
    scene.pass_to(10.0)
    assert scene.fallen == [(2.0, ["b"]), (4.0, ["a"])]


def test_a_key_that_is_discarded_never_falls_due(scene: Scene) -> None:
    scene.queue.put("a", 1.0)
    scene.queue.put("b", 2.0)
    scene.queue.discard("a")
    scene.queue.discard("unknown")
    scene.pass_to(3.0)
    assert scene.fallen == [(2.0, ["b"])]
    scene.queue.put("c", 4.0)
    scene.queue.clear()
    scene.pass_to(5.0)
    assert scene.fallen == [(2.0, ["b"])]


def test_what_came_due_during_a_pause_falls_due_at_its_end(scene: Scene) -> None:
    scene.queue.put("a", 1.0)
    scene.queue.pause()
    scene.queue.put("b", 2.0)
    scene.pass_to(5.0)
    assert scene.fallen == []
    scene.queue.resume()
    scene.pass_to(5.0)
    assert scene.fallen == [(5.0, ["a", "b"])]


def test_a_key_may_be_put_again_while_it_falls_due() -> None:
    clock = Clock()
    times: list[float] = []

    def again(_keys: Sequence[str]) -> None:
        times.append(clock.seconds())
        if len(times) < 3:
            queue.put("a", clock.seconds() + 1)

    queue: DueQueue[str] = DueQueue(clock, again)
    queue.put("a", 0.0)
    queue.resume()
    clock.pump([1.0] * 5)
    assert len(times) == 3


def test_an_exception_keeps_no_other_key_from_falling_due() -> None:
    clock = Clock()
    fallen: list[str] = []

    def fail(keys: Sequence[str]) -> None:
        fallen.extend(keys)
        raise RuntimeError("a defect")

    queue: DueQueue[str] = DueQueue(clock, fail)
    queue.resume()
    queue.put("a", 1.0)
    queue.put("b", 2.0)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            clock.advance(1.0)
    assert fallen == ["a", "b"]


times = st.integers(0, 10).map(float)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.none() | times), max_size=20))
def test_each_key_falls_due_once_at_the_last_time_it_was_given(steps: list[tuple[str, float | None]]) -> None:
    scene = Scene()
    expected: dict[str, float] = {}
    for key, due in steps:
        if due is None:
            scene.queue.discard(key)
            expected.pop(key, None)
        else:
            scene.queue.put(key, due)
            expected[key] = due
    scene.pass_to(11.0)
    assert sorted((key, time) for time, keys in scene.fallen for key in keys) == sorted(expected.items())
