"""Text that others wrote: names of domains, command lines of processes, whatever guests and workers send.

Such text may hold control characters, escape sequences of a terminal, line breaks that forge a line of a log, and
characters that change the direction of the text around them. *Printable* is what :meth:`str.isprintable` takes: every
character but those of Unicode's categories "other" and "separator"; of the latter it takes the ASCII space alone.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


def is_printable(text: Any, limit: int) -> bool:
    """Return whether *text* is a string of 1..*limit* printable characters."""
    return isinstance(text, str) and 0 < len(text) <= limit and text.isprintable()


def escape_unprintable(text: str, *, keep: str = "") -> str:
    r"""Return *text* with each unprintable character as Python escapes it (``\n``, ``\x1b``, ``\u202e``).

    A backslash in *text* stays one, so that people read the text as it was written; the result is for people, and
    cannot be converted back.

    :param keep: unprintable characters to let through, such as the line break where *text* may be of several lines.
    """
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def to_printable_ascii(text: str) -> str:
    """Return *text* with a question mark in the place of each character that is not printable ASCII."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text)


def suggestion(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return the question whether one of *known* was meant, the nearest to *word*; "" where none is near.

    The time grows with the square of the length of *word*: whoever asks limits it.

    :param cutoff: how near one must be, from 0 to 1 (:func:`difflib.get_close_matches`).
    """
    near = difflib.get_close_matches(word, known, n=1, cutoff=cutoff)
    return f"did you mean {near[0]!r}?" if near else ""
