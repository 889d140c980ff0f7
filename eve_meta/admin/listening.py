"""The admin sockets in the file system: whose they are, and what becomes of one that an earlier daemon left."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorUNIX

from eve_meta.admin.connections import Listening
from eve_meta.admin.server import AdminFactory
from eve_meta.values.problem import Problem


@contextlib.contextmanager
def admin_socket(
    reactor: IReactorUNIX, path: Path, factory: AdminFactory, *, group: int | None = None
) -> Iterator[None]:
    """Listen on the socket *path*; remove it when the context ends.

    :param group: the group whose members may ask, too; None for root alone.
    :raises Problem: when another daemon answers there, or when that is impossible.
    """
    remove_left(path)
    try:
        with _files_of(group):
            port = reactor.listenUNIX(str(path), factory, mode=0o600 if group is None else 0o660)
    except CannotListenError as error:
        raise Problem(f"cannot listen on the admin socket {path}: {error.socketError.strerror}") from None
    factory.connections.listen(cast(Listening, port))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def remove_left(path: Path) -> None:
    """Remove the socket *path* if a daemon that died left it.

    :raises Problem: when another daemon answers there, or when that cannot be known.
    """
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise Problem(f"cannot use the admin socket {path}: {error.strerror}") from None
        else:
            raise Problem(f"another eve-meta answers on {path}: stop it, or give this one another [admin] socket")


@contextlib.contextmanager
def _files_of(group: int | None) -> Iterator[None]:
    """Let the files that are made within the context belong to *group*.

    chown() would need a capability, CAP_CHOWN, that the daemon needs for nothing else.
    """
    if group is None:
        yield
        return
    own = os.getegid()
    os.setegid(group)
    try:
        yield
    finally:
        os.setegid(own)
