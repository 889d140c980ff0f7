"""When the daemon hands over, and what it then leaves on the host."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred

from eve_meta.daemon import handover
from eve_meta.daemon.handover import HandOver


class Scene:
    """A daemon whose reactor, service manager, supervisor and steering only note what is done to them.

    :ivar done: what was done, in order.
    :ivar drained: the result of draining the workers.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.drained: Deferred[None] = Deferred()
        monkeypatch.setattr(handover, "reactor", SimpleNamespace(callFromThread=lambda call: call()))
        monkeypatch.setattr(handover, "stop_reactor", lambda: self.done.append("reactor stopped"))
        manager = SimpleNamespace(
            is_present=True,
            stopping=lambda how: self.done.append(f"stopping: {how}"),
            store=lambda sockets: self.done.append(f"stored sockets: {len(sockets)}"),
        )
        self.supervisor = SimpleNamespace(stopping=False, drain=self._drain)
        steering = SimpleNamespace(
            stop=lambda: self.done.append("steering stopped"), leave=lambda: self.done.append("steering left")
        )
        self.hand_over = HandOver(cast(Any, manager), cast(Any, self.supervisor), cast(Any, steering))

    def _drain(self) -> Deferred[None]:
        self.done.append("draining")
        return self.drained


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


BEGUN = ["stopping: handing over to the next daemon", "draining"]


def test_the_path_stays_once_the_workers_are_drained(scene: Scene) -> None:
    scene.hand_over.on_signal()
    assert (scene.done, scene.hand_over.done) == (BEGUN, False)
    scene.drained.callback(None)
    scene.hand_over.take_down_unless_done()
    assert (scene.done, scene.hand_over.done) == ([*BEGUN, "steering left", "reactor stopped"], True)


def test_a_second_signal_changes_nothing(scene: Scene) -> None:
    for _ in range(2):
        scene.hand_over.on_signal()
    assert scene.done == BEGUN


def test_a_daemon_that_is_ended_while_it_hands_over_leaves_nothing(scene: Scene) -> None:
    scene.hand_over.on_signal()
    scene.supervisor.stopping = True
    scene.drained.callback(None)
    scene.hand_over.take_down_unless_done()
    assert (scene.done, scene.hand_over.done) == ([*BEGUN, "stored sockets: 0", "steering stopped"], False)


def test_a_daemon_that_is_ending_does_not_hand_over(scene: Scene) -> None:
    scene.supervisor.stopping = True
    scene.hand_over.on_signal()
    scene.hand_over.take_down_unless_done()
    assert scene.done == ["stored sockets: 0", "steering stopped"]
