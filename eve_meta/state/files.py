"""Files that outlive a crash.

The law: a file is there as a whole or not at all, whatever fails and whenever (a full disk, a killed daemon, the
power); and once :func:`write` or :func:`remove` returns, no failure takes that back.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from eve_meta.values.problem import Problem

UNFINISHED = ".new"
"""What the name of a file ends with until it is whole."""


def make_directory(path: Path) -> None:
    """Make the directory *path*, for root alone; its parent is there.

    :raises Problem: when that is impossible, or when somebody else may write to one that is there.
    """
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        status = path.stat()
    except OSError as error:
        raise Problem(f"cannot make the directory {path}: {error.strerror}") from None
    # Not mended: what was written there meanwhile would be believed.
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Problem(
            f"others than root may write to the directory {path}: look what is in it, then chown and chmod it"
        )


def write(path: Path, content: bytes) -> None:
    """Let the file *path* be *content*, readable by root alone.

    :raises OSError: when that fails; then it is what it was before.
    """
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        unfinished.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise
    _sync_directory(path)


def remove(path: Path) -> None:
    """Let there be no file *path*.

    :raises OSError: when that fails.
    """
    path.unlink(missing_ok=True)
    _sync_directory(path)


def _sync_directory(path: Path) -> None:
    # fsync() of a file does not write down its name (fsync(2)).
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
