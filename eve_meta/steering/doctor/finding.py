"""What a check comes to."""

from __future__ import annotations

import enum

from attrs import frozen


class State(enum.Enum):
    """How it is: *WARNING* may do harm, with *WRONG* guests get no metadata."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


@frozen
class Finding:
    """What the check called *check* found.

    :ivar mend: the one command, or where there is none the words, that help; empty only where all is well.
    """

    check: str
    state: State
    text: str
    mend: str = ""


def ok(check: str, text: str) -> Finding:
    return Finding(check, State.OK, text)


def warning(check: str, text: str, mend: str) -> Finding:
    return Finding(check, State.WARNING, text, mend)


def wrong(check: str, text: str, mend: str) -> Finding:
    return Finding(check, State.WRONG, text, mend)
