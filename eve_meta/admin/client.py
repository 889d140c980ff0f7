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
"""Seconds that the daemon has to answer."""


class NotRunning(Problem):
    """No daemon is there to be asked."""


def ask(path: Path, question: Question[T], **arguments: str) -> T:
    """Ask the daemon that listens on *path*, and return its answer.

    :param arguments: those of the question's parameters.

    :raises NotRunning: when none listens there.
    :raises Problem: when this user may not ask, it does not answer, or says that it cannot.
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
    found: T = answer["answer"]
    return found


def follow(path: Path) -> Iterator[dict[str, Any]]:
    """The latest events, and then each as it happens, as :attr:`eve_meta.supervisor.events.Event.plain` has them.

    :raises NotRunning: when no daemon listens on *path*.
    :raises Problem: when this user may not ask, or when the daemon ends or cuts off who reads too slowly.
    """
    with _asked(path, FOLLOW) as connection, connection.makefile("rb") as events:
        connection.settimeout(None)
        for line in events:
            yield json.loads(line)
    raise Problem(f"the daemon on {path} tells no more: it ended, or this was read too slowly")


@contextlib.contextmanager
def _asked(path: Path, question: Question[Any], **arguments: str) -> Iterator[socket.socket]:
    """A connection on which *question* was asked; what goes wrong with it is a :class:`Problem`."""
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
            raise Problem(f"the daemon on {path} did not answer within {TIMEOUT:.0f} s; its log may say why") from None
        except OSError as error:
            raise Problem(f"cannot ask the daemon on {path}: {error.strerror or error}") from None
