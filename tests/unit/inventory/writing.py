"""Writes domain files as a careful person would: in one go, and readable by root alone."""

from __future__ import annotations

import os
from pathlib import Path


def write(path: Path, text: str) -> None:
    """Write *text* to *path*, by way of a file beside it that is renamed."""
    beside = path.with_name(f".{path.name}.new")
    beside.touch(0o600)
    beside.write_text(text)
    beside.rename(path)


def edit(path: Path, text: str) -> None:
    """Write *text* into the existing file at *path*, as some editors do."""
    path.touch(0o600)
    with path.open("r+") as file:
        file.truncate(0)
        file.flush()
        os.fsync(file.fileno())
        file.write(text)
