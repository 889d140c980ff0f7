"""The daemon's end of the admin socket: it reads one line of JSON, answers with another, and closes the connection.

``{"question": NAME, "arguments": {NAME: TEXT}}`` is answered with one of ``{"answer": …}``, ``{"problem": TEXT}``,
which the user of a command can fix, and ``{"error": TEXT}``, which is a defect or a request that no command sends.

After ``{"question": "follow"}`` the connection stays open: the daemon sends the latest events, a line each, and then
each event as it happens. A slow reader costs no memory beyond the events that are kept anyway; it is cut off once it
has missed one.

Only root can open the socket (mode 0600), so the daemon trusts whoever asks. The protocol is not HTTP, because
twisted.web would cost the supervisor another 4 MB of resident memory for a few questions.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IConsumer, IPushProducer, IReactorTime, IReactorUNIX, ITCPTransport
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from eve_meta.admin.answers import Answer
from eve_meta.admin.connections import Connections
from eve_meta.admin.questions import FOLLOW, Question
from eve_meta.supervisor.events import KEPT, Event, Events
from eve_meta.values.problem import Problem

MAX_CONNECTIONS = 128
"""The most connections at a time. Root's own programs may have defects, too, and each connection takes a descriptor."""

QUESTION_TIME = 10.0
"""Seconds within which the question has to arrive."""

CONNECTION_RATE = 1000.0
"""Connections a second."""


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
    """Answers one question, or sends *events* to whoever follows.

    :ivar is_idle: whether no whole line has arrived yet.
    """

    _log = Logger()
    delimiter = b"\n"

    def __init__(self, answers: Mapping[Question[Any], Answer], events: Events, connections: Connections) -> None:
        self._answers = answers
        self._questions = {question.name: question for question in answers}
        self._events = events
        self._connections = connections
        self._follower: Follower | None = None
        self.is_idle = True

    def connectionMade(self) -> None:
        self._connections.opened(self)

    def abort(self) -> None:
        """End the connection at once."""
        cast(ITCPTransport, self.transport).abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._connections.closed(self)
        if self._follower is not None:
            self._follower.stop()

    def lineReceived(self, line: bytes) -> None:
        if not self.is_idle:
            return
        self.is_idle = False
        self._connections.asked(self)
        try:
            request = json.loads(line)
            if request["question"] == FOLLOW.name:
                self._follower = Follower(self._events, cast(ITCPTransport, self.transport))
                return
            question, arguments = self._questions[request["question"]], request.get("arguments", {})
            if arguments.keys() != set(question.parameters):
                raise ValueError
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            known = ", ".join(
                f"{question.name}({', '.join(question.parameters)})" for question in self._questions.values()
            )
            self._send({"error": f"expected one of the questions {known}, got {line[:80]!r}"})
            return
        answer = maybeDeferred(self._answers[question], **arguments)
        # The errback also serves an answer that JSON cannot hold.
        answer.addCallback(lambda answer: self._send({"answer": answer})).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        if isinstance(failure.value, Problem):
            self._send({"problem": str(failure.value)})
            return
        self._log.failure("a question on the admin socket failed", failure)
        self._send({"error": "the daemon failed to answer: look into its log"})

    def _send(self, answer: Mapping[str, Any]) -> None:
        self.sendLine(json.dumps(answer).encode())  # type: ignore[no-untyped-call]
        cast(ITCPTransport, self.transport).loseConnection()


class AdminFactory(Factory):
    """Makes a protocol for each connection.

    :param answers: the function that answers each question.
    :param events: sent to whoever follows.
    """

    noisy = False

    def __init__(self, reactor: IReactorTime, answers: Mapping[Question[Any], Answer], events: Events) -> None:
        self._answers = answers
        self._events = events
        self._connections = Connections(reactor, most=MAX_CONNECTIONS, time=QUESTION_TIME, rate=CONNECTION_RATE)

    def buildProtocol(self, addr: object) -> AdminProtocol | None:
        if not self._connections.admit():
            return None
        return AdminProtocol(self._answers, self._events, self._connections)


@contextlib.contextmanager
def admin_socket(reactor: IReactorUNIX, path: Path, factory: AdminFactory) -> Iterator[None]:
    """Listen on the socket *path* for root alone; remove it when the context ends.

    :raises Problem: when another daemon answers there, or when that is impossible.
    """
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)  # a daemon that died left it
        except FileNotFoundError:
            pass
        except OSError as error:
            raise Problem(f"cannot use the admin socket {path}: {error.strerror}") from None
        else:
            raise Problem(f"another eve-meta answers on {path}: stop it, or give this one another [admin] socket")
    try:
        reactor.listenUNIX(str(path), factory, mode=0o600)
    except CannotListenError as error:
        raise Problem(f"cannot listen on the admin socket {path}: {error.socketError.strerror}") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
