"""The commands' end of the admin socket. Imports no Twisted: a command should start at once."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from eve_meta.errors import Problem

TIMEOUT = 10.0
"""Seconds that the daemon has to answer."""


class NotRunning(Problem):
    """No daemon is there to be asked."""


def ask(path: Path, question: str, **arguments: str) -> Any:
    """What the daemon that listens on *path* answers to *question* about *arguments*.

    :raises NotRunning: when none listens there.
    :raises Problem: when this user may not ask, it does not answer, or says that it cannot.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT)
        try:
            connection.connect(str(path))
            connection.sendall(json.dumps({"question": question, "arguments": arguments}).encode() + b"\n")
            with connection.makefile("rb") as answers:
                line = answers.readline()
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotRunning(f"no eve-meta daemon listens on {path}: start it with 'eve-meta serve'") from None
        except PermissionError:
            raise Problem(f"only root may ask the daemon on {path}") from None
        except TimeoutError:
            raise Problem(f"the daemon on {path} did not answer within {TIMEOUT:.0f} s; its log may say why") from None
        except OSError as error:
            raise Problem(f"cannot ask the daemon on {path}: {error.strerror or error}") from None
    try:
        answer = json.loads(line)
    except ValueError:
        raise Problem(f"the daemon on {path} ended while it was asked") from None
    if "problem" in answer:
        raise Problem(answer["problem"])
    if "error" in answer:
        raise Problem(f"the daemon on {path}: {answer['error']}")
    return answer["answer"]
