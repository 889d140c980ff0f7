"""Reads what ``/proc`` shows of one process; each function is given the process's directory there.

All of them raise OSError when the process has ended, or may not be examined.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from itertools import islice
from pathlib import Path

MAX_CMDLINE = 256 * 1024
"""The most bytes of a command line. A longer one counts as unknown, since what was not read might contradict the rest.
libvirt's longest, with hundreds of devices, have some 50 KB."""

STEP = 200
"""File descriptors that are examined in one step: half a millisecond's worth."""

_IFF = re.compile(r"^iff:\t(.+)$", re.MULTILINE)
_UIDS = re.compile(r"^Uid:\t(\d+)\t(\d+)\t(\d+)\t(\d+)$", re.MULTILINE)


def program_of(process: Path) -> str:
    """Return the name of the program that a process runs."""
    try:
        # comm is second choice: "-name process=…" sets it, and it has 15 characters at most.
        program = os.path.basename(os.readlink(process / "exe"))
    except PermissionError:
        program = (process / "comm").read_text().rstrip("\n")
    # NixOS wraps programs, as ".qemu-system-x86_64-wrapped". The upgrade of a package leaves "libvirtd (deleted)".
    return program.removesuffix(" (deleted)").removeprefix(".").removesuffix("-wrapped")


def start_of(process: Path) -> int:
    """Return when a process started, in clock ticks since boot."""
    stat = (process / "stat").read_bytes()
    # Field 22 (proc_pid_stat(5)), counted after field 2, a name that may hold spaces and parentheses itself.
    return int(stat[stat.rindex(b")") + 2 :].split()[19])


def users_of(process: Path) -> tuple[int, ...]:
    """Return the real, the effective, the saved and the file system user of a process."""
    uids = _UIDS.search((process / "status").read_text(errors="replace"))
    if uids is None:
        raise ValueError("the status of the process names no users")
    return tuple(map(int, uids.groups()))


def command_line_of(process: Path) -> bytes:
    """Return the command line of a process, each argument ended by NUL; more than :data:`MAX_CMDLINE` if too long."""
    with open(process / "cmdline", "rb") as file:
        return file.read(MAX_CMDLINE + 1)


def arguments_of(process: Path) -> list[str]:
    """Return the arguments of a process, its program the first; the end is left out if they are too long."""
    return split(command_line_of(process)[:MAX_CMDLINE])


def split(command_line: bytes) -> list[str]:
    """Return the arguments of a command line that :func:`command_line_of` returned."""
    # surrogateescape: a name that is not UTF-8 equals no domain's name.
    return command_line.decode(errors="surrogateescape").split("\0")[:-1]


def held_taps(process: Path, limit: int | None) -> Generator[None, None, tuple[dict[int, str], int]]:
    """Return the taps among the first *limit* descriptors of a process, and how many descriptors those were.

    It takes a step for each :data:`STEP` of them.
    """
    taps: dict[int, str] = {}
    count = 0
    with os.scandir(process / "fd") as entries:
        for entry in islice(entries, limit):
            count += 1
            if not count % STEP:
                yield
            try:
                # The link of a descriptor is read several times as fast as its fdinfo.
                if "net/tun" in os.readlink(entry.path):
                    match = _IFF.search((process / "fdinfo" / entry.name).read_text())
                    if match:
                        taps[int(entry.name)] = match[1]
            except FileNotFoundError:
                pass  # closed by now; the other descriptors count all the same
    return taps, count


def taps_of(process: Path, limit: int) -> dict[int, str]:
    """Return the taps among the first *limit* descriptors of a process, by the number of the descriptor, at once."""
    steps = held_taps(process, limit)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            taps: dict[int, str] = end.value[0]
            return taps
