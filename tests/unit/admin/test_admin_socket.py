"""Where the daemon's end of the admin socket listens, and what it does with a socket that is there."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock as TaskClock

from eve_meta.admin.access import ROOT
from eve_meta.admin.listening import admin_socket, remove_left
from eve_meta.admin.server import AdminFactory
from eve_meta.runtime.clock import Clock
from eve_meta.supervisor.events import Events
from eve_meta.values.problem import Problem

FACTORY = AdminFactory(TaskClock(), {}, Events(Clock()), ROOT)


class Reactor:
    """Binds a socket, as Twisted's reactor does, unless it is to fail."""

    def __init__(self) -> None:
        self.error: OSError | None = None
        self.modes: list[int] = []
        self.sockets: list[socket.socket] = []

    def listenUNIX(self, address: str, factory: object, *, mode: int) -> None:
        assert factory is FACTORY
        if self.error is not None:
            raise CannotListenError(None, address, self.error)
        self.modes.append(mode)
        self.sockets.append(listening(Path(address)))


def listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


@pytest.fixture
def reactor() -> Any:
    reactor = Reactor()
    yield cast(Any, reactor)
    for each in reactor.sockets:
        each.close()


def test_the_socket_is_roots_and_is_removed(reactor: Any, tmp_path: Path) -> None:
    with admin_socket(reactor, tmp_path / "socket", FACTORY):
        assert os.listdir(tmp_path) == ["socket"]
    assert (reactor.modes, os.listdir(tmp_path)) == ([0o600], [])


def test_the_operators_socket_belongs_to_their_group(reactor: Any, tmp_path: Path) -> None:
    # Of root, any group; of another user, one of the user's own.
    group = 4711 if os.getuid() == 0 else os.getgid()
    with admin_socket(reactor, tmp_path / "socket", FACTORY, group=group):
        assert (tmp_path / "socket").stat().st_gid == group
        assert os.getegid() == os.getgid()
    assert (reactor.modes, os.listdir(tmp_path)) == ([0o660], [])


def test_an_operators_socket_is_removed_where_there_are_none_any_more(tmp_path: Path) -> None:
    listening(tmp_path / "socket").close()
    remove_left(tmp_path / "socket")
    remove_left(tmp_path / "socket")
    assert os.listdir(tmp_path) == []


def test_a_socket_that_a_daemon_left_when_it_died_is_replaced(reactor: Any, tmp_path: Path) -> None:
    listening(tmp_path / "socket").close()
    with admin_socket(reactor, tmp_path / "socket", FACTORY):
        assert reactor.modes == [0o600]


def test_a_socket_that_another_daemon_answers_on_stays(reactor: Any, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with (
        listening(path),
        pytest.raises(Problem, match=r"another eve-meta answers on .*/socket: stop it, or give"),
        admin_socket(reactor, path, FACTORY),
    ):
        pass
    assert (reactor.modes, os.listdir(tmp_path)) == ([], ["socket"])


def test_a_path_that_cannot_be_used_is_a_problem(reactor: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(Problem, match=r"cannot use the admin socket .*/file/socket: Not a directory"),
        admin_socket(reactor, tmp_path / "file" / "socket", FACTORY),
    ):
        pass
    reactor.error = PermissionError(13, "Permission denied")
    with (
        pytest.raises(Problem, match=r"cannot listen on the admin socket .*/socket: Permission denied"),
        admin_socket(reactor, tmp_path / "socket", FACTORY),
    ):
        pass
