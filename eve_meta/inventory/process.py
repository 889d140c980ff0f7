"""Which QEMU process is behind a tap: what ``/proc`` says.

A process that holds a tap's tun file descriptor has the line ``iff: NAME`` in its ``fdinfo``; its ``-uuid`` and
``-name`` are in its ``cmdline``. A process can overwrite its own command line, so a QEMU that its guest has taken over
could take another's identity. Therefore the identity of a process is read once in its life, and one that several
processes claim counts for none of them (see ``join.py``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from uuid import UUID

from attrs import frozen

MAX_CMDLINE = 256 * 1024
"""Bytes of a command line that are looked at. libvirt's longest, with hundreds of devices, have some 50 KB."""

_QEMU = ("qemu", "kvm")
_IFF = re.compile(r"^iff:\t(.+)$", re.MULTILINE)
# As QEMU reads it (util/uuid.c). Python's UUID() also takes braces, a URN and no dashes.
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\Z")


@frozen(kw_only=True)
class Owner:
    """The process behind a tap.

    :ivar pid: its process id, and
    :ivar start: when it started, in clock ticks since boot. No two processes have both in common.
    :ivar uuid: its ``-uuid``, which the guest sees as its DMI system-uuid.
    :ivar name: its ``-name``.
    """

    pid: int
    start: int
    uuid: UUID | None = None
    name: str | None = None


class ProcessTable:
    """The QEMU processes of this network namespace.

    :param proc: where procfs is mounted.
    """

    def __init__(self, proc: Path) -> None:
        self._proc = proc
        # A tap's name means nothing in another network namespace: QEMU in a container may hold another "tap0".
        self._netns = os.readlink(proc / "self/ns/net")

    def scan(self, taps: Collection[str]) -> dict[str, Owner]:
        """The owner of each of *taps* that has one."""
        found: dict[str, Owner] = {}
        for _ in self.steps(taps, {}, found):
            pass
        return found

    def steps(
        self, taps: Collection[str], known: Mapping[tuple[int, int], Owner], found: dict[str, Owner]
    ) -> Iterator[None]:
        """:meth:`scan` in steps of a process each. After the last, *found* has the result.

        :param known: owners that were found before, by pid and start; their command lines are not read again.
        """
        holders: dict[str, set[Owner]] = {}
        for pid in filter(str.isdecimal, os.listdir(self._proc)):
            try:
                for tap, owner in self._look(pid, taps, known):
                    holders.setdefault(tap, set()).add(owner)
            except (OSError, ValueError):
                pass  # it has ended, or is not ours to look at
            yield
        # A tap with several queues may be open in two processes; which of them a packet came from, nobody knows.
        found |= {tap: owner for tap, (owner, *others) in holders.items() if not others}

    def start_of(self, pid: int) -> int:
        """When the process *pid* started, in clock ticks since boot.

        :raises OSError: when there is none.
        """
        stat = (self._proc / str(pid) / "stat").read_bytes()
        # Field 22 (proc_pid_stat(5)), counted after field 2, a name that may hold spaces and parentheses itself.
        return int(stat[stat.rindex(b")") + 2 :].split()[19])

    def _look(self, pid: str, taps: Collection[str], known: Mapping[tuple[int, int], Owner]) -> list[tuple[str, Owner]]:
        base = self._proc / pid
        if not _is_qemu(base) or os.readlink(base / "ns/net") != self._netns:
            return []
        start = self.start_of(int(pid))
        held = [tap for tap in _held(base) if tap in taps]
        if not held:
            return []
        owner = known.get((int(pid), start))
        if owner is None:
            with open(base / "cmdline", "rb") as file:
                uuid, name = identity(file.read(MAX_CMDLINE))
            owner = Owner(pid=int(pid), start=start, uuid=uuid, name=name)
        # Between two of these reads the process may have ended and another have got its id. And without an identity
        # it is a helper (qemu-bridge-helper opens the tap and hands it over).
        if self.start_of(int(pid)) != start or (owner.uuid is None and owner.name is None):
            return []
        return [(tap, owner) for tap in held]


def _is_qemu(base: Path) -> bool:
    try:
        # Not the name in comm first: "-name process=…" sets that.
        program = os.path.basename(os.readlink(base / "exe"))
    except PermissionError:
        program = (base / "comm").read_text()
    return program.lstrip(".").startswith(_QEMU)  # NixOS wraps it as ".qemu-system-x86_64-wrapped"


def _held(base: Path) -> set[str]:
    fds = f"{base}/fd"
    # A QEMU has dozens of descriptors: reading the link of each is several times as fast as reading its fdinfo.
    tuns = [fd for fd in os.listdir(fds) if "net/tun" in os.readlink(f"{fds}/{fd}")]
    found = (_IFF.search(Path(f"{base}/fdinfo/{fd}").read_text()) for fd in tuns)
    return {match[1] for match in found if match}


def identity(cmdline: bytes) -> tuple[UUID | None, str | None]:
    """The ``-uuid`` and ``-name`` of QEMU's command line, arguments ended by NUL as procfs has it.

    Of an option that is given twice QEMU takes the last. But the argument of another option, say the guest's kernel
    command line after ``-append``, may look like one; so two that differ make the identity unknown.
    """
    uuids: set[UUID] = set()
    names: set[str] = set()
    # surrogateescape: a name that is no UTF-8 equals no domain's.
    arguments = cmdline.decode(errors="surrogateescape").split("\0")
    for option, value in pairwise(arguments):
        if option in ("-uuid", "--uuid") and _UUID.match(value):
            uuids.add(UUID(value))
        elif option in ("-name", "--name") and (name := _guest_name(value)):
            names.add(name)
    if len(uuids) > 1 or len(names) > 1:
        return None, None
    return next(iter(uuids), None), next(iter(names), None)


def _guest_name(value: str) -> str:
    # "web1", "web1,process=x", "guest=web1,debug-threads=on"; a comma in the name is written twice (qemu-options.hx).
    name = ""
    for index, part in enumerate(value.replace(",,", "\0").split(",")):
        key, equals, text = part.replace("\0", ",").partition("=")
        if equals and key == "guest":
            name = text
        elif index == 0 and not equals:
            name = key
    return name
