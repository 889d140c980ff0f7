"""Errors that a person can mend.

One class for everything that the user, the host or a file can get wrong. Its text is one line that says what is wrong,
where, and what to do; commands print it after ``eve-meta: `` and exit with :attr:`Problem.status`, without a traceback.
Anything else that escapes is a defect of eve-meta and keeps its traceback.
"""

from __future__ import annotations


class Problem(Exception):
    """Something that eve-meta cannot go on with and that its user can mend.

    :param message: one line: what is wrong, where, what to do.
    :param status: the exit status of a command that ends with it.
    """

    def __init__(self, message: str, *, status: int = 1) -> None:
        super().__init__(message)
        self.status = status
