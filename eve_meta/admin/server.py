"""The daemon's end of the admin socket: one line of JSON comes, one goes back, and the connection closes.

``{"question": NAME, "arguments": {NAME: TEXT}}`` is answered with one of ``{"answer": …}``, ``{"problem": TEXT}`` for
what whoever asks can mend, and ``{"error": TEXT}`` for what nobody who uses our commands sees.

Root alone can open the socket (mode 0600), so this end trusts whoever asks. Not twisted.web: it would cost the
supervisor another 4 MB of resident memory for what is a few questions.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from eve_meta.errors import Problem

Question = Callable[..., "Deferred[Any] | Any"]
"""Takes arguments that are strings, by name; gives what JSON can hold, now or later, or a :class:`Problem`."""


class AdminProtocol(LineOnlyReceiver):
    """Answers one question."""

    _log = Logger()
    delimiter = b"\n"

    def __init__(self, questions: Mapping[str, Question]) -> None:
        self._questions = questions

    def lineReceived(self, line: bytes) -> None:  # noqa: N802  # Twisted's name
        try:
            asked = json.loads(line)
            question = self._questions[asked["question"]]
            arguments = inspect.signature(question).bind(**asked.get("arguments", {}))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self._answer({"error": f"expected one of the questions {', '.join(self._questions)}, got {line[:80]!r}"})
            return
        answer = maybeDeferred(question, *arguments.args, **arguments.kwargs)
        # Also for an answer that JSON cannot hold.
        answer.addCallback(lambda answer: self._answer({"answer": answer})).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        if isinstance(failure.value, Problem):
            self._answer({"problem": str(failure.value)})
            return
        self._log.failure("a question on the admin socket failed", failure)
        self._answer({"error": "the daemon failed to answer; its log says why"})

    def _answer(self, answer: Mapping[str, Any]) -> None:
        self.sendLine(json.dumps(answer).encode())  # type: ignore[no-untyped-call]
        assert self.transport is not None  # noqa: S101  # for mypy: a line came
        self.transport.loseConnection()


class AdminFactory(Factory):
    """Makes connections that answer *questions*, by name."""

    noisy = False

    def __init__(self, questions: Mapping[str, Question]) -> None:
        self._questions = questions

    def buildProtocol(self, addr: object) -> AdminProtocol:  # noqa: N802  # Twisted's name
        return AdminProtocol(self._questions)
