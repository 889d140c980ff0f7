"""Which QEMU process is behind a tap: what ``/proc`` says.

A process that holds a tap's tun file descriptor has the line ``iff: NAME`` in its ``fdinfo``; a QEMU's ``-uuid`` and
``-name`` are in its ``cmdline``. Three things keep this from being somebody else's word:

* Anyone may call a program ``qemu-x`` and give it any ``-uuid``. What a process says of itself counts only when root or
  a user that runs nothing but QEMU started it.
* A process can overwrite its own command line, so a QEMU that its guest has taken over could take another's identity.
  Therefore the identity of a process is read once in its life, and one that several processes claim counts for none of
  them (see ``inventory/tap_domains.py``).
* libvirt and QEMU's bridge helper open a tap and hand it to QEMU a moment later, which nothing announces. A tap that
  such a giver holds, or a QEMU of which one cannot tell who it is, is withheld: what comes next may be any domain.

Whatever else holds a tap, say another hypervisor, says nothing about it.
"""

from __future__ import annotations

import os
import pwd
import re
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import suppress
from enum import Enum
from itertools import islice, pairwise
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from attrs import define, field, frozen

from eve_meta.inventory.qemu.options import options

T = TypeVar("T")

MAX_CMDLINE = 256 * 1024
"""Bytes of a command line that are read; of a longer one nothing counts, since the rest might contradict it. libvirt's
longest, with hundreds of devices, have some 50 KB."""

STEP = 200
"""File descriptors that are looked at before others get their turn: half a millisecond's worth."""

MAX_UNTRUSTED = 2000
"""File descriptors that are looked at in one scan for a user who is not trusted: those of a dozen QEMUs, but not what
RLIMIT_NOFILE and RLIMIT_NPROC together allow, which would take seconds. A user who has more of them only hides who is
behind taps of his own."""

QEMU_USERS = ("libvirt-qemu", "qemu")
"""Users whose processes are trusted as root's are: as them libvirt runs QEMU, on Debian, Ubuntu and Arch and on Fedora,
RHEL and SUSE, and nobody logs in as one of them."""

GIVERS = frozenset(
    {
        "libvirtd",
        "virtqemud",  # libvirt's QEMU driver where each driver is a daemon
        "virt-qemu-run",  # … and where it is no daemon
        "qemu-bridge-helper",
        "incusd",
        "lxd",
    }
)
"""Programs that open taps for a QEMU. Not virtnetworkd: it makes bridges."""

_QEMU = ("qemu", "kvm")
_IFF = re.compile(r"^iff:\t(.+)$", re.MULTILINE)
_UIDS = re.compile(r"^Uid:\t(\d+)\t(\d+)\t(\d+)\t(\d+)$", re.MULTILINE)
# As QEMU reads it (util/uuid.c). Python's UUID() also takes braces, a URN and no dashes.
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\Z")


@frozen(kw_only=True)
class Owner:
    """The process behind a tap.

    :ivar pid: its process id, and
    :ivar start: when it started, in clock ticks since boot. No two processes have both in common.
    :ivar uuid: its ``-uuid``, which the guest sees as its DMI system-uuid.
    :ivar name: its ``-name``.
    :ivar uid: the user who started it.
    :ivar trusted: whether what it says of itself may give its tap a domain. If not, it can only lose it one.
    """

    pid: int
    start: int
    uuid: UUID | None = None
    name: str | None = None
    uid: int = 0
    trusted: bool = True


@define
class Look:
    """What a scan found.

    :ivar owners: the process behind each tap that has one.
    :ivar withheld: the taps of which one cannot say yet whose they are, or at all, and why.
    """

    owners: dict[str, Owner] = field(factory=dict)
    withheld: dict[str, str] = field(factory=dict)


class _Kind(Enum):
    GIVER = "giver"
    QEMU = "QEMU"


@frozen
class _Process:
    """What one must know of a process before its descriptors, and what must be the same after them."""

    pid: int
    start: int
    program: str
    uids: tuple[int, ...]


@frozen
class _Holder:
    """A process that holds a tap; *owner* is None for a giver and for one that cannot be told."""

    process: _Process
    kind: _Kind
    owner: Owner | None

    def __str__(self) -> str:
        return f"{self.process.program} process {self.process.pid}"


def trusted_uids() -> frozenset[int]:
    """The users whose QEMU processes say who they are."""
    uids = {0}
    for name in QEMU_USERS:
        with suppress(KeyError):  # another distribution's, or no libvirt here
            uids.add(pwd.getpwnam(name).pw_uid)
    return frozenset(uids)


class ProcessTable:
    """The QEMU processes of this network namespace.

    :param proc: where procfs is mounted.
    :param trusted: the users whose QEMU processes say who they are.
    """

    def __init__(self, proc: Path, trusted: Collection[int] | None = None) -> None:
        self._proc = proc
        self._trusted = frozenset(trusted_uids() if trusted is None else trusted)
        # A tap's name means nothing in another network namespace: QEMU in a container may hold another "tap0".
        self._netns = os.readlink(proc / "self/ns/net")

    def scan(self, taps: Collection[str]) -> Look:
        """Who is behind each of *taps*."""
        look = Look()
        for _ in self.steps(taps, {}, look):
            pass
        return look

    def steps(self, taps: Collection[str], known: Mapping[tuple[int, int], Owner], look: Look) -> Iterator[None]:
        """:meth:`scan` in short steps. After the last, *look* has the result.

        :param known: owners that were found before, by pid and start; their command lines are not read again.
        """
        holders: dict[str, list[_Holder]] = {}
        spent: Counter[int] = Counter()
        # A giver closes a tap only when QEMU has it. So whoever got one from a giver that was seen without it, has it
        # already, and is among the processes that are listed from then on.
        for kind in _Kind:
            for pid in filter(str.isdecimal, os.listdir(self._proc)):
                with suppress(OSError, ValueError):  # it has ended, or is not ours to look at
                    held, holder = yield from self._look(int(pid), kind, taps, known, spent)
                    for tap in held:
                        holders.setdefault(tap, []).append(holder)
                yield
        for tap, of_tap in holders.items():
            found = self._decide(of_tap)
            if isinstance(found, Owner):
                look.owners[tap] = found
            elif found is not None:
                look.withheld[tap] = found

    def holders(self, taps: Collection[str]) -> list[int]:
        """The QEMU processes that hold one of *taps*, also those that say nothing of themselves."""
        found = []
        for pid in filter(str.isdecimal, os.listdir(self._proc)):
            base = self._proc / pid
            with suppress(OSError):
                if _kind(_program(base)) is _Kind.QEMU and os.readlink(base / "ns/net") == self._netns:
                    held, _ = _at_once(_held(base, MAX_UNTRUSTED))
                    if not held.isdisjoint(taps):
                        found.append(int(pid))
        return found

    def program(self, pid: int) -> str:
        """The name of the program that the process *pid* runs.

        :raises OSError: when there is none.
        """
        return _program(self._proc / str(pid))

    def start_of(self, pid: int) -> int:
        """When the process *pid* started, in clock ticks since boot.

        :raises OSError: when there is none.
        """
        stat = (self._proc / str(pid) / "stat").read_bytes()
        # Field 22 (proc_pid_stat(5)), counted after field 2, a name that may hold spaces and parentheses itself.
        return int(stat[stat.rindex(b")") + 2 :].split()[19])

    def _decide(self, holders: list[_Holder]) -> Owner | str | None:
        """Whose a tap is that *holders* hold, or why it is withheld, or None: they say nothing about it."""
        qemus = [holder for holder in holders if holder.kind is _Kind.QEMU]
        # Before the others: where a user may open the tap that a trusted QEMU has, he must not take it from that.
        for group in ([each for each in qemus if self._trusts(each.process)], qemus):
            if len(group) > 1:
                # A tap with several queues; which of the processes a packet came from, nobody knows.
                return " and ".join(map(str, group)) + " hold it at a time"
            if group:
                return group[0].owner or f"one cannot tell who {group[0]} is"
        return f"{holders[0]} holds it and has handed it to no QEMU yet"

    def _trusts(self, process: _Process) -> bool:
        # All of them, the real one too: a user can start a set-uid program with a tap of his own open, give it what
        # arguments he likes, and stop it before it has looked at them.
        return self._trusted.issuperset(process.uids)

    def _process(self, pid: int) -> _Process:
        base = self._proc / str(pid)
        uids = _UIDS.search((base / "status").read_text(errors="replace"))
        if uids is None:
            raise ValueError("no users in the status of a process")
        return _Process(pid, self.start_of(pid), _program(base), tuple(map(int, uids.groups())))

    def _look(
        self,
        pid: int,
        kind: _Kind,
        taps: Collection[str],
        known: Mapping[tuple[int, int], Owner],
        spent: Counter[int],
    ) -> Generator[None, None, tuple[set[str], _Holder]]:
        """Which of *taps* a process holds that is one of *kind*, and who it is.

        :raises ValueError: when there is nothing to say of it.
        """
        base = self._proc / str(pid)
        if _kind(_program(base)) is not kind or os.readlink(base / "ns/net") != self._netns:
            raise ValueError("not one of those that are looked for")
        process = self._process(pid)
        trusted, user = self._trusts(process), process.uids[0]
        held, count = yield from _held(base, None if trusted else max(0, MAX_UNTRUSTED - spent[user]))
        spent[user] += count
        held &= set(taps)
        owner = None
        if held and kind is _Kind.QEMU:
            owner = known.get((pid, process.start))
            if owner is None:
                with open(base / "cmdline", "rb") as file:
                    told = identity(file.read(MAX_CMDLINE + 1))
                if told is not None:
                    owner = Owner(pid=pid, start=process.start, uuid=told[0], name=told[1], uid=user, trusted=trusted)
            # Meanwhile it may have ended and another have got its id, or it may run another program as another user.
            if self._process(pid) != process:
                owner = None
            elif owner is not None and owner.uuid is None and owner.name is None:
                raise ValueError("started by hand: it says nothing, and never will")
        return held, _Holder(process, kind, owner)


def _program(base: Path) -> str:
    try:
        # Not the name in comm first: "-name process=…" sets that.
        program = os.path.basename(os.readlink(base / "exe"))
    except PermissionError:
        program = (base / "comm").read_text().rstrip("\n")
    # NixOS wraps it as ".qemu-system-x86_64-wrapped"; a package that was upgraded leaves "libvirtd (deleted)".
    return program.removesuffix(" (deleted)").removeprefix(".").removesuffix("-wrapped")


def _kind(program: str) -> _Kind | None:
    if program in GIVERS:
        return _Kind.GIVER
    return _Kind.QEMU if program.startswith(_QEMU) else None


def _held(base: Path, limit: int | None) -> Generator[None, None, tuple[set[str], int]]:
    """The taps that a process holds, as far as its first *limit* descriptors say, and how many those were."""
    taps: set[str] = set()
    count = 0
    with os.scandir(base / "fd") as entries:
        for entry in islice(entries, limit):
            count += 1
            if not count % STEP:
                yield
            try:
                # The link of a descriptor is read several times as fast as its fdinfo.
                if "net/tun" in os.readlink(entry.path):
                    match = _IFF.search((base / "fdinfo" / entry.name).read_text())
                    if match:
                        taps.add(match[1])
            except FileNotFoundError:
                pass  # closed meanwhile, which says nothing about the others
    return taps, count


def _at_once(steps: Generator[None, None, T]) -> T:
    """The result of *steps*, without letting others have their turn."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def identity(cmdline: bytes) -> tuple[UUID | None, str | None] | None:
    """The ``-uuid`` and ``-name`` of QEMU's command line, arguments ended by NUL as procfs has it.

    Of an option that is given twice QEMU takes the last. But the argument of another option, say the guest's kernel
    command line after ``-append``, may look like one; so where two differ, the result is None: one cannot tell. That
    is not the same as a QEMU which was given neither.
    """
    uuids: set[UUID] = set()
    names: set[str] = set()
    if not cmdline or len(cmdline) > MAX_CMDLINE:
        return None  # empty: it has just ended
    # surrogateescape: a name that is no UTF-8 equals no domain's.
    arguments = cmdline.decode(errors="surrogateescape").split("\0")
    for option, value in pairwise(arguments):
        if option in ("-uuid", "--uuid") and _UUID.match(value):
            uuids.add(UUID(value))
        elif option in ("-name", "--name") and (name := options(value, "guest").get("guest")):
            names.add(name)
    if len(uuids) > 1 or len(names) > 1:
        return None
    return next(iter(uuids), None), next(iter(names), None)
