"""Errors that a person can mend.

One class for everything that the user, the host or a file can get wrong. Its text is a line that says what is wrong,
where, and what to do, or several such lines where several things are wrong; commands print each after ``eve-meta: ``
and exit with :attr:`Problem.status`, without a traceback. Anything else that escapes
is a defect of eve-meta and keeps its traceback.
"""

from __future__ import annotations


class Problem(Exception):
    """Something that eve-meta cannot go on with and that its user can mend.

    :param message: what is wrong, where, what to do: one line, or one for each thing that is wrong.
    :param status: the exit status of a command that ends with it.
    """

    def __init__(self, message: str, *, status: int = 1) -> None:
        super().__init__(message)
        self.status = status
