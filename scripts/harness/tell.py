"""What the lab tells the user."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def say(message: str) -> None:
    """Tell the user."""
    print(f"lab: {message}", flush=True)


def columns(rows: Sequence[Sequence[str]], align: Callable[[str, int], str] = str.ljust) -> list[str]:
    """The lines of a table, with its columns aligned; numbers by ``str.rjust``."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(align, row, widths)).rstrip() for row in rows]
