"""The commands' end of the admin sockets. Imports no Twisted: a command should start at once.

A command asks on root's socket, or, where this user may not open that, on the operators', if that answers the question.
"""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from eve_meta.admin.questions import FOLLOW, OPERATORS_QUESTIONS, Question
from eve_meta.config import read_only_socket
from eve_meta.values.problem import Problem

T = TypeVar("T")

TIMEOUT = 10.0
"""Seconds in which the daemon must answer."""


class NotRunning(Problem):
    """No daemon listens on the socket."""


class NotPermitted(Problem):
    """This user may not ask the question."""


def ask(path: Path, question: Question[T], **arguments: str) -> T:
    """Ask the daemon whose root's socket is *path*, and return its answer.

    :param arguments: one for each of the question's parameters.
    :raises NotRunning: where no daemon listens there.
    :raises NotPermitted: where this user may not ask that.
    :raises Problem: where the daemon answers with a problem or not at all.
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

    :raises NotRunning: where no daemon listens on *path*, its root's socket.
    :raises NotPermitted: where this user may not ask.
    :raises Problem: when the daemon ends, or ends the connection because this reader is too slow.
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
            try:
                connection.connect(str(path))
            except PermissionError:
                if question not in OPERATORS_QUESTIONS:
                    raise
                connection.connect(str(read_only_socket(path)))
            connection.sendall(json.dumps({"question": question.name, "arguments": arguments}).encode() + b"\n")
            yield connection
        except PermissionError:
            raise _not_permitted(path, question) from None
        except (FileNotFoundError, ConnectionRefusedError) as error:
            if isinstance(error, FileNotFoundError) and path.exists():
                raise _not_permitted(path, question) from None  # there is no operators' socket
            raise NotRunning(f"no eve-meta daemon listens on {path}: start it with 'eve-meta serve'") from None
        except TimeoutError:
            raise Problem(f"the daemon on {path} did not answer within {TIMEOUT:.0f} s: look into its log") from None
        except OSError as error:
            raise Problem(f"cannot ask the daemon on {path}: {error.strerror or error}") from None


def _not_permitted(path: Path, question: Question[Any]) -> NotPermitted:
    if question not in OPERATORS_QUESTIONS:
        return NotPermitted(f"only root may ask the daemon on {path} for that: run the command with sudo")
    try:
        group = grp.getgrgid(os.stat(read_only_socket(path)).st_gid).gr_name
    except (OSError, KeyError):
        return NotPermitted(
            f"only root may ask the daemon on {path}: run the command with sudo, or have [admin] operators name a group"
        )
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = str(os.geteuid())
    return NotPermitted(
        f"only root and the group {group} may ask the daemon on {path}: 'sudo usermod -aG {group} {user}' lets {user} "
        "ask from the next login on"
    )
