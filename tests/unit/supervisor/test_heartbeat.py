"""The supervisor's confirmations of the workers' tables, and the conditions under which it makes none."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from eve_meta.supervisor.heartbeat import BEAT, CATCH_UP_DELAY, Heartbeat
from eve_meta.wire.messages import LEASE_TIME


class Scene:
    """A heartbeat for one worker; the scene is that worker, and what the supervisor knows.

    :ivar behind: whether more was reported than the supervisor can act on at once.
    :ivar age: the seconds since the last moment of which the table is true.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.behind = False
        self.age = 0.0
        self.beats = 0
        self.confirmed: list[float] = []
        self.returns = 0
        self.heartbeat = Heartbeat(self.clock, [self], self._true_at, self._return)
        self.heartbeat.start()
        self.clock.advance(0)

    def _true_at(self) -> float | None:
        return None if self.behind else self.clock.seconds() - self.age

    def _return(self) -> None:
        assert self.confirmed == [1000]
        self.returns += 1

    def beat(self) -> None:
        self.beats += 1

    def confirm_table(self, at: float) -> None:
        self.confirmed.append(at)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_beat_asks_and_confirms_four_times_a_second(scene: Scene) -> None:
    for _ in range(4):
        scene.clock.advance(BEAT)
    assert (scene.beats, scene.confirmed) == (5, [1000, 1000.25, 1000.5, 1000.75, 1001])


def test_a_supervisor_that_is_behind_confirms_nothing_until_it_has_caught_up(scene: Scene) -> None:
    scene.behind = True
    scene.clock.advance(BEAT)
    for _ in range(10):
        scene.clock.advance(CATCH_UP_DELAY)
    assert scene.confirmed == [1000]
    scene.behind = False
    scene.clock.advance(CATCH_UP_DELAY)
    assert scene.confirmed == [1000, scene.clock.seconds()]
    assert scene.beats == 2  # workers are not asked more often because of that


def test_a_supervisor_that_stays_behind_asks_workers_all_the_same(scene: Scene) -> None:
    scene.behind = True
    for _ in range(80):
        scene.clock.advance(0.0625)
    assert scene.beats == 21
    assert scene.confirmed == [1000]


def test_a_confirmation_is_as_old_as_what_was_not_looked_at(scene: Scene) -> None:
    scene.age = 0.2
    scene.clock.advance(BEAT)
    assert scene.confirmed == [1000, 1000.05]


def test_while_the_confirmations_lag_they_come_as_fast_as_the_supervisor_catches_up(scene: Scene) -> None:
    scene.age = BEAT + 0.1
    scene.clock.advance(BEAT)
    scene.age = 0
    scene.clock.advance(CATCH_UP_DELAY)
    assert scene.confirmed == [1000, 999.9, 1000 + BEAT + CATCH_UP_DELAY]


def test_a_confirmation_that_would_be_over_is_not_sent(scene: Scene) -> None:
    scene.age = LEASE_TIME
    scene.clock.advance(BEAT)
    assert scene.confirmed == [1000]


def test_guests_that_got_503_are_one_lapse_and_one_line(scene: Scene) -> None:
    with capturedLogs() as logged:
        scene.clock.rightNow += 10  # the supervisor is stopped
        scene.clock.advance(0)
        scene.clock.advance(BEAT)
        assert (scene.heartbeat.lapses, scene.returns) == (1, 1)
    (line,) = logged
    assert line["late"] == pytest.approx(10)


def test_a_supervisor_that_goes_on_in_time_was_not_away(scene: Scene) -> None:
    scene.clock.advance(LEASE_TIME - 0.1)
    assert (scene.heartbeat.lapses, scene.returns) == (0, 0)
    assert scene.confirmed == [1000, 1000 + LEASE_TIME - 0.1]


def test_after_its_end_it_sends_nothing(scene: Scene) -> None:
    scene.behind = True
    scene.clock.advance(BEAT)
    scene.heartbeat.stop()
    assert scene.clock.getDelayedCalls() == []
