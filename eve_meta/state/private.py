"""Makes the state directory private again, when the daemon starts.

A copy of the directory, a restored backup or a ``chmod -R`` may leave files that every user of the host can read. This
module corrects their modes, and logs that once. Files that other users may have *written* are not corrected:
:func:`eve_meta.state.files.make_directory` refuses such directories, :mod:`eve_meta.state.tokenkeys` such a secret, and
:mod:`eve_meta.state.passwords` and :mod:`eve_meta.state.host_keys` ignore the files of other users.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from twisted.logger import Logger

from eve_meta.state import files, host_keys, instance_ids, passwords, remembered, tokenkeys
from eve_meta.values.problem import Problem

FILES = (tokenkeys.FILE, remembered.PROCESSES, instance_ids.FILE)

DIRECTORIES = (passwords.DIRECTORY, host_keys.DIRECTORY)

OURS = frozenset((*FILES, *(name + files.UNFINISHED for name in FILES), *DIRECTORIES))
"""The names of everything that eve-meta keeps in its state directory."""

_log = Logger()


def open_state(path: Path) -> None:
    """Make the state directory *path*, or make the one that exists private: 0700, its files 0600.

    A directory in which other things lie as well keeps its mode, because others may need it (``[paths] state`` may name
    any directory). Our files in it become private all the same.

    :raises Problem: when that is impossible, or when others than root may write to the directory or to one in it.
    """
    files.make_directory(path)
    try:
        corrected = list(_make_private(path))
    except OSError as error:
        raise Problem(f"cannot make {error.filename or path} private: {error.strerror}") from None
    if corrected:
        _log.warn(
            "other users were allowed to read {paths}: now only root is. Whoever has read {key} can make the session "
            "tokens of guests; to be safe, remove that file and restart eve-meta",
            paths=", ".join(map(str, corrected)),
            key=path / tokenkeys.FILE,
        )


def _make_private(path: Path) -> Iterator[Path]:
    """Make everything private, from the top down; yield the paths that were not."""
    names = os.listdir(path)
    if OURS.issuperset(names) and _restrict(path, 0o700, follow=True):
        yield path
    for name in sorted(OURS.intersection(names)):
        if name not in DIRECTORIES:
            yield from _restricted(path / name)
    for directory in (path / name for name in DIRECTORIES if name in names):
        files.make_directory(directory)
        if _restrict(directory, 0o700):
            yield directory
        for name in sorted(os.listdir(directory)):
            yield from _restricted(directory / name)


def _restricted(path: Path) -> Iterator[Path]:
    if _restrict(path, 0o600):
        yield path


def _restrict(path: Path, mode: int, *, follow: bool = False) -> bool:
    """Remove the permission bits of *path* that are not in *mode*; return whether it had any.

    A file that belongs to another user, or to which others may write, stays as it is: its reader refuses it.

    :param follow: whether *path* may be a symbolic link; none of eve-meta's own files is one.
    """
    try:
        # O_NONBLOCK: a FIFO would block until somebody writes to it.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
        descriptor = os.open(path, flags)
    except OSError:
        if path.is_symlink():
            return False
        raise
    try:
        status = os.fstat(descriptor)
        bits = stat.S_IMODE(status.st_mode)
        if status.st_uid != os.geteuid() or bits & (stat.S_IWGRP | stat.S_IWOTH) or not bits & ~mode & 0o777:
            return False
        os.fchmod(descriptor, bits & mode)
    finally:
        os.close(descriptor)
    return True
