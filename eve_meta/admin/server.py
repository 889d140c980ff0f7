"""The daemon's end of an admin socket: it reads one line of JSON, answers with another, and closes the connection.

``{"question": NAME, "arguments": {NAME: TEXT}}`` is answered with one of ``{"answer": …}``, ``{"problem": TEXT}``,
which the user of a command can fix, and ``{"error": TEXT}``, which is a defect or a request that no command sends.

After ``{"question": "follow"}`` the connection stays open: the daemon sends the latest events, a line each, and then
each event as it happens. A slow reader costs no memory beyond the events that are kept anyway; it is cut off once it
has missed one.

The socket's mode decides who may ask, and its :class:`~eve_meta.admin.access.Access` what and how much. The protocol is
not HTTP, because twisted.web would cost the supervisor another 4 MB of resident memory for a few questions.
"""

from __future__ import annotations

import json
import socket
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, cast

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IConsumer, IPushProducer, IReactorTime, ITCPTransport
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from eve_meta.admin.access import Access
from eve_meta.admin.answers import Answer
from eve_meta.admin.connections import Connections
from eve_meta.admin.questions import FOLLOW, Question
from eve_meta.admin.queue import Queue
from eve_meta.runtime.turns import encoded
from eve_meta.supervisor.events import KEPT, Event, Events
from eve_meta.values.problem import Problem

_CREDENTIALS = struct.Struct("3i")
"""``struct ucred`` of linux/socket.h: pid, uid, gid."""


@implementer(IPushProducer)
class Follower:
    """Sends *events* to *transport* as fast as its reader takes them."""

    def __init__(self, events: Events, transport: ITCPTransport) -> None:
        self._events = events
        self._transport = transport
        self._paused = False
        self._last_sent = 0
        self._end = events.listen(self._send_or_skip)
        cast(IConsumer, transport).registerProducer(self, True)
        self._catch_up()

    def stop(self) -> None:
        """End: the connection is gone."""
        self._end()

    def pauseProducing(self) -> None:
        """Wait: the transport's buffer is full."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Go on: the transport's buffer is empty."""
        self._paused = False
        self._catch_up()

    def stopProducing(self) -> None:
        """Do nothing: the transport is gone, and :meth:`stop` follows."""

    def _send_or_skip(self, event: Event) -> None:
        if not self._paused:
            self._write(event)
        elif event.number - self._last_sent > KEPT:
            self._transport.abortConnection()

    def _catch_up(self) -> None:
        for event in self._events.latest:
            if self._paused:
                break
            if event.number > self._last_sent:
                self._write(event)

    def _write(self, event: Event) -> None:
        self._last_sent = event.number
        self._transport.write(json.dumps(event.plain).encode() + b"\n")


class AdminProtocol(LineOnlyReceiver):
    """Answers one question, or sends events to whoever follows.

    :ivar is_idle: whether no whole line has arrived yet.
    """

    _log = Logger()
    delimiter = b"\n"

    def __init__(self, factory: AdminFactory) -> None:
        self._factory = factory
        self._user = 0
        self._follower: Follower | None = None
        self._closed: Deferred[None] = Deferred()
        self.is_idle = True

    def connectionMade(self) -> None:
        self._user = self._factory.user_of(self.transport)
        self._factory.connections.opened(self)
        if not self._factory.count(self._user, 1):
            self.abort()

    def abort(self) -> None:
        """End the connection at once."""
        cast(ITCPTransport, self.transport).abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._factory.connections.closed(self)
        self._factory.count(self._user, -1)
        if self._follower is not None:
            self._follower.stop()
        self._closed.callback(None)

    def dataReceived(self, data: bytes) -> None:
        if self.is_idle:
            super().dataReceived(data)  # type: ignore[no-untyped-call]
        else:
            # No command sends more than its question, and reading without end would take time and memory.
            self.abort()

    def lineReceived(self, line: bytes) -> None:
        if not self.is_idle:
            self.abort()
            return
        self.is_idle = False
        self._factory.connections.asked(self)
        try:
            request = json.loads(line)
            name, arguments = request["question"], request.get("arguments", {})
            question = self._factory.questions[name]
            if arguments.keys() != set(question.parameters):
                raise ValueError
            if not all(isinstance(argument, str) for argument in arguments.values()):
                raise TypeError
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            known = ", ".join(
                f"{question.name}({', '.join(question.parameters)})" for question in self._factory.questions.values()
            )
            self._send({"error": f"expected one of the questions {known}, got {line[:80]!r}"})
            return
        if name not in self._factory.access.questions:
            self._send({"problem": f"only root may ask the daemon for {name!r}: it shows secrets or changes something"})
        else:
            self._factory.begin(self._user, lambda: self._answer(question, arguments))

    def _answer(self, question: Question[Any], arguments: Mapping[str, str]) -> Deferred[None]:
        """Answer *question*; the result comes when the answer was read, or the connection ended otherwise."""
        if self._closed.called:
            return succeed(None)
        if question is FOLLOW:
            self._follower = Follower(self._factory.events, cast(ITCPTransport, self.transport))
            return succeed(None)
        answer = maybeDeferred(self._factory.answers[question], **arguments)
        # The errback also serves an answer that JSON cannot hold.
        answer.addCallback(lambda answer: encoded(self._factory.reactor, answer))
        answer.addCallback(lambda text: self._send_line(f'{{"answer": {text}}}')).addErrback(self._failed)
        # Whoever closes the connection before the answer is there has not ended the work on it.
        return answer.addCallback(lambda _: self._closed)

    def _failed(self, failure: Failure) -> None:
        if isinstance(failure.value, Problem):
            self._send({"problem": str(failure.value)})
            return
        self._log.failure("a question on the admin socket failed", failure)
        self._send({"error": "the daemon failed to answer: look into its log"})

    def _send(self, answer: Mapping[str, Any]) -> None:
        self._send_line(json.dumps(answer))

    def _send_line(self, text: str) -> None:
        if not self._closed.called:
            self._factory.connections.limit(self, self._factory.access.reading_time)
            self.sendLine(text.encode())  # type: ignore[no-untyped-call]
            cast(ITCPTransport, self.transport).loseConnection()


def peer_user(transport: Any) -> int:
    """Return the user at the other end of a unix socket."""
    connection: socket.socket = transport.getHandle()
    return int(_CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[1])


class AdminFactory(Factory):
    """Makes a protocol for each connection to one socket.

    :ivar access: who may ask what.
    :ivar answers: the function that answers each question.
    :ivar questions: every question there is, by name.
    :ivar events: sent to whoever follows.
    :ivar connections: those that are open.
    :param user_of: returns the user at the other end of a transport.
    """

    noisy = False

    def __init__(
        self,
        reactor: IReactorTime,
        answers: Mapping[Question[Any], Answer],
        events: Events,
        access: Access,
        *,
        user_of: Callable[[Any], int] = peer_user,
    ) -> None:
        self.reactor = reactor
        self.access = access
        self.answers = answers
        self.questions = {question.name: question for question in (*answers, FOLLOW)}
        self.events = events
        self.connections = Connections(reactor, most=access.connections, time=access.question_time, rate=access.rate)
        self.user_of = user_of
        self._queue = Queue(reactor)
        self._users: Counter[int] = Counter()

    def buildProtocol(self, addr: object) -> AdminProtocol | None:
        if not self.connections.admit():
            return None
        return AdminProtocol(self)

    def begin(self, user: int, work: Callable[[], Deferred[None]]) -> None:
        """Call *work*, which answers a question of *user*: now, or when its turn comes."""
        if self.access.one_at_a_time:
            self._queue.add(user, work)
        else:
            work()

    def count(self, user: int, change: int) -> bool:
        """Count a connection of *user* more or less; return whether they are no more than there may be."""
        self._users[user] += change
        if not self._users[user]:
            del self._users[user]
        return self.access.of_one_user is None or self._users[user] <= self.access.of_one_user
