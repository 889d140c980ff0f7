"""Errors that a person can fix.

One exception stands for all that can be wrong with a command, the host or a file. Its text is a line with what is
wrong, where, and what to do, or several such lines where several things are wrong. Commands print each line after
``eve-meta: `` and exit with :attr:`Problem.status`, without a traceback. Any other exception that escapes is a defect
of eve-meta and keeps its traceback.
"""

from __future__ import annotations


class Problem(Exception):
    """Something that stops eve-meta and that its user can fix.

    :param message: one line for each thing that is wrong: what, where, what to do.
    :ivar status: the exit status of a command that ends with this error.
    """

    def __init__(self, message: str, *, status: int = 1) -> None:
        super().__init__(message)
        self.status = status
