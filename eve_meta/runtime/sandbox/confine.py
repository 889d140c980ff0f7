"""What a process gives up before it reads the first byte that somebody else wrote: the child's half of confinement.

Its parent chose its user, its pid namespace and, where it needs one, its network namespace
(:mod:`eve_meta.runtime.sandbox.birth`). Here the process loses the file system (chroot into an empty folder), the
host's System V and POSIX message queues and shared memory (an ipc namespace), every network where it needs none (a
network namespace without links), its user, every capability and each means of regaining one (no_new_privs, an empty
bounding set), root's keyring, memory and CPU time beyond its limits, and every system call but those of its policy. It
has imported all that it needs by then: nothing can be imported afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from eve_meta.runtime.sandbox.keyring import leave_session_keyring
from eve_meta.runtime.sandbox.landlock import deny_everything
from eve_meta.runtime.sandbox.libc import call
from eve_meta.runtime.sandbox.limits import limit, prefer_for_oom_killer
from eve_meta.runtime.sandbox.policy import Identity, Policy
from eve_meta.runtime.sandbox.seccomp import CallFilter
from eve_meta.values.problem import Problem

# linux/prctl.h
PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 23, 24, 38

CLONE_NEWIPC, CLONE_NEWNET = 0x0800_0000, 0x4000_0000  # linux/sched.h


def confine(policy: Policy, identity: Identity | None) -> None:
    """Confine this process, which has one thread, for good.

    :param identity: None where the process was started without privileges: it gives up what it can without any.
    :raises Problem: when the kernel refuses a step, or this Python has no binding of libseccomp.
    """
    filtered = CallFilter(policy)
    try:
        prefer_for_oom_killer()
        limit(policy)
        if identity is not None:
            _leave_host(policy, identity)
        leave_session_keyring()
        _prctl(PR_SET_NO_NEW_PRIVS, 1)
        deny_everything()
        filtered.load()
    except OSError as error:
        raise Problem(f"the {policy.process} cannot give up its privileges: {error}; is this root?") from None


def _leave_host(policy: Policy, identity: Identity) -> None:
    """Give up the file system, the host's ipc namespace, the network where *policy* says so, root and its rights."""
    call("unshare", CLONE_NEWIPC | (CLONE_NEWNET if policy.offline else 0))
    os.chroot(identity.root)
    os.chdir("/")
    for capability in _capabilities():
        _prctl(PR_CAPBSET_DROP, capability)
    os.setgroups([])
    os.setresgid(identity.gid, identity.gid, identity.gid)
    # From root to another user the kernel empties the effective, permitted and ambient sets (capabilities(7)), and
    # makes the process undumpable: nobody but root may trace it or read its memory.
    os.setresuid(identity.uid, identity.uid, identity.uid)


def _capabilities() -> Iterator[int]:
    """Yield every capability that this kernel knows; prctl(2) refuses the first number that it does not know."""
    for capability in range(64):
        try:
            _prctl(PR_CAPBSET_READ, capability)
        except OSError:
            return
        yield capability


def _prctl(option: int, argument: int) -> None:
    call("prctl", option, argument, 0, 0, 0)
