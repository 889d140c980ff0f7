"""What a worker gives up before it reads a guest's first byte: the child's half of its confinement.

The parent starts the worker within the private network namespace (:mod:`eve_meta.supervisor.worker_home`). Here the
worker loses the file system (chroot into an empty folder), its user, every capability and each means of regaining one
(no_new_privs, an empty bounding set), and the right to start a process. It has imported all that it needs by then:
nothing can be imported afterwards.
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Iterator
from pathlib import Path

from eve_meta.values.problem import Problem

# linux/prctl.h
PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 23, 24, 38

_LIBC = ctypes.CDLL(None, use_errno=True)

MAX_OPEN_FILES = 65536
"""File descriptors of a worker, where the hard limit allows it: 32 connections for each of 2,000 taps at once."""


def confine(root: Path, uid: int, gid: int) -> None:
    """Give up the file system, the user, all capabilities and children, for good.

    :param root: see :func:`eve_meta.supervisor.worker_home.workers_root`.
    :raises Problem: when the kernel refuses a step.
    """
    try:
        # Lowering needs no capability; raising does, and a container's root may lack CAP_SYS_RESOURCE.
        files = min(MAX_OPEN_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the guests' secrets
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))  # no child: fork() fails for any user but root
        os.chroot(root)
        os.chdir("/")
        for capability in _capabilities():
            _prctl(PR_CAPBSET_DROP, capability)
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        # From root to another user the kernel empties the effective, permitted and ambient sets (capabilities(7)).
        os.setresuid(uid, uid, uid)
        _prctl(PR_SET_NO_NEW_PRIVS, 1)
    except OSError as error:
        raise Problem(f"the worker cannot give up its privileges: {error}; is this root?") from None


def _capabilities() -> Iterator[int]:
    """Yield every capability that this kernel knows; prctl(2) refuses the first number that it does not know."""
    for capability in range(64):
        if _LIBC.prctl(PR_CAPBSET_READ, capability, 0, 0, 0) < 0:
            return
        yield capability


def _prctl(option: int, argument: int) -> None:
    if _LIBC.prctl(option, argument, 0, 0, 0) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}, {argument}): {os.strerror(number)}")
