"""Accepting, and answering in the same turn of the reactor.

Nearly every connection of a guest is one request that has arrived when the connection is accepted, and one small answer
that the kernel takes at once. What such a connection costs beside its few system calls is what a reactor does for those
that live longer: an object for the transport, the socket's modes, two changes of the epoll set, buffers, a shutdown. So
a connection begins on a :class:`FirstTurn`, which reads once and writes straight to the socket. A connection that
survives that turn, because its request has not arrived yet, its guest reads slowly, or it is kept alive, is handed over
to Twisted's own transport, and nothing is different from there on. :class:`~eve_meta.web.connection.Connection` knows
of no difference at all: its decisions are the same on both.

A first turn need not be the turn that accepts: a connection of a tap whose guest has been answered often enough in that
turn is read in a later one (:meth:`FirstTurn.resumeProducing`), and costs no more than the others.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
from typing import Any, cast

from attrs import frozen
from twisted.internet.interfaces import IPushProducer, IReadDescriptor
from twisted.internet.tcp import Server
from twisted.python.failure import Failure
from zope.interface import implementer

from eve_meta.web.answering import Answering
from eve_meta.web.connection import Connection
from eve_meta.web.transport import Wire

BATCH = 32
"""Connections that are accepted in one turn, before the open ones get theirs. A turn takes a millisecond or two."""

READ = 64 * 1024
"""Bytes that the first turn reads: no request that is taken in one piece is longer, as in Twisted's own transports."""

WAIT = 0.0003
"""Seconds for which a turn waits for the next connection, when several had come at once and all are answered. More come
soon then, and by a turn of the reactor for each of them every one would cost a timer's check, an epoll_wait and a
second accept. The wait ends with the connection that comes. A guest that boots alone makes nobody wait.

A sleep of that length, which no connection ends, has been measured (``scripts/bench http``): with nginx's answers a
second as 1.00, 1.05 instead of 1.00, and a tenth less of the worker's own time for each."""

WAITS = 8
"""Such waits in one turn: it is prolonged by 2.4 ms at most, however connections are timed."""

REST = 0.1
"""Seconds for which nothing is accepted after the kernel had no descriptor or no memory for another connection. The
listener stays readable during that time, and would keep the reactor busy."""

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

_RESET = struct.pack("ii", 1, 0)
"""``struct linger``: close() discards what is unsent and sends a reset (socket(7))."""


@frozen
class Peer:
    """The guest's address: *host* is its IP address, *port* its TCP port."""

    host: str
    port: int


class FirstTurn:
    """The :class:`~eve_meta.web.transport.Wire` of a connection in the turn that first reads from it.

    It uses the socket directly. Whatever the socket does not take at once, and whatever takes time, is left to
    Twisted's transport.
    """

    _unread = True
    _paused = False

    def __init__(self, sock: socket.socket, address: tuple[Any, ...], reactor: Any) -> None:
        self._socket = sock
        self._address = address
        self._reactor = reactor
        self._connection: Connection | None = None
        self._producing = False
        self._broken = False

    def serve(self, connection: Connection) -> None:
        """Read once and let *connection* answer; hand it over to Twisted's transport if it is still open then.

        A connection that pauses before that is read when it resumes.
        """
        self._connection = connection
        connection.makeConnection(self)  # type: ignore[no-untyped-call]
        if not self._paused:
            self._read()

    def _read(self) -> None:
        self._unread = False
        connection = self._connection
        if connection is None:
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
            # Also where the guest has closed its half: Twisted reads that end once more.
            self._hand_over()

    def fail(self) -> None:
        """End the connection, which has raised an exception."""
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
        if self._unread:
            self._paused = True
        else:
            self._hand_over().pauseProducing()

    def resumeProducing(self) -> None:
        if self._paused:
            self._paused = False
            self._read()

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
    """Accepts connections on *listener*, a non-blocking socket that listens, and has *answering* answer them.

    :param reactor: has IReactorFDSet and IReactorTime.
    """

    def __init__(self, reactor: Any, listener: socket.socket, answering: Answering) -> None:
        self._reactor = reactor
        self._listener = listener
        self._answering = answering

    def start(self) -> None:
        """Begin to accept, or begin again; do nothing after :meth:`stop`."""
        if self.fileno() >= 0:
            self._reactor.addReader(self)

    def stop(self) -> None:
        """Accept no more. While another process has the listener, guests wait in the kernel; else they are refused."""
        self._reactor.removeReader(self)
        self._listener.close()

    def fileno(self) -> int:
        return self._listener.fileno()

    def doRead(self) -> None:
        """Accept and answer the connections that have come."""
        self._answering.guests.turn += 1
        waits = 0
        for number in range(BATCH):
            try:
                sock, address = self._listener.accept()
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._reactor.removeReader(self)
                    self._reactor.callLater(REST, self.start)
                elif error.errno == errno.ECONNABORTED:
                    continue
                elif number > 1 and waits < WAITS and select.select((self._listener,), (), (), WAIT)[0]:
                    # By select(), because poll() and epoll_wait() count in milliseconds; the listener is among a
                    # worker's first descriptors, far below FD_SETSIZE.
                    waits += 1
                    continue
                return
            connection = Connection(self._answering)
            turn = FirstTurn(sock, address, self._reactor)
            try:
                turn.serve(connection)
            except Exception as error:
                # A defect of ours. The reactor would blame the listener for it, and close that.
                self._answering.failed(connection.tag, error)
                turn.fail()

    def connectionLost(self, reason: Failure) -> None:
        """Close the listener: the reactor stops."""
        self._listener.close()

    def logPrefix(self) -> str:
        return "Acceptor"
