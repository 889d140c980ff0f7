"""A worker's side that listens on loopback, with a real reactor in a thread of its own."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from attrs import frozen
from twisted.internet.epollreactor import EPollReactor

from eve_meta.web.accept import Acceptor
from eve_meta.web.answering import Answering
from eve_meta.web.guests import Guests
from eve_meta.web.limits import SLICE, Limits
from eve_meta.web.sockets import prepare
from tests.unit.web.guest import TAG, TAP, answers, counted, get

T = TypeVar("T")

LIMITS = Limits(request_time=1.0, idle_time=1.5, write_time=1.0, linger_time=1.0)
PATIENCE = 5.0
"""Seconds after which a test has failed: the longest limit, the sweep, and a slow machine."""

USER_DATA = "/openstack/latest/user_data"
MIB = bytes(range(256)) * 4096


@frozen
class Server:
    """An acceptor and what is behind it, with a reactor in a thread of its own."""

    reactor: EPollReactor
    answering: Answering
    port: int

    def connect(self, *, receive_buffer: int | None = None) -> socket.socket:
        """Return a guest's connection, whose socket buffers *receive_buffer* bytes that the guest has not read."""
        guest = socket.socket()
        guest.settimeout(PATIENCE)
        if receive_buffer is not None:
            guest.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        guest.connect(("127.0.0.1", self.port))
        return guest

    def call(self, function: Callable[[], T]) -> T:
        """Return the result of *function*, called in the reactor's thread."""
        found: list[T] = []
        done = threading.Event()

        def run() -> None:
            found.append(function())
            done.set()

        self.reactor.callFromThread(run)
        assert done.wait(PATIENCE)
        return found[0]

    def counted(self) -> dict[str, int]:
        """Return what guests did since the last call."""
        return self.call(lambda: counted(self.answering))

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Stop the reactor within the context: what guests do there, they do before their connections are accepted."""
        stands, go_on = threading.Event(), threading.Event()

        def stand() -> None:
            stands.set()
            go_on.wait(PATIENCE)

        self.reactor.callFromThread(stand)
        assert stands.wait(PATIENCE)
        try:
            yield
        finally:
            go_on.set()

    def open(self) -> int:
        """Return the number of open connections."""
        return self.call(lambda: sum(len(tap.connections) for tap in self.answering.guests._allowances.values()))

    def put(self, data: bytes) -> None:
        """Assign the domain *data* to the tap."""
        self.call(lambda: self.answering.guests.put(TAG, TAP, time.monotonic(), data))


def until(condition: Callable[[], bool]) -> None:
    """Wait for *condition*."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def rest(guest: socket.socket) -> bytes:
    """Return everything that the guest can still read."""
    read = bytearray()
    while piece := guest.recv(SLICE):
        read += piece
    return bytes(read)


def ask_again(guest: socket.socket) -> None:
    """Ask on a connection that should be gone."""
    with guest:
        guest.sendall(get("/openstack"))
        guest.recv(1)


def statuses(read: bytes) -> list[int]:
    """Return the status codes in *read*."""
    return [answer.status for answer in answers(read)]


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """Run a server. Its reactor is not the process's, so it leaves nothing behind."""
    reactor: EPollReactor = EPollReactor()
    answering = Answering(reactor, Guests(reactor, identify=lambda _: TAG, limits=LIMITS))
    answering.current_until = math.inf
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    prepare(listener)
    address: tuple[str, int] = listener.getsockname()
    listener.setblocking(False)
    Acceptor(reactor, listener, answering).start()
    thread = threading.Thread(target=reactor.run, kwargs={"installSignalHandlers": False}, daemon=True)
    thread.start()
    yield Server(reactor, answering, address[1])
    reactor.callFromThread(reactor.stop)
    thread.join(PATIENCE)
    assert not thread.is_alive()
