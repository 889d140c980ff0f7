"""What ``eve-meta serve`` would refuse of a configuration that is valid in itself, found without starting anything."""

from __future__ import annotations

import contextlib
import socket
import stat
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from eve_meta.config import AUTO, Config, split_address
from eve_meta.inventory.libvirt.connection import MISSING


def refusals(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the key and the message of each thing that *config* names and this host does not have."""
    if config.inventory.libvirt not in ("", AUTO) and find_spec("libvirt") is None:
        yield "inventory.libvirt", MISSING
    for key, directory in (("run", config.paths.run), ("state", config.paths.state)):
        if (why := _no_directory(directory)) is not None:
            yield f"paths.{key}", why
    # The daemon makes its run directory before the socket.
    if config.admin.socket.parent != config.paths.run and not config.admin.socket.parent.is_dir():
        yield "admin.socket", f"expected a path in a directory that exists, got {str(config.admin.socket)!r}"
    elif _is_other(config.admin.socket, stat.S_ISSOCK):
        yield "admin.socket", f"{config.admin.socket} is no socket: remove it, or name another path"
    audit = Path(config.admin.audit)
    if audit.is_absolute():
        if not audit.parent.is_dir():
            yield "admin.audit", f"expected a path in a directory that exists, got {str(audit)!r}"
        elif _is_other(audit, stat.S_ISREG):
            yield "admin.audit", f"{audit} is no file: remove it, or name another path"
    if (address := split_address(config.admin.metrics)) is not None and not _is_of_this_host(address[0]):
        yield "admin.metrics", f"expected an address of this host, got {address[0]!r}, on which it cannot listen"


def _no_directory(path: Path) -> str | None:
    """Return why *path* is no directory for the daemon, and cannot become one; None where it is or can."""
    with contextlib.suppress(OSError):
        if path.exists():
            return None if path.is_dir() else f"{path} is no directory: remove it, or name another path"
        if not path.parent.is_dir():
            return f"expected a path in a directory that exists, got {str(path)!r}"
    return None  # this user may not look there


def _is_other(path: Path, kind: Callable[[int], bool]) -> bool:
    """Return whether there is something at *path*, and *kind*, a function of the module stat, denies it."""
    with contextlib.suppress(OSError):
        return not kind(path.stat().st_mode)
    return False


def _is_of_this_host(address: str) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as attempt:
        try:
            attempt.bind((address, 0))
        except OSError:
            return False
    return True
