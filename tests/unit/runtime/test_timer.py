"""When a timer makes its call."""

from __future__ import annotations

import pytest
from attrs import field, frozen

from eve_meta.runtime.timer import Timer
from tests.unit.turns import TurnClock


@frozen
class Scene:
    clock: TurnClock = field(factory=TurnClock)
    calls: list[float] = field(factory=list)

    def timer(self) -> Timer:
        return Timer(self.clock, lambda: self.calls.append(self.clock.seconds()))


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_many_starts_make_one_call(scene: Scene) -> None:
    timer = scene.timer()
    for _ in range(3):
        timer.start(2.0)
    assert timer.is_pending
    scene.clock.pump([1.0] * 5)
    assert scene.calls == [2.0]
    assert not timer.is_pending
    assert scene.clock.getDelayedCalls() == []


def test_the_earlier_of_two_starts_holds(scene: Scene) -> None:
    timer = scene.timer()
    timer.start(3.0)
    timer.start_at(1.0)
    timer.start(2.0)
    scene.clock.pump([1.0] * 5)
    assert scene.calls == [1.0]


def test_a_start_without_a_delay_or_in_the_past_is_for_a_later_turn(scene: Scene) -> None:
    timer = scene.timer()
    timer.start()
    assert scene.calls == []
    scene.clock.turn()
    scene.clock.advance(5)
    timer.start_at(1.0)
    assert scene.calls == [0.0]
    scene.clock.turn()
    assert scene.calls == [0.0, 5.0]


def test_the_call_can_start_the_timer_again(scene: Scene) -> None:
    def again() -> None:
        scene.calls.append(scene.clock.seconds())
        timer.start(1.0)

    timer = Timer(scene.clock, again)
    timer.start(1.0)
    scene.clock.pump([1.0] * 3)
    assert scene.calls == [1.0, 2.0, 3.0]


def test_a_timer_that_is_cancelled_makes_no_call(scene: Scene) -> None:
    timer = scene.timer()
    timer.cancel()
    timer.start(1.0)
    timer.cancel()
    scene.clock.advance(2.0)
    assert (scene.calls, timer.is_pending) == ([], False)
    timer.start(1.0)
    scene.clock.advance(1.0)
    assert scene.calls == [3.0]
