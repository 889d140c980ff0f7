"""What a worker makes of the supervisor's messages about its life; the guest tests have the rest of it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from typing import Any, cast

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from eve_meta.web.worker import Worker
from eve_meta.wire.messages import LEASE_TIME, Begin, Drain, Ping, TableCurrent, ToWorker
from tests.unit.web.guest import make_answering


class Reactor(Clock):
    """Keeps the listeners that it is to read."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[object] = []

    def addReader(self, reader: object) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: object) -> None:
        self.readers.remove(reader)


class Scene:
    """A worker with one listener, whose table was never confirmed."""

    def __init__(self, listener: int) -> None:
        self.reactor = Reactor()
        self.answering = make_answering(self.reactor, confirmed=False)
        self.worker = Worker(cast(Any, self.reactor), self.answering, 1)
        self.worker._listeners = cast(Any, (listener,))
        self.transport = StringTransport()
        self.worker._channel.makeConnection(self.transport)

    def receive(self, message: ToWorker) -> None:
        self.worker._received(message, b"")

    def confirm(self) -> None:
        self.receive(TableCurrent(at=self.reactor.seconds()))

    @property
    def accepts(self) -> bool:
        return bool(self.reactor.readers)

    @property
    def sent(self) -> dict[str, Any]:
        """The one message that the worker has sent."""
        return cast(dict[str, Any], json.loads(self.transport.value()[4:]))


@pytest.fixture
def scene() -> Iterator[Scene]:
    listener = socket.create_server(("127.0.0.1", 0)).detach()
    scene = Scene(listener)
    yield scene
    if scene.accepts:
        scene.worker._accept_no_more()  # which closes it
    else:
        os.close(listener)


def test_a_worker_accepts_when_its_table_is_complete_and_current(scene: Scene) -> None:
    scene.confirm()
    assert not scene.accepts
    scene.receive(Begin())
    assert scene.accepts


def test_a_worker_whose_table_is_complete_waits_until_it_is_current(scene: Scene) -> None:
    """A lease confirmed before that may have ended by then, and a guest had better wait than get 503."""
    scene.confirm()
    scene.reactor.advance(LEASE_TIME)
    scene.receive(Begin())
    assert not scene.accepts
    scene.confirm()
    assert scene.accepts
    scene.confirm()
    assert len(scene.reactor.readers) == 1


def test_a_worker_goes_on_accepting_without_a_lease(scene: Scene) -> None:
    """Guests get 503 at once, after which they try again."""
    scene.confirm()
    scene.receive(Begin())
    scene.reactor.advance(LEASE_TIME)
    assert scene.accepts


def test_a_worker_that_is_to_drain_never_begins(scene: Scene) -> None:
    scene.receive(Drain())
    scene.receive(Begin())
    scene.confirm()
    assert not scene.accepts


def test_a_worker_answers_a_ping_at_once(scene: Scene) -> None:
    scene.receive(Ping(number=7))
    assert scene.sent == {"message": "Pong", "number": 7}
