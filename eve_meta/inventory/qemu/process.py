"""Finds the QEMU process behind a tap, in ``/proc``.

A process that holds a tap's tun file descriptor has the line ``iff: NAME`` in its ``fdinfo``; a QEMU's uuid and
name are in its ``cmdline``. Three rules keep a process from passing as another:

* Any user may name a program ``qemu-x`` and give it any ``-uuid``. The claim of a process counts only if it was seen
  running as root, or as a user that runs nothing but QEMU. A QEMU that drops its privileges (``-runas``, ``-run-with
  user=``) was root's at first; once it is another user's, nothing in the kernel distinguishes it from a process that
  this user started: any user can have such a command line, parent, cgroup, open sockets and owner of the files in
  ``/proc``, and can get a tap that root opened from QEMU's set-uid bridge helper. So eve-meta remembers which processes
  were root's (:class:`eve_meta.inventory.qemu.owners.Memory`), also for the next daemon.
* A process can overwrite its own command line, so a QEMU that its guest has compromised could claim another's identity.
  Therefore the identity of a process is read once in its life, and an identity that several processes claim counts for
  none of them (see ``inventory/tap_domains.py``).
* libvirt and QEMU's bridge helper open a tap and hand it to QEMU a moment later, which nothing announces. A tap is
  withheld while such a giver holds it, or a QEMU whose identity cannot be known: its next owner may be any domain.

Any other program that holds a tap, such as another hypervisor, is no owner and withholds nothing.
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

from attrs import define, evolve, field, frozen

from eve_meta.inventory.qemu.options import options

T = TypeVar("T")

MAX_CMDLINE = 256 * 1024
"""The most bytes of a command line. A longer one counts as unknown, since what was not read might contradict the rest.
libvirt's longest, with hundreds of devices, have some 50 KB."""

STEP = 200
"""File descriptors that are examined in one step: half a millisecond's worth."""

MAX_UNTRUSTED = 2000
"""The most file descriptors of one untrusted user that one scan examines: enough for a dozen QEMUs, but not as many as
RLIMIT_NOFILE and RLIMIT_NPROC together allow, which would take seconds. A user with more descriptors only hides the
owners of the user's own taps."""

QEMU_USERS = ("libvirt-qemu", "qemu")
"""Users whose processes are trusted as root's are: libvirt runs QEMU as the first on Debian, Ubuntu and Arch, and as
the second on Fedora, RHEL and SUSE. Nobody logs in as either of them."""

GIVERS = frozenset(
    {
        "libvirtd",
        "virtqemud",  # libvirt's QEMU driver where each driver is a daemon
        "virt-qemu-run",  # … and where that driver runs without a daemon
        "qemu-bridge-helper",
        "incusd",
        "lxd",
    }
)
"""Programs that open taps for a QEMU. virtnetworkd is none of them: it makes bridges."""

_QEMU = ("qemu", "kvm")
_IFF = re.compile(r"^iff:\t(.+)$", re.MULTILINE)
_UIDS = re.compile(r"^Uid:\t(\d+)\t(\d+)\t(\d+)\t(\d+)$", re.MULTILINE)
# As QEMU reads a uuid (util/uuid.c). Python's UUID() accepts braces, a URN and missing dashes, too.
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\Z")


@frozen(kw_only=True)
class Owner:
    """The process behind a tap.

    :ivar pid: the process id.
    :ivar start: when the process started, in clock ticks since boot. No two processes have equal *pid* and *start*.
    :ivar uuid: the QEMU's ``-uuid``, or the uuid of its ``-smbios type=1``: the guest sees it as its DMI system-uuid.
    :ivar name: the QEMU's ``-name``.
    :ivar uid: the user as whom the process ran when it was first seen.
    :ivar trusted: whether uuid and name may assign a domain to the tap. Otherwise they can only take the tap's domain
        from it.
    """

    pid: int
    start: int
    uuid: UUID | None = None
    name: str | None = None
    uid: int = 0
    trusted: bool = True


@define
class Look:
    """The result of a scan.

    :ivar owners: the process behind each tap that has one.
    :ivar withheld: the taps whose owner cannot be known, now or ever, and why.
    """

    owners: dict[str, Owner] = field(factory=dict)
    withheld: dict[str, str] = field(factory=dict)


class _Kind(Enum):
    GIVER = "giver"
    QEMU = "QEMU"


@frozen
class _Process:
    """The facts of a process that must be the same before and after its descriptors are read."""

    pid: int
    start: int
    program: str
    uids: tuple[int, ...]


@frozen
class _Holder:
    """A process that holds a tap. *owner* is None for a giver, and for a QEMU whose identity cannot be known."""

    process: _Process
    kind: _Kind
    owner: Owner | None
    trusted: bool

    def __str__(self) -> str:
        return f"{self.process.program} process {self.process.pid}"


def trusted_uids(users: Collection[str] = ()) -> frozenset[int]:
    """Return the ids of the users whose QEMU processes are trusted.

    :param users: the names of further such users.
    """
    uids = {0}
    for name in (*QEMU_USERS, *users):
        with suppress(KeyError):  # a user of other distributions, or no libvirt here
            uids.add(pwd.getpwnam(name).pw_uid)
    return frozenset(uids)


class ProcessTable:
    """The QEMU processes of this network namespace.

    :param proc: where procfs is mounted.
    :param trusted: the users whose QEMU processes are trusted; None for :func:`trusted_uids`.
    """

    def __init__(self, proc: Path, trusted: Collection[int] | None = None) -> None:
        self._proc = proc
        self._trusted = frozenset(trusted_uids() if trusted is None else trusted)
        # A tap's name means nothing in another network namespace: QEMU in a container may hold another "tap0".
        self._netns = os.readlink(proc / "self/ns/net")

    def scan(self, taps: Collection[str]) -> Look:
        """Return the owners of *taps*."""
        look = Look()
        for _ in self.steps(taps, {}, look):
            pass
        return look

    def steps(self, taps: Collection[str], known: Mapping[tuple[int, int], Owner], look: Look) -> Iterator[None]:
        """Do what :meth:`scan` does, in short steps. After the last step, *look* has the result.

        :param known: owners from earlier scans, by pid and start. Their command lines are not read again.
        """
        holders: dict[str, list[_Holder]] = {}
        spent: Counter[int] = Counter()
        # Givers first, because a giver closes a tap only once QEMU has it: if a giver is seen without the tap, the QEMU
        # that got it has it already, and is among the processes that are listed from then on.
        for kind in _Kind:
            for pid in filter(str.isdecimal, os.listdir(self._proc)):
                with suppress(OSError, ValueError):  # it has ended, may not be examined, or does not count
                    held, holder = yield from self._look(int(pid), kind, taps, known, spent)
                    for tap in held:
                        holders.setdefault(tap, []).append(holder)
                yield
        for tap, holders_of_tap in holders.items():
            owner_or_reason = self._decide(holders_of_tap)
            if isinstance(owner_or_reason, Owner):
                look.owners[tap] = owner_or_reason
            elif owner_or_reason is not None:
                look.withheld[tap] = owner_or_reason

    def holders(self, taps: Collection[str]) -> list[int]:
        """Return the pids of the QEMU processes that hold one of *taps*, even those without uuid and name."""
        pids = []
        for pid in filter(str.isdecimal, os.listdir(self._proc)):
            base = self._proc / pid
            with suppress(OSError):
                if _kind(_program(base)) is _Kind.QEMU and os.readlink(base / "ns/net") == self._netns:
                    held, _ = _run(_held(base, MAX_UNTRUSTED))
                    if not set(held.values()).isdisjoint(taps):
                        pids.append(int(pid))
        return pids

    def guests(self) -> Iterator[Owner]:
        """Yield each QEMU process that is trusted and has a uuid or a name, whether it holds a tap or not."""
        for pid in filter(str.isdecimal, os.listdir(self._proc)):
            base = self._proc / pid
            with suppress(OSError, ValueError):  # it has ended, or may not be examined
                if _kind(_program(base)) is not _Kind.QEMU or os.readlink(base / "ns/net") != self._netns:
                    continue
                process = self._process(int(pid))
                with open(base / "cmdline", "rb") as file:
                    uuid, name = identity(file.read(MAX_CMDLINE + 1)) or (None, None)
                if self._trusts(process) and (uuid is not None or name is not None):
                    yield Owner(pid=process.pid, start=process.start, uuid=uuid, name=name, uid=process.uids[0])

    def taps_of(self, pid: int) -> Mapping[int, str]:
        """Return the taps that the process *pid* holds, by the number of the file descriptor.

        :raises OSError: when there is no such process, or this user may not examine it.
        """
        return _run(_held(self._proc / str(pid), MAX_UNTRUSTED))[0]

    def program(self, pid: int) -> str:
        """Return the name of the program that the process *pid* runs.

        :raises OSError: when there is no such process.
        """
        return _program(self._proc / str(pid))

    def start_of(self, pid: int) -> int:
        """Return when the process *pid* started, in clock ticks since boot.

        :raises OSError: when there is no such process.
        """
        stat = (self._proc / str(pid) / "stat").read_bytes()
        # Field 22 (proc_pid_stat(5)), counted after field 2, a name that may hold spaces and parentheses itself.
        return int(stat[stat.rindex(b")") + 2 :].split()[19])

    def _decide(self, holders: list[_Holder]) -> Owner | str | None:
        """Return the owner of the tap that *holders* hold, or why the tap is withheld, or None for neither."""
        qemus = [holder for holder in holders if holder.kind is _Kind.QEMU]
        # Trusted processes first: a user who may open a trusted QEMU's tap, too, must not take the tap from that QEMU.
        for group in ([each for each in qemus if each.trusted], qemus):
            if len(group) > 1:
                # A tap with several queues. Nothing shows which of the processes a packet came from.
                return " and ".join(map(str, group)) + " hold it at the same time"
            if group:
                return group[0].owner or f"the identity of {group[0]} cannot be known"
        return f"{holders[0]} holds it and has handed it to no QEMU yet"

    def _trusts(self, process: _Process) -> bool:
        # All user ids, the real one, too: a user can start a set-uid program with a tap of the user's own open, give it
        # any arguments, and stop it before it has looked at them.
        return self._trusted.issuperset(process.uids)

    def _process(self, pid: int) -> _Process:
        base = self._proc / str(pid)
        uids = _UIDS.search((base / "status").read_text(errors="replace"))
        if uids is None:
            raise ValueError("the status of the process names no users")
        return _Process(pid, self.start_of(pid), _program(base), tuple(map(int, uids.groups())))

    def _look(
        self,
        pid: int,
        kind: _Kind,
        taps: Collection[str],
        known: Mapping[tuple[int, int], Owner],
        spent: Counter[int],
    ) -> Generator[None, None, tuple[set[str], _Holder]]:
        """Return which of *taps* the process *pid* holds, and the process, if it is of *kind*.

        :param spent: the number of descriptors of each user that this scan has examined.
        :raises ValueError: when the process does not count: it is of another kind, or a QEMU without uuid and name.
        """
        base = self._proc / str(pid)
        if _kind(_program(base)) is not kind or os.readlink(base / "ns/net") != self._netns:
            raise ValueError("not a process of this kind in this network namespace")
        process = self._process(pid)
        owner = known.get((pid, process.start)) if kind is _Kind.QEMU else None
        trusted, user = self._trusts(process) if owner is None else owner.trusted, process.uids[0]
        descriptors, count = yield from _held(base, None if trusted else max(0, MAX_UNTRUSTED - spent[user]))
        spent[user] += count
        held = set(descriptors.values()) & set(taps)
        if held and kind is _Kind.QEMU:
            if owner is None:
                with open(base / "cmdline", "rb") as file:
                    claim = identity(file.read(MAX_CMDLINE + 1))
                if claim is not None:
                    uuid, name = claim
                    owner = Owner(pid=pid, start=process.start, uuid=uuid, name=name, uid=user, trusted=trusted)
            # While its descriptors were read, the process may have ended and another may have got its id, or it may
            # have begun to run another program, as another user. Only a trusted QEMU may drop its privileges.
            after = self._process(pid)
            if after != process and not (trusted and evolve(after, uids=process.uids) == process):
                owner = None
            elif owner is not None and owner.uuid is None and owner.name is None:
                raise ValueError("started by hand: it has neither uuid nor name, and never will")
        return held, _Holder(process, kind, owner, trusted)


def _program(base: Path) -> str:
    try:
        # comm is second choice: "-name process=…" sets it.
        program = os.path.basename(os.readlink(base / "exe"))
    except PermissionError:
        program = (base / "comm").read_text().rstrip("\n")
    # NixOS wraps programs, as ".qemu-system-x86_64-wrapped". The upgrade of a package leaves "libvirtd (deleted)".
    return program.removesuffix(" (deleted)").removeprefix(".").removesuffix("-wrapped")


def _kind(program: str) -> _Kind | None:
    if program in GIVERS:
        return _Kind.GIVER
    return _Kind.QEMU if program.startswith(_QEMU) else None


def _held(base: Path, limit: int | None) -> Generator[None, None, tuple[dict[int, str], int]]:
    """Return the taps among the first *limit* descriptors of a process, and how many descriptors those were."""
    taps: dict[int, str] = {}
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
                        taps[int(entry.name)] = match[1]
            except FileNotFoundError:
                pass  # closed by now; the other descriptors count all the same
    return taps, count


def _run(steps: Generator[None, None, T]) -> T:
    """Take all *steps* at once, and return their result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def arguments_of(process: Path) -> list[str]:
    """Return the command line of the process whose directory in ``/proc`` is *process*, its end left out if too long.

    :raises OSError: when the process has ended, or may not be examined.
    """
    with open(process / "cmdline", "rb") as file:
        return file.read(MAX_CMDLINE).decode(errors="surrogateescape").split("\0")[:-1]


def identity(cmdline: bytes) -> tuple[UUID | None, str | None] | None:
    """Return the uuid and the name on QEMU's command line, or None where they cannot be known.

    ``-smbios type=1,uuid=`` sets the same uuid as ``-uuid`` does; Proxmox gives that alone.
    Where an option is given twice, QEMU takes the last. But the argument of another option, such as the guest's kernel
    command line after ``-append``, may look like the option; so two that differ make the result None. A QEMU that was
    given neither uuid nor name has a known identity all the same: its result is two Nones.

    :param cmdline: the arguments, each ended by NUL, as procfs has them.
    """
    uuids: set[UUID] = set()
    names: set[str] = set()
    if not cmdline or len(cmdline) > MAX_CMDLINE:
        return None  # empty: the process has just ended
    # surrogateescape: a name that is not UTF-8 equals no domain's name.
    arguments = cmdline.decode(errors="surrogateescape").split("\0")
    for option, value in pairwise(arguments):
        if option in ("-uuid", "--uuid") and _UUID.match(value):
            uuids.add(UUID(value))
        elif option in ("-smbios", "--smbios") and _UUID.match(uuid := _system_uuid(value)):
            uuids.add(UUID(uuid))
        elif option in ("-name", "--name") and (name := options(value, "guest").get("guest")):
            names.add(name)
    if len(uuids) > 1 or len(names) > 1:
        return None
    return next(iter(uuids), None), next(iter(names), None)


def _system_uuid(smbios: str) -> str:
    """Return the uuid in the argument of ``-smbios``, "" where it sets none."""
    fields = options(smbios)
    return fields.get("uuid", "") if fields.get("type") == "1" else ""
