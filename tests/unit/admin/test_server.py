"""The admin socket: questions and their arguments, the answers to anything else, and events for whoever follows."""

from __future__ import annotations

import json
from typing import Any, cast

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock as TaskClock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs

from eve_meta.admin.access import ROOT
from eve_meta.admin.questions import FOLLOW, Question
from eve_meta.admin.server import AdminFactory
from eve_meta.runtime.clock import Clock
from eve_meta.supervisor.events import KEPT, Events, Kind
from eve_meta.values.problem import Problem


def _fail(failure: Exception) -> Any:
    raise failure


def factory(events: Events) -> Any:
    """Return the factory of a socket on which everything may be asked."""
    everything = attrs.evolve(ROOT, questions={question.name for question in (*ANSWERS, FOLLOW)})
    return AdminFactory(TaskClock(), ANSWERS, events, everything, user_of=lambda _: 0)


LATER: Deferred[str] = Deferred()

ANSWERS: dict[Question[Any], Any] = {
    Question("status"): lambda: {"taps": []},
    Question("password", ("name",)): lambda name: f"of {name}",
    Question("later"): lambda: LATER,
    Question("wrong"): lambda: _fail(Problem("no domain 'x'")),
    Question("defect"): lambda: _fail(RuntimeError("secret")),
    Question("no json"): lambda: {"secret": object()},
}


def ask(line: bytes) -> Any:
    """Send *line*; return the answer so far, None where none has come."""
    protocol: Any = factory(Events(Clock())).buildProtocol(None)
    transport = StringTransport()
    protocol.makeConnection(transport)
    protocol.dataReceived(line + b"\n")
    answered = transport.value()
    assert transport.disconnecting is bool(answered)
    return json.loads(answered) if answered else None


def test_questions_with_and_without_arguments() -> None:
    assert ask(b'{"question": "status"}') == {"answer": {"taps": []}}
    assert ask(b'{"question": "status", "arguments": {}}') == {"answer": {"taps": []}}
    assert ask(b'{"question": "password", "arguments": {"name": "web1"}}') == {"answer": "of web1"}


def test_an_answer_may_come_later() -> None:
    assert ask(b'{"question": "later"}') is None
    LATER.callback("now")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"status",
        b'{"question": null}',
        b'{"question": []}',
        b'{"question": "shutdown"}',
        b'{"question": "password"}',
        b'{"question": "password", "arguments": {"nam": "web1"}}',
        b'{"question": "password", "arguments": ["web1"]}',
        b'{"question": "password", "arguments": "name"}',
        b'{"question": "password", "arguments": null}',
        b'{"question": "password", "arguments": {"name": 5}}',
        b'{"question": "password", "arguments": {"name": ["web1"]}}',
        b'{"question": "status", "arguments": {"name": "web1"}}',
        b"\xff",
        b"[" * 16000,
    ],
)
def test_a_line_that_is_no_question_is_an_error(line: bytes) -> None:
    assert ask(line)["error"].startswith("expected one of the questions status(), password(name), later(), ")


def test_a_problem_is_answered_and_not_logged() -> None:
    with capturedLogs() as logged:
        assert ask(b'{"question": "wrong"}') == {"problem": "no domain 'x'"}
    assert not logged


@pytest.mark.parametrize("question", [b"defect", b"no json"])
def test_a_defect_is_logged_and_its_text_is_not_answered(question: bytes) -> None:
    with capturedLogs() as logged:
        assert ask(b'{"question": "%s"}' % question) == {"error": "the daemon failed to answer: look into its log"}
    assert len(logged) == 1


# -- following --


class Reader(StringTransport):
    """The connection of a follower, who reads or does not."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True

    def events(self) -> list[str]:
        return [json.loads(line)["name"] for line in self.value().splitlines()]


def following(events: Events) -> tuple[Any, Reader]:
    protocol: Any = factory(events).buildProtocol(None)
    reader = Reader()
    protocol.makeConnection(reader)
    protocol.dataReceived(b'{"question": "follow"}\n')
    return protocol, reader


def test_a_follower_gets_the_latest_events_and_each_further_one() -> None:
    events = Events(Clock())
    events.emit(Kind.RESTORED, name="0")
    protocol, reader = following(events)
    events.emit(Kind.RESTORED, name="1")
    assert (reader.events(), reader.disconnecting) == (["0", "1"], False)
    protocol.connectionLost()
    events.emit(Kind.RESTORED, name="2")
    assert reader.events() == ["0", "1"]


@pytest.mark.parametrize("more", [b'{"question": "status"}\n', b"x" * 1000])
def test_whoever_says_more_than_a_question_is_cut_off(more: bytes) -> None:
    protocol, reader = following(Events(Clock()))
    assert not reader.aborted
    protocol.dataReceived(more)
    assert reader.aborted


def test_a_slow_follower_misses_no_event_or_is_cut_off() -> None:
    events = Events(Clock())
    slow, gone = following(events)[1], following(events)[1]
    for reader in (slow, gone):
        cast(Any, reader.producer).pauseProducing()
    for number in range(KEPT):
        events.emit(Kind.RESTORED, name=str(number))
    assert (slow.events(), slow.aborted, gone.aborted) == ([], False, False)
    cast(Any, slow.producer).resumeProducing()
    assert slow.events() == [str(number) for number in range(KEPT)]
    events.emit(Kind.RESTORED, name="one too many")
    assert (slow.events()[-1], slow.aborted, gone.aborted) == ("one too many", False, True)
