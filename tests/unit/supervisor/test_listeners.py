"""The sockets that guests connect to, and what becomes of them when a guest that took a worker over shuts one."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import pytest

from eve_meta.supervisor.listeners import Listeners
from eve_meta.values.problem import Problem


def listening(port: int = 0) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen()
    return listener


def test_a_socket_that_a_worker_shut_is_made_anew() -> None:
    old = (listening(), listening())
    port = old[1].getsockname()[1]
    held = old[1].dup()  # by a worker that lives
    fail, broken = [True], list[int]()
    kept: list[Sequence[socket.socket]] = []

    def listen() -> Sequence[socket.socket]:
        if fail[0]:
            raise Problem("not now")
        return (listening(port),)

    listeners = Listeners(old, listen, kept.append)

    def sound() -> Sequence[socket.socket]:
        return listeners.sound(lambda: broken.append(1))

    assert sound() == old
    assert (broken, kept) == ([], [old])
    old[0].shutdown(socket.SHUT_RDWR)
    with pytest.raises(Problem):
        sound()
    assert [listener.fileno() for listener in old] == [-1, -1]
    fail[0] = False
    (new,) = sound()
    assert sound() == (new,)
    assert (broken, kept) == ([1], [old, (new,)])
    with pytest.raises(PermissionError):  # it may not be deafened either
        new.setsockopt(socket.SOL_SOCKET, 26, bytes(16))  # SO_ATTACH_FILTER
    listeners.close()
    held.close()
