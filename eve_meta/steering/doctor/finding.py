"""The result of a check."""

from __future__ import annotations

import enum

from attrs import frozen


class State(enum.Enum):
    """How grave a finding is: *WARNING* may do harm; with *WRONG*, guests get no metadata."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


@frozen
class Finding:
    """The result of the check called *check*.

    :ivar mend: the one command that helps, or an instruction in words where none does; empty only where *state* is OK.
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
