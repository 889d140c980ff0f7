"""How commands show things to people, alike in all of them: colours, the width of lines, tables.

Colours are for a terminal alone. ``NO_COLOR`` (https://no-color.org) and ``TERM=dumb`` switch them off; what is written
to a file or a pipe has none.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import click

NARROW = 80
"""The columns of a line where nothing says how many there are: in a file, and to a pipe."""

WIDEST = 120
"""The most columns of a line, however wide the terminal is: longer lines are hard to read."""

GAP = "  "
"""What stands between two columns of a table."""

STYLES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "ok": {"fg": "green"},
        "wrong": {"fg": "red", "bold": True},
        "problem": {"fg": "red", "bold": True},
        "warning": {"fg": "yellow"},
        "unknown": {"fg": "yellow"},
        "→": {"bold": True},
    }
)
"""How each word that judges something is shown."""

_NO_BREAK = "\N{NO-BREAK SPACE}"


def colours() -> bool | None:
    """Return what click takes as the ``color`` of a context: False for none, None to look whether it is a terminal."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def paint(word: str, width: int = 0) -> str:
    """Return *word*, one of :data:`STYLES`, in its colour, and with spaces after it up to *width* columns.

    ``click.echo`` removes the colour where there should be none.
    """
    return click.style(word, **STYLES[word]) + " " * (width - len(word))


def width() -> int:
    """Return the columns that a line may have."""
    return min(WIDEST, shutil.get_terminal_size((NARROW, 0)).columns)


def shorten(text: str, most: int) -> str:
    """Return *text* in *most* columns at most: the middle gives way, since names often differ at their ends alone."""
    if len(text) <= most:
        return text
    end = (most - 1) // 2
    return f"{text[: most - 1 - end]}…{text[len(text) - end :]}"


def indented(text: str, columns: int) -> str:
    """Return *text* for a place that is *columns* from the left: as lines that each begin there, but for the first.

    Outside a terminal it stays one line, which ``grep`` finds, unless ``COLUMNS`` says how long a line may be.
    """
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        return text
    lines = textwrap.wrap(text, max(20, width() - columns), break_long_words=False, break_on_hyphens=False)
    return f"\n{' ' * columns}".join(lines)


def wrapped(items: Sequence[str], columns: int) -> list[str]:
    """Return the lines of *items*, with commas between them; a line ends between two items where that is possible."""
    text = ", ".join(item.replace(" ", _NO_BREAK) for item in items)
    return [line.replace(_NO_BREAK, " ") for line in textwrap.wrap(text, columns, break_on_hyphens=False)]


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, padded: bool = False) -> list[str]:
    """Return the lines of a table whose columns are aligned. Its cells have no colours.

    :param padded: whether all lines end with spaces and a gap, for a further column.
    """
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = ["".join(cell.ljust(width) + GAP for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    return lines if padded else [line.rstrip() for line in lines]
