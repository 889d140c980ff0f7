"""The ids that confined processes run as: each runs as a user and a group that nobody else is.

The ids have no name and no line in ``/etc/passwd``, and need none: nothing looks them up, and no file belongs to them.
Processes that share a user could signal, limit and slow down each other.
"""

from __future__ import annotations

import contextlib
import grp
import pwd
from pathlib import Path

from eve_meta.values.problem import Problem

FIRST = 2_100_000_000
"""The first id that is tried. No range that systemd (UIDS-GIDS.md), Debian (policy 9.2.2), shadow's subordinate ids
(100,000 to 600,100,000), container managers (up to 1,879,048,191), OpenShift (from 1,000,000,000 on) or sssd (200,000
to 2,000,200,000) hand out reaches so far, and systemd's next begins at 2,147,352,576."""

BLOCK = 128
"""Ids of one daemon: of 64 workers at most (:data:`eve_meta.config.MAX_WORKERS`) and of its reader."""

BLOCKS = 256

_PROC = Path("/proc")
_SUBORDINATE = (Path("/etc/subuid"), Path("/etc/subgid"))
_MAPS = ("uid_map", "gid_map")


def find_ids(count: int) -> range:
    """Return *count* ids, :data:`BLOCK` at most, that no process, user, group or subordinate range of this host has.

    A daemon that runs beside this one, or ended a moment ago and whose workers still do, has another block.

    :raises Problem: when there are none, as within a user namespace that has ids up to 65,535 only.
    """
    if not all(map(_maps, _MAPS)):
        raise Problem(
            f"confined processes need user and group ids from {FIRST} on, which this container's user namespace lacks: "
            "run eve-meta outside of it"
        )
    running = _running()
    for first in range(FIRST, FIRST + BLOCKS * BLOCK, BLOCK):
        block = range(first, first + BLOCK)
        if not (any(each in block for each in running) or _is_subordinate(block) or any(map(_has_name, block[:count]))):
            return block[:count]
    raise Problem(f"confined processes need user and group ids that nobody else has; all from {FIRST} on are in use")


def _running() -> set[int]:
    found: set[int] = set()
    for process in _PROC.iterdir():
        if process.name.isdecimal():
            with contextlib.suppress(OSError):  # it has ended
                # The owner of the folder is root where a process gave its privileges up, so its status is read. Its
                # name, which is in there, may be any bytes.
                status = (process / "status").read_text(errors="replace")
                if "\nState:\tZ" in status:
                    continue  # it has ended, and its parent has not noticed yet
                for line in status.split("\n"):
                    if line.startswith(("Uid:", "Gid:")):
                        found.update(map(int, line.split()[1:]))
    return found


def _is_subordinate(block: range) -> bool:
    for path in _SUBORDINATE:
        with contextlib.suppress(FileNotFoundError):
            for line in path.read_text(errors="replace").splitlines():
                _, first, count, *_ = (*line.split(":"), "", "", "")
                if first.isdecimal() and count.isdecimal():
                    begin = int(first)
                    if begin < block.stop and block.start < begin + int(count):
                        return True
    return False


def _has_name(number: int) -> bool:
    # By way of NSS: a directory service may have it.
    with contextlib.suppress(KeyError):
        pwd.getpwuid(number)
        return True
    with contextlib.suppress(KeyError):
        grp.getgrgid(number)
        return True
    return False


def _maps(name: str) -> bool:
    """Return whether this process's user namespace has all ids that may be chosen."""
    last = FIRST + BLOCKS * BLOCK
    lines = (_PROC / "self" / name).read_text().splitlines()
    ranges = [(int(first), int(first) + int(count)) for first, _, count in map(str.split, lines)]
    return any(begin <= FIRST and last <= end for begin, end in ranges)
