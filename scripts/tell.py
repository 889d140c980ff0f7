"""What the lab tells the user."""

from __future__ import annotations

from collections.abc import Sequence


def say(message: str) -> None:
    """Tell the user."""
    print(f"lab: {message}", flush=True)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, with its columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
