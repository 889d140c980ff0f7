"""Finds the VMM process behind a tap, in ``/proc``.

A process that holds a tap's tun file descriptor has the line ``iff: NAME`` in its ``fdinfo``; a VMM's uuid and name are
in its ``cmdline`` (``vmms.py``). Three rules keep a process from passing as another:

* Any user may name a program ``qemu-x`` and give it any ``-uuid``. The claim of a process counts only if it was seen
  running as root, or as a user that runs nothing but VMMs. A QEMU that drops its privileges (``-runas``, ``-run-with
  user=``) was root's at first; once it is another user's, nothing in the kernel distinguishes it from a process that
  this user started: any user can have such a command line, parent, cgroup, open sockets and owner of the files in
  ``/proc``, and can get a tap that root opened from QEMU's set-uid bridge helper. So eve-meta remembers which processes
  were root's (:class:`eve_meta.inventory.vmm.owners.Memory`), also for the next daemon.
* A process can overwrite its own command line, so a VMM that its guest has compromised could claim another's identity.
  Therefore the identity of a process is read once in its life, and an identity that several processes claim counts for
  none of them (see ``inventory/tap_domains.py``).
* libvirt and QEMU's bridge helper open a tap and hand it to the VMM a moment later, which nothing announces. A tap is
  withheld while such a giver holds it, or a VMM whose identity cannot be known: its next owner may be any domain.

Any other program that holds a tap is no owner and withholds nothing, and so is a VMM that was given no identity.
"""

from __future__ import annotations

import os
import pwd
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import suppress
from enum import Enum
from pathlib import Path
from uuid import UUID

from attrs import define, evolve, field, frozen

from eve_meta.inventory.vmm import procfs
from eve_meta.inventory.vmm.identity import Identity
from eve_meta.inventory.vmm.vmms import QEMU, Vmm, vmm_of

MAX_UNTRUSTED = 2000
"""The most file descriptors of one untrusted user that one scan examines: enough for a dozen QEMUs, but not as many as
RLIMIT_NOFILE and RLIMIT_NPROC together allow, which would take seconds. A user with more descriptors only hides the
owners of the user's own taps."""

QEMU_USERS = ("libvirt-qemu", "qemu")
"""Users whose VMMs are trusted as root's are: libvirt runs QEMU as the first on Debian, Ubuntu and Arch, and as
the second on Fedora, RHEL and SUSE. Nobody logs in as either of them."""

GIVERS = frozenset(
    {
        "libvirtd",
        "virtqemud",  # libvirt's QEMU driver where each driver is a daemon
        "virt-qemu-run",  # … and where that driver runs without a daemon
        "virtchd",  # libvirt's driver for Cloud Hypervisor
        "qemu-bridge-helper",
        "incusd",
        "lxd",
    }
)
"""Programs that open taps for a VMM. virtnetworkd is none of them: it makes bridges."""


@frozen(kw_only=True)
class Owner:
    """The process behind a tap.

    :ivar pid: the process id.
    :ivar start: when the process started, in clock ticks since boot. No two processes have equal *pid* and *start*.
    :ivar uuid: the uuid that the VMM was given, such as QEMU's ``-uuid``: the guest sees it as its DMI system-uuid,
        where it has DMI.
    :ivar name: the name that the VMM was given, such as QEMU's ``-name``.
    :ivar uid: the user as whom the process ran when it was first seen.
    :ivar trusted: whether uuid and name may assign a domain to the tap. Otherwise they can only take the tap's domain
        from it.
    :ivar vmm: the name of the VMM for people.
    """

    pid: int
    start: int
    uuid: UUID | None = None
    name: str | None = None
    uid: int = 0
    trusted: bool = True
    vmm: str = QEMU.name

    def __str__(self) -> str:
        return f"{self.vmm} process {self.pid}"

    @property
    def identified(self) -> bool:
        """Whether it has a uuid or a name."""
        return self.uuid is not None or self.name is not None


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
    VMM = "VMM"


@frozen
class _Process:
    """The facts of a process that must be the same before and after its descriptors are read."""

    pid: int
    start: int
    program: str
    uids: tuple[int, ...]


@frozen
class _Holder:
    """A process that holds a tap. *owner* is None for a giver, and for a VMM whose identity cannot be known."""

    process: _Process
    kind: _Kind
    owner: Owner | None
    trusted: bool

    def __str__(self) -> str:
        return f"{self.process.program} process {self.process.pid}"


def trusted_uids(users: Collection[str] = ()) -> frozenset[int]:
    """Return the ids of the users whose VMMs are trusted.

    :param users: the names of further such users.
    """
    uids = {0}
    for name in (*QEMU_USERS, *users):
        with suppress(KeyError):  # a user of other distributions, or no libvirt here
            uids.add(pwd.getpwnam(name).pw_uid)
    return frozenset(uids)


class ProcessTable:
    """The VMM processes of this network namespace.

    :param proc: where procfs is mounted.
    :param trusted: the users whose VMMs are trusted; None for :func:`trusted_uids`.
    """

    def __init__(self, proc: Path, trusted: Collection[int] | None = None) -> None:
        self._proc = proc
        self._trusted = frozenset(trusted_uids() if trusted is None else trusted)
        # A tap's name means nothing in another network namespace: a VMM in a container may hold another "tap0".
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
        # Givers first, because a giver closes a tap only once the VMM has it: if a giver is seen without the tap, the
        # VMM that got it has it already, and is among the processes that are listed from then on.
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

    def holders(self, taps: Collection[str]) -> dict[int, set[str]]:
        """Return the VMM processes that hold some of *taps*, even those without uuid and name: pid to taps."""
        found = {}
        for pid in self._vmms():
            with suppress(OSError):  # it has ended, or may not be examined
                held = set(self.taps_of(pid).values()) & set(taps)
                if held:
                    found[pid] = held
        return found

    def guests(self) -> Iterator[Owner]:
        """Yield each VMM process that is trusted and has a uuid or a name, whether it holds a tap or not."""
        for pid in self._vmms():
            with suppress(OSError, ValueError):  # it has ended, or may not be examined
                process = self._process(pid)
                owner = self._owner(process, trusted=self._trusts(process))
                if owner is not None and owner.trusted and owner.identified:
                    yield owner

    def _vmms(self) -> Iterator[int]:
        for pid in filter(str.isdecimal, os.listdir(self._proc)):
            base = self._proc / pid
            with suppress(OSError):  # it has ended, or may not be examined
                if _kind(procfs.program_of(base)) is _Kind.VMM and os.readlink(base / "ns/net") == self._netns:
                    yield int(pid)

    def taps_of(self, pid: int) -> Mapping[int, str]:
        """Return the taps that the process *pid* holds, by the number of the file descriptor.

        :raises OSError: when there is no such process, or this user may not examine it.
        """
        return procfs.taps_of(self._proc / str(pid), MAX_UNTRUSTED)

    def program(self, pid: int) -> str:
        """Return the name of the program that the process *pid* runs.

        :raises OSError: when there is no such process.
        """
        return procfs.program_of(self._proc / str(pid))

    def vmm(self, pid: int) -> Vmm:
        """Return the VMM that the process *pid* is.

        :raises OSError: when there is no such process.
        :raises ValueError: when the process is no VMM.
        """
        return _vmm(self.program(pid))

    def start_of(self, pid: int) -> int:
        """Return when the process *pid* started, in clock ticks since boot.

        :raises OSError: when there is no such process.
        """
        return procfs.start_of(self._proc / str(pid))

    def _decide(self, holders: list[_Holder]) -> Owner | str | None:
        """Return the owner of the tap that *holders* hold, or why the tap is withheld, or None for neither."""
        vmms = [holder for holder in holders if holder.kind is _Kind.VMM]
        # Trusted processes first: a user who may open a trusted VMM's tap, too, must not take the tap from that VMM.
        for group in ([each for each in vmms if each.trusted], vmms):
            if len(group) > 1:
                # A tap with several queues. Nothing shows which of the processes a packet came from.
                return " and ".join(map(str, group)) + " hold it at the same time"
            if group:
                return group[0].owner or f"the identity of {group[0]} cannot be known"
        return f"{holders[0]} holds it and has handed it to no VMM yet"

    def _trusts(self, process: _Process) -> bool:
        # All user ids, the real one, too: a user can start a set-uid program with a tap of the user's own open, give it
        # any arguments, and stop it before it has looked at them.
        return self._trusted.issuperset(process.uids)

    def _process(self, pid: int) -> _Process:
        base = self._proc / str(pid)
        return _Process(pid, self.start_of(pid), procfs.program_of(base), procfs.users_of(base))

    def _owner(self, process: _Process, *, trusted: bool) -> Owner | None:
        """Return a VMM process as an owner, by its command line; None where that contradicts itself or is gone."""
        vmm = _vmm(process.program)
        claim = identity(procfs.command_line_of(self._proc / str(process.pid)), vmm)
        if claim is None:
            return None
        return Owner(
            pid=process.pid,
            start=process.start,
            uuid=claim.uuid,
            name=claim.name,
            uid=process.uids[0],
            trusted=trusted,
            vmm=vmm.name,
        )

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
        :raises ValueError: when the process does not count: it is of another kind, or a VMM without uuid and name.
        """
        base = self._proc / str(pid)
        if _kind(procfs.program_of(base)) is not kind or os.readlink(base / "ns/net") != self._netns:
            raise ValueError("not a process of this kind in this network namespace")
        process = self._process(pid)
        owner = known.get((pid, process.start)) if kind is _Kind.VMM else None
        trusted, user = self._trusts(process) if owner is None else owner.trusted, process.uids[0]
        descriptors, count = yield from procfs.held_taps(base, None if trusted else max(0, MAX_UNTRUSTED - spent[user]))
        spent[user] += count
        held = set(descriptors.values()) & set(taps)
        if held and kind is _Kind.VMM:
            if owner is None:
                owner = self._owner(process, trusted=trusted)
            # While its descriptors were read, the process may have ended and another may have got its id, or it may
            # have begun to run another program, as another user. Only a trusted VMM may drop its privileges.
            after = self._process(pid)
            if after != process and not (trusted and evolve(after, uids=process.uids) == process):
                owner = None
            elif owner is not None and not owner.identified:
                raise ValueError("started by hand: it has neither uuid nor name, and never will")
        return held, _Holder(process, kind, owner, trusted)


def _kind(program: str) -> _Kind | None:
    if program in GIVERS:
        return _Kind.GIVER
    return None if vmm_of(program) is None else _Kind.VMM


def _vmm(program: str) -> Vmm:
    vmm = vmm_of(program)
    if vmm is None:
        raise ValueError(f"{program} is no VMM")
    return vmm


def identity(command_line: bytes, vmm: Vmm) -> Identity | None:
    """Return the uuid and the name on the command line of a process that is *vmm*, or None where they cannot be known.

    :param command_line: as :func:`~eve_meta.inventory.vmm.procfs.command_line_of` returns it.
    """
    if not command_line or len(command_line) > procfs.MAX_CMDLINE:
        return None  # empty: the process has just ended
    return vmm.identity(procfs.split(command_line))
