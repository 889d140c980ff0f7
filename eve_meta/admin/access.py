"""Who may ask what on an admin socket, and how much of the daemon they may take.

There are two sockets. Root's answers every question. The other one is for *operators*, the members of a group: it
answers the questions that neither show a secret nor change anything. Operators count as hostile, too: whoever asks
without end, never reads, or opens connections without number takes a bounded share of the daemon's time, memory and
descriptors, and nothing from root's socket.
"""

from __future__ import annotations

import grp
from collections.abc import Set

from attrs import frozen

from eve_meta.admin.questions import ANSWERED, FOLLOW, OPERATORS_QUESTIONS, Question


@frozen(kw_only=True)
class Access:
    """The questions and the limits of one socket.

    :ivar questions: the names of the questions that it answers.
    :ivar connections: the most connections at a time.
    :ivar of_one_user: the most connections of one user at a time; None for as many as there may be at all.
    :ivar rate: new connections a second.
    :ivar question_time: seconds within which the question has to arrive.
    :ivar reading_time: seconds within which the answer has to be read.
    :ivar one_at_a_time: whether a question waits for the one before, and for a rest (:mod:`eve_meta.admin.queue`).
    """

    questions: Set[str]
    connections: int
    of_one_user: int | None
    rate: float
    question_time: float
    reading_time: float
    one_at_a_time: bool


def _names(*questions: Question[object]) -> frozenset[str]:
    return frozenset(question.name for question in questions)


ROOT = Access(
    questions=_names(*ANSWERED, FOLLOW),
    # Root's own programs may have defects, too, and each connection takes a descriptor.
    connections=128,
    of_one_user=None,
    rate=1000.0,
    question_time=10.0,
    reading_time=60.0,
    one_at_a_time=False,
)

OPERATORS = Access(
    questions=_names(*OPERATORS_QUESTIONS),
    connections=32,
    # A few programs that follow the events, and as many commands at once.
    of_one_user=8,
    rate=50.0,
    question_time=5.0,
    # A command reads at once; meanwhile all other operators wait.
    reading_time=2.0,
    one_at_a_time=True,
)


def group_id(name: str) -> int | None:
    """Return the id of the group *name*, None where this host has none of that name."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None
