"""The commands' end of the admin socket. Imports no Twisted: a command should start at once."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from eve_meta.admin.questions import FOLLOW, Question
from eve_meta.values.problem import Problem

T = TypeVar("T")

TIMEOUT = 10.0
"""Seconds in which the daemon must answer."""


class NotRunning(Problem):
    """No daemon listens on the socket."""


def ask(path: Path, question: Question[T], **arguments: str) -> T:
    """Ask the daemon that listens on *path*, and return its answer.

    :param arguments: one for each of the question's parameters.
    :raises NotRunning: where no daemon listens there.
    :raises Problem: where this user may not ask, or the daemon answers with a problem or not at all.
    """
    with _asked(path, question, **arguments) as connection, connection.makefile("rb") as answers:
        line = answers.readline()
    try:
        answer = json.loads(line)
    except ValueError:
        raise Problem(f"the daemon on {path} ended while it was asked") from None
    if "problem" in answer:
        raise Problem(answer["problem"])
    if "error" in answer:
        raise Problem(f"the daemon on {path}: {answer['error']}")
    result: T = answer["answer"]
    return result


def follow(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the latest events, then each as it happens, as :attr:`eve_meta.supervisor.events.Event.plain` has them.

    :raises NotRunning: where no daemon listens on *path*.
    :raises Problem: where this user may not ask; when the daemon ends, or ends the connection because this reader is
        too slow.
    """
    with _asked(path, FOLLOW) as connection, connection.makefile("rb") as events:
        connection.settimeout(None)
        for line in events:
            yield json.loads(line)
    raise Problem(f"the daemon on {path} sends no more events: it ended, or they were read too slowly")


@contextlib.contextmanager
def _asked(path: Path, question: Question[Any], **arguments: str) -> Iterator[socket.socket]:
    """Ask *question* on a new connection. Within the context, errors of the connection become a :class:`Problem`."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT)
        try:
            connection.connect(str(path))
            connection.sendall(json.dumps({"question": question.name, "arguments": arguments}).encode() + b"\n")
            yield connection
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotRunning(f"no eve-meta daemon listens on {path}: start it with 'eve-meta serve'") from None
        except PermissionError:
            raise Problem(f"only root may ask the daemon on {path}") from None
        except TimeoutError:
            raise Problem(f"the daemon on {path} did not answer within {TIMEOUT:.0f} s: look into its log") from None
        except OSError as error:
            raise Problem(f"cannot ask the daemon on {path}: {error.strerror or error}") from None
