"""The parent's half of a worker's confinement: its user, and the empty folder that is its whole file system.

:mod:`eve_meta.web.confine` is the child's.
"""

from __future__ import annotations

import contextlib
import pwd
from collections.abc import Iterator
from pathlib import Path

from eve_meta.values.problem import Problem

USER = "eve-meta"
"""Who workers run as."""

MAKE_USER = f"useradd --system --no-create-home --shell /usr/sbin/nologin {USER}"


def find_user() -> pwd.struct_passwd:
    """Who workers run as.

    :raises Problem: when there is no such user.
    """
    try:
        return pwd.getpwnam(USER)
    except KeyError:
        raise Problem(f"there is no user {USER!r} for the workers: make it with '{MAKE_USER}'") from None


@contextlib.contextmanager
def workers_root(root: Path) -> Iterator[None]:
    """Makes the folder that is a worker's whole file system, for as long as the context lasts. Nothing is in it.

    :raises Problem: when it cannot be made, or holds something else.
    """
    try:
        try:
            # Also where it is there already: left by a daemon that died, under whatever umask it ran.
            root.mkdir(exist_ok=True)
            root.chmod(0o755)  # root's: so nobody else writes here
            if any(root.iterdir()):
                raise Problem(f"{root} is all that workers may see, but it is not empty: remove what is in it")
        except OSError as error:
            raise Problem(f"cannot make {error.filename}: {error.strerror}") from None
        yield
    finally:
        with contextlib.suppress(OSError):  # kept where something else lies in it
            root.rmdir()
