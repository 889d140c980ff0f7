"""The lab's messages to people."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def say(message: str) -> None:
    """Print a message."""
    print(f"lab: {message}", flush=True)


def columns(rows: Sequence[Sequence[str]], align: Callable[[str, int], str] = str.ljust) -> list[str]:
    """Return the lines of a table with its columns aligned, by ``str.rjust`` for numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(align, row, widths)).rstrip() for row in rows]
