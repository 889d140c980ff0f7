"""Accepting, and answering in the same turn.

Nearly every connection of a guest is one request that has arrived when we accept it, and one small answer that the
kernel takes at once. What such a connection costs beside its few system calls is what a reactor does for those that
live longer: an object for the transport, the socket's modes, two changes of the epoll set, buffers, a shutdown. So a
connection begins on a :class:`FirstTurn`, which reads once and writes straight to the socket. What survives that turn,
because its request is not there yet, its guest reads slowly, or it is kept alive, is handed over to Twisted's own
transport, and nothing is different from there on. :class:`~eve_meta.web.connection.Connection` knows of no difference
at all: what it decides is decided once, here and there.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import time
from typing import Any, cast

from attrs import frozen
from twisted.internet.interfaces import IPushProducer, IReadDescriptor
from twisted.internet.tcp import Server
from twisted.python.failure import Failure
from zope.interface import implementer

from eve_meta.web.answering import Answering
from eve_meta.web.connection import Connection, Wire

BATCH = 32
"""Connections that are accepted in one turn, before those that live get theirs. A turn takes a millisecond or two."""

READ = 64 * 1024
"""Bytes that the first turn reads: no request that we take in one piece is longer, as in Twisted's own transports."""

BREATH = 0.0003
"""Seconds for which we look for no others when several had come at once and all are answered. More come soon then, and
what each of them would cost by itself, to wake us and to ask the kernel who is there, they share: with nginx's answers
a second as 1.00, 1.05 instead of 1.00, and a tenth less of our own time for each (``scripts/bench http``). So network
cards moderate their interrupts. A guest that boots alone never waits for it."""

REST = 0.1
"""Seconds for which nothing is accepted after the kernel had no descriptor or memory for another connection. The
listener stays readable meanwhile, and would keep the reactor busy."""

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

_RESET = struct.pack("ii", 1, 0)
"""``struct linger``: close() discards what is unsent and sends a reset (socket(7))."""


@frozen
class Peer:
    """Where a connection comes from: *host* is an IP address, *port* the TCP port."""

    host: str
    port: int


class FirstTurn:
    """The :class:`~eve_meta.web.connection.Wire` of a connection in the turn that accepted it.

    It is the socket itself: whatever the socket does not take at once, and whatever takes time, is for Twisted's
    transport.
    """

    def __init__(self, sock: socket.socket, address: tuple[Any, ...], reactor: Any) -> None:
        self._socket = sock
        self._address = address
        self._reactor = reactor
        self._connection: Connection | None = None
        self._producing = False
        self._broken = False

    def serve(self, connection: Connection) -> None:
        """Read what is there, let *connection* answer, and hand over what survives."""
        self._connection = connection
        connection.makeConnection(self)  # type: ignore[no-untyped-call]
        if self._connection is None:
            return
        try:
            data = self._socket.recv(READ, socket.MSG_DONTWAIT)
        except BlockingIOError:
            self._hand_over()
            return
        except OSError:
            self._close()
            return
        if data:
            connection.dataReceived(data)
        if self._connection is None:
            return  # closed, or handed over already
        if self._broken:
            self._close()
        else:
            # Also where the guest will send no more: Twisted reads that once more.
            self._hand_over()

    def fail(self) -> None:
        """The connection raised an exception: end it."""
        if self._connection is not None:
            self.abortConnection()

    def getHandle(self) -> socket.socket:
        return self._socket

    def getPeer(self) -> Peer:
        return Peer(self._address[0], self._address[1])

    def write(self, data: bytes) -> None:
        if self._broken:
            return
        try:
            sent = self._socket.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._broken = True
            return
        if sent < len(data):
            self._hand_over().write(data[sent:])

    def loseConnection(self) -> None:
        self._close()

    def abortConnection(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._close()

    def loseWriteConnection(self) -> None:
        self._hand_over().loseWriteConnection()

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        self._producing = True

    def unregisterProducer(self) -> None:
        self._producing = False

    def pauseProducing(self) -> None:
        self._hand_over().pauseProducing()

    def resumeProducing(self) -> None:
        """Nothing was paused."""

    def _hand_over(self) -> Wire:
        connection = cast(Connection, self._connection)
        self._connection = None
        server = Server(self._socket, connection, self._address, None, 0, self._reactor)  # type: ignore[arg-type]
        if self._producing:
            server.registerProducer(connection, True)  # type: ignore[no-untyped-call]
        connection.rewire(server)
        return cast(Wire, server)

    def _close(self) -> None:
        connection = cast(Connection, self._connection)
        self._connection = None
        self._socket.close()
        connection.connectionLost()


@implementer(IReadDescriptor)
class Acceptor:
    """Accepts the connections of *answering*'s guests on *listener*, which is non-blocking and listens.

    :param reactor: needs IReactorFDSet and IReactorTime.
    """

    def __init__(self, reactor: Any, listener: socket.socket, answering: Answering) -> None:
        self._reactor = reactor
        self._listener = listener
        self._answering = answering

    def start(self) -> None:
        """Begin to accept, or go on."""
        if self.fileno() >= 0:
            self._reactor.addReader(self)

    def stop(self) -> None:
        """Accept no more. Who connects waits in the kernel while anybody has the listener, and else is refused."""
        self._reactor.removeReader(self)
        self._listener.close()

    def fileno(self) -> int:
        return self._listener.fileno()

    def doRead(self) -> None:
        """Connections are there."""
        for number in range(BATCH):
            try:
                sock, address = self._listener.accept()
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._reactor.removeReader(self)
                    self._reactor.callLater(REST, self.start)
                elif error.errno == errno.ECONNABORTED:
                    continue
                elif number > 1:
                    # Not by the reactor, which counts in milliseconds, and for whom it is a timer and two changes of
                    # the epoll set.
                    time.sleep(BREATH)
                return
            connection = Connection(self._answering)
            turn = FirstTurn(sock, address, self._reactor)
            try:
                turn.serve(connection)
            except Exception as error:
                # A defect of ours. The reactor would take the listener for what failed, and close that.
                self._answering.failed(connection.tag, error)
                turn.fail()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor stops."""
        self._listener.close()

    def logPrefix(self) -> str:
        return "Acceptor"
