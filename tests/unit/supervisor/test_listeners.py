"""The sockets to which guests connect, and their replacement when a compromised worker shuts one."""

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


def test_sockets_are_replaced_when_a_worker_shut_one() -> None:
    old = (listening(), listening())
    port = old[1].getsockname()[1]
    copy = old[1].dup()  # as a worker that lives holds it
    failing, discarded = [True], list[int]()
    kept: list[Sequence[socket.socket]] = []

    def listen() -> Sequence[socket.socket]:
        if failing[0]:
            raise Problem("not now")
        return (listening(port),)

    listeners = Listeners(old, listen, kept.append)

    def get_sound() -> Sequence[socket.socket]:
        return listeners.get_sound(lambda: discarded.append(1))

    assert get_sound() == old
    assert (discarded, kept) == ([], [old])
    old[0].shutdown(socket.SHUT_RDWR)
    with pytest.raises(Problem):
        get_sound()
    assert [listener.fileno() for listener in old] == [-1, -1]
    failing[0] = False
    (new,) = get_sound()
    assert get_sound() == (new,)
    assert (discarded, kept) == ([1], [old, (new,)])
    with pytest.raises(PermissionError):  # a worker cannot make it deaf either
        new.setsockopt(socket.SOL_SOCKET, 26, bytes(16))  # SO_ATTACH_FILTER
    listeners.close()
    copy.close()
