"""The parent's half of a worker's confinement: its user, and the empty folder that is its whole file system.

:mod:`eve_meta.runtime.sandbox.confine` is the child's half.
"""

from __future__ import annotations

import contextlib
import pwd
from collections.abc import Iterator
from pathlib import Path

from eve_meta.values.problem import Problem

USER = "eve-meta"
"""The name of the user that workers run as."""

MAKE_USER = f"useradd --system --no-create-home --shell /usr/sbin/nologin {USER}"
"""The command that makes this user."""


def find_user() -> pwd.struct_passwd:
    """Return the user that workers run as.

    :raises Problem: when there is no such user.
    """
    try:
        return pwd.getpwnam(USER)
    except KeyError:
        raise Problem(f"there is no user {USER!r} for the workers: make it with '{MAKE_USER}'") from None


@contextlib.contextmanager
def workers_root(root: Path) -> Iterator[None]:
    """Make the empty folder that is a worker's whole file system, for as long as the context lasts.

    :raises Problem: when the folder cannot be made, or holds something.
    """
    try:
        try:
            # Also where it exists: a daemon that died left it, and may have made it under any umask.
            root.mkdir(exist_ok=True)
            root.chmod(0o755)  # it is root's, so nobody else can write there
            if any(root.iterdir()):
                raise Problem(f"{root} is all that workers may see, but it is not empty: remove what is in it")
        except OSError as error:
            raise Problem(f"cannot make {error.filename}: {error.strerror}") from None
        yield
    finally:
        with contextlib.suppress(OSError):  # it stays where something was put into it
            root.rmdir()
