"""Files that outlive a crash.

The law: a file exists as a whole or not at all, whatever fails and whenever it fails (a full disk, a killed daemon, the
power); and once :func:`write` or :func:`remove` has returned, no failure undoes the change.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from eve_meta.values.problem import Problem

UNFINISHED = ".new"
"""The suffix of a file's name until the file is complete."""


def make_directory(path: Path) -> None:
    """Make the directory *path*, for root alone, unless it exists. Its parent exists.

    :raises Problem: when that is impossible, or when others than root may write to a directory that exists.
    """
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        status = path.stat()
    except OSError as error:
        raise Problem(f"cannot make the directory {path}: {error.strerror}") from None
    # Its mode is not corrected: files that others may have written into it by then would be trusted.
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Problem(
            f"others than root may write to the directory {path}: check what is in it, then chown and chmod it"
        )


def write(path: Path, content: bytes) -> None:
    """Write *content* to the file *path*, readable by root alone; an existing file is replaced.

    :raises OSError: when that fails; the file is then as it was before.
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
    """Remove the file *path*, if it exists.

    :raises OSError: when that fails.
    """
    path.unlink(missing_ok=True)
    _sync_directory(path)


def _sync_directory(path: Path) -> None:
    # fsync() of a file does not write the file's directory entry to the disk (fsync(2)).
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
