"""The sockets that guests connect to, and what becomes of them when a compromised worker damages them."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence

import pytest
from attrs import define, field
from twisted.internet.task import Clock

from eve_meta.steering.path.listening import WorkerSockets
from eve_meta.supervisor.listeners import LOOK_EVERY, Listeners
from eve_meta.values.problem import Problem


@define
class FakeSteering:
    """A steering that finds the sockets at some places damaged."""

    damaged: set[int] = field(factory=set)
    fails: bool = False
    replaced: list[tuple[int, int]] = field(factory=list)

    def are_sound(self, sockets: WorkerSockets) -> bool:
        return sockets.place not in self.damaged

    def replace(self, number: int, damaged: WorkerSockets) -> WorkerSockets:
        if self.fails:
            raise Problem("not now")
        self.replaced.append((number, damaged.place))
        damaged.end()
        return WorkerSockets(damaged.place + 1, (socket.socket(),))


@define
class Scene:
    """The sockets of two workers; the second has one that an older daemon listened on."""

    clock: Clock
    steering: FakeSteering
    first: WorkerSockets
    second: WorkerSockets
    listeners: Listeners
    damaged: list[int]
    kept: list[Sequence[socket.socket]]


@pytest.fixture
def scene() -> Iterator[Scene]:
    clock, steering, damaged, kept = Clock(), FakeSteering(), list[int](), list[Sequence[socket.socket]]()
    first = WorkerSockets(1, (socket.socket(), socket.socket()))
    second = WorkerSockets(3, (socket.socket(),), (socket.socket(),))
    listeners = Listeners(clock, steering, (first, second), damaged.append, kept.append)
    yield Scene(clock, steering, first, second, listeners, damaged, kept)
    listeners.close()


def test_each_worker_has_its_own_and_those_that_an_older_daemon_left_it(scene: Scene) -> None:
    assert scene.listeners.get_sound(0) == scene.first.sockets
    assert scene.listeners.get_sound(1) == (*scene.second.sockets, *scene.second.retired)
    # Nobody needs the retired ones after this daemon.
    assert scene.kept == [[*scene.first.sockets, *scene.second.sockets]]


def test_a_worker_that_damages_a_socket_is_noticed_within_a_second(scene: Scene) -> None:
    scene.clock.advance(LOOK_EVERY)
    assert scene.damaged == []
    scene.steering.damaged.add(3)
    scene.clock.advance(LOOK_EVERY)
    assert scene.damaged == [1]
    assert scene.steering.replaced == []  # while the worker may still hold them


def test_damaged_sockets_are_replaced_when_the_next_process_starts_and_no_others_are(scene: Scene) -> None:
    scene.steering.damaged.add(1)
    (new,) = scene.listeners.get_sound(0)
    assert scene.steering.replaced == [(0, 1)]
    assert {each.fileno() for each in scene.first.sockets} == {-1}
    assert scene.kept[1:] == [[new, *scene.second.sockets]]
    assert scene.listeners.get_sound(0) == (new,)
    assert scene.listeners.get_sound(1)[0].fileno() >= 0


def test_no_worker_gets_a_socket_that_blocks(scene: Scene) -> None:
    """As a compromised worker may leave it: the next one would wait for the first connection, and answer nobody."""
    sockets = (*scene.second.sockets, *scene.second.retired)
    for each in sockets:
        each.setblocking(True)
    assert [each.getblocking() for each in scene.listeners.get_sound(1)] == [False, False]


def test_where_they_cannot_be_replaced_now_they_are_at_the_next_try(scene: Scene) -> None:
    scene.steering.damaged.add(1)
    scene.steering.fails = True
    with pytest.raises(Problem, match="not now"):
        scene.listeners.get_sound(0)
    scene.steering.fails = False
    assert len(scene.listeners.get_sound(0)) == 1


def test_closing_leaves_nothing_open(scene: Scene) -> None:
    scene.listeners.close()
    assert {each.fileno() for each in (*scene.first.sockets, *scene.second.sockets, *scene.second.retired)} == {-1}
    assert scene.clock.getDelayedCalls() == []
