"""The empty folder that is a confined process's whole file system; its parent makes it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from eve_meta.values.problem import Problem


@contextlib.contextmanager
def empty_folder(root: Path) -> Iterator[None]:
    """Make the empty folder that is the whole file system of confined processes, for as long as the context lasts.

    :raises Problem: when the folder cannot be made, or holds something.
    """
    try:
        try:
            # Also where it exists: a daemon that died left it, and may have made it under any umask.
            root.mkdir(exist_ok=True)
            root.chmod(0o755)  # it is root's, so nobody else can write there
            if any(root.iterdir()):
                raise Problem(
                    f"{root} is all that confined processes may see, but it is not empty: remove what is in it"
                )
        except OSError as error:
            raise Problem(f"cannot make {error.filename}: {error.strerror}") from None
        yield
    finally:
        with contextlib.suppress(OSError):  # it stays where something was put into it
            root.rmdir()
