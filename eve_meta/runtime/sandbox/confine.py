"""What a process gives up before it reads the first byte that somebody else wrote: the child's half of confinement.

Its parent starts it within the private network namespace, where it needs one. Here the process loses the file system
(chroot into an empty folder), its user, every capability and each means of regaining one (no_new_privs, an empty
bounding set), and the right to start a process. It has imported all that it needs by then: nothing can be imported
afterwards.
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Iterator

from eve_meta.runtime.sandbox.policy import Identity, Policy
from eve_meta.values.problem import Problem

# linux/prctl.h
PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 23, 24, 38

_LIBC = ctypes.CDLL(None, use_errno=True)


def confine(policy: Policy, identity: Identity | None) -> None:
    """Confine this process for good.

    :param identity: None where the process was started without privileges: it gives up what it can without any.
    :raises Problem: when the kernel refuses a step.
    """
    try:
        _limit(policy)
        if identity is not None:
            _leave_root(identity)
        _prctl(PR_SET_NO_NEW_PRIVS, 1)
    except OSError as error:
        raise Problem(f"the {policy.process} cannot give up its privileges: {error}; is this root?") from None


def _limit(policy: Policy) -> None:
    # Lowering needs no capability; raising does, and a container's root may lack CAP_SYS_RESOURCE.
    files = min(policy.open_files, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the guests' secrets
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))  # no child: fork() fails for any user but root


def _leave_root(identity: Identity) -> None:
    """Give up the file system, the user, and all capabilities."""
    os.chroot(identity.root)
    os.chdir("/")
    for capability in _capabilities():
        _prctl(PR_CAPBSET_DROP, capability)
    os.setgroups([])
    os.setresgid(identity.gid, identity.gid, identity.gid)
    # From root to another user the kernel empties the effective, permitted and ambient sets (capabilities(7)).
    os.setresuid(identity.uid, identity.uid, identity.uid)


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
