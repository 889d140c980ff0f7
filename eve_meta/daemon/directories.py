"""The daemon's directories, each held by one daemon at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from eve_meta.values.problem import Problem


@contextlib.contextmanager
def held(directory: Path, key: str) -> Iterator[None]:
    """Keep other daemons from *directory* for as long as the context lasts.

    :param key: the key of ``[paths]`` that names the directory.
    :raises Problem: when another daemon holds it.
    """
    lock = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Problem(
                f"another eve-meta runs with the directory {directory}: stop it, or give this one another [paths] {key}"
            ) from None
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def run_directory(path: Path) -> Iterator[None]:
    """Make and hold the run directory *path* for as long as the context lasts; then remove it, if it is empty.

    :raises Problem: when it cannot be made, or another daemon holds it.
    """
    try:
        # It may exist: systemd's RuntimeDirectory= makes it, or a daemon that died left it. 0711: workers pass through.
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            path.chmod(0o711)
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    except OSError as error:
        raise Problem(f"cannot make the directory {path}: {error.strerror}") from None
    # Held, because a second daemon that gives up would remove the workers' root in it.
    with held(path, "run"):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # it stays where it holds anything else
                path.rmdir()
