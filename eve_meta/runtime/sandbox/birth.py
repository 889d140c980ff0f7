"""How the parent starts a process that is to be confined: as the first process of a pid namespace.

Such a process sees no other process, so it has no number by which to signal, trace, slow down or limit one. When it
ends, the kernel ends whatever it may have started.

The namespace decides how signals act (pid_namespaces(7)): its first process gets those alone for which it has a
handler, but SIGKILL and SIGSTOP of its parent always.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from eve_meta.runtime.sandbox.libc import call
from eve_meta.values.problem import Problem

CLONE_NEWPID = 0x2000_0000  # linux/sched.h


@contextlib.contextmanager
def own_pid_namespace() -> Iterator[None]:
    """Make the one process that the calling thread starts within this context the first of a pid namespace of its own.

    No process stands between: the child is the caller's, with a process id of the caller's namespace. The thread itself
    stays where it is. It can start no thread within the context: the kernel's ``copy_process()`` refuses it.

    :raises Problem: when the kernel refuses.
    """
    # Not ns/pid: a caller within another such context would be moved out of it.
    home = os.open("/proc/thread-self/ns/pid_for_children", os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            call("unshare", CLONE_NEWPID)
        except OSError as error:
            # EINVAL: CONFIG_PID_NS is not set; ENOSPC: the sysctl user.max_pid_namespaces is too low.
            raise Problem(
                f"the kernel gives a confined process no pid namespace of its own: {error.strerror}"
            ) from None
        try:
            yield
        finally:
            call("setns", home, CLONE_NEWPID)
    finally:
        os.close(home)
