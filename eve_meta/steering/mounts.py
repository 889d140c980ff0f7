"""The mounts that the whole host sees: where the daemon finds them, and how it makes one.

systemd gives a service a mount namespace of its own for the sake of ``ProtectSystem=``, ``PrivateTmp=`` and their kin
(systemd.exec(5)). What such a service mounts appears nowhere else, and goes when it ends. But others use the names of
network namespaces in ``/run/netns``, and the pins in ``/sys/fs/bpf`` outlive the daemon. So it finds these by way of
process 1, whose mounts are the host's, and enters that one's mount namespace to mount or unmount.

It does not rely on mounts of the host that propagate to the service: in a container they may be private.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from attrs import frozen

from eve_meta.runtime.sandbox.libc import call
from eve_meta.values.problem import Problem

T = TypeVar("T")

CLONE_FS, CLONE_NEWNS = 0x200, 0x2_0000  # linux/sched.h

INIT = Path("/proc/1")


@frozen
class Mounts:
    """The mounts of a process.

    :ivar process: the directory of the process in ``/proc``; None for this process itself.
    """

    process: Path | None = None

    def find(self, path: Path) -> Path:
        """Return the path by which this process finds what *path*, which is absolute, leads to among these mounts."""
        return path if self.process is None else self.process / "root" / path.relative_to("/")

    def call(self, function: Callable[[], T]) -> T:
        """Call *function* where it may add to these mounts or remove one; return its result.

        :raises OSError: when the kernel refuses.
        """
        if self.process is None:
            return function()
        # In a thread that ends with the call. It is in the caller's network namespace, as each new thread is.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(_call_there, self.process, function).result()


def _call_there(process: Path, function: Callable[[], T]) -> T:
    """Call *function* after the calling thread has gone over to the mount namespace of *process* for good."""
    # The kernel moves no thread that shares its root and working directory with others.
    call("unshare", CLONE_FS)
    namespace = os.open(process / "ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    root = os.open(process / "root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        call("setns", namespace, CLONE_NEWNS)
        # The kernel makes the root of the namespace the thread's root (mntns_install()); *process* may be in a chroot.
        os.fchdir(root)
        os.chroot(".")
    finally:
        os.close(root)
        os.close(namespace)
    return function()


OWN = Mounts()


def mounts_of_host(*, managed: bool) -> Mounts:
    """Return the mounts that the whole host sees: those of process 1 where it started this process with others.

    Any other mount namespace was the choice of whoever started the daemon, so its own mounts are what it is to use.

    :param managed: whether a service manager started this process.
    :raises Problem: when process 1 cannot be looked at.
    """
    if not managed or os.getppid() != 1:
        return OWN
    try:
        is_own = os.path.samefile(INIT / "ns/mnt", "/proc/self/ns/mnt")
    except OSError as error:
        raise Problem(
            f"cannot look at the mounts of process 1: {error.strerror}; does the unit grant CAP_SYS_PTRACE?"
        ) from None
    return OWN if is_own else Mounts(INIT)
