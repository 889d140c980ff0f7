"""What a confined process keeps: its policy, which its program states, and its identity, which its parent chooses."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen


@frozen
class Where:
    """A condition on one argument of a system call, whose number is compared as 32 bits unless *mask* is another.

    :ivar argument: the argument's place, from 0 on.
    :ivar value: what the bits of *mask* must be.
    :ivar mask: the bits that are compared. The upper 32 of a register that carries an int have no defined value.
    """

    argument: int
    value: int
    mask: int = 0xFFFF_FFFF


@frozen
class Call:
    """A system call that a confined process may make.

    :ivar name: the kernel's name for it. A name that this machine or libseccomp does not know is passed over.
    :ivar where: conditions on its arguments, all of which must hold.
    :ivar error: the errno with which the kernel refuses the call, instead of making it; 0 where it makes it. A call
        that is not among a policy's ends the process.
    """

    name: str
    where: tuple[Where, ...] = ()
    error: int = 0


@frozen(kw_only=True)
class Policy:
    """What the processes of one kind keep of what every process has.

    :ivar process: what messages call such a process, "worker" for example.
    :ivar calls: the system calls that they may make. All others end the process.
    :ivar open_files: file descriptors at most (``RLIMIT_NOFILE``).
    :ivar memory: bytes of address space at most (``RLIMIT_AS``).
    :ivar cpu: seconds of CPU time at most (``RLIMIT_CPU``), None for no limit.
    :ivar offline: whether they leave every network: their network namespace is one of their own, without links.
    """

    process: str
    calls: tuple[Call, ...]
    open_files: int
    memory: int
    cpu: int | None = None
    offline: bool = False


@frozen(kw_only=True)
class Identity:
    """Who one process is, and what it sees of the file system.

    :ivar uid: its user.
    :ivar gid: its only group.
    :ivar root: the empty folder that becomes its whole file system.
    """

    uid: int
    gid: int
    root: Path
