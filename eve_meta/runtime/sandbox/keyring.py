"""The session keyring: a confined process gets one of its own, which is empty.

A daemon that root starts by hand inherits root's session keyring, and so would its children: whatever root's login put
there (the keys of encrypted disks, Kerberos tickets) could be read by them.
"""

from __future__ import annotations

import errno

from eve_meta.runtime.sandbox.libc import system_call
from eve_meta.runtime.sandbox.seccomp import number_of

KEYCTL_JOIN_SESSION_KEYRING = 1  # linux/keyctl.h


def leave_session_keyring() -> None:
    """Put this process into a new session keyring, which belongs to the user that it has now.

    A kernel without keyrings has nothing to leave, and neither has a container whose system call filter denies them.

    :raises OSError: when the kernel refuses.
    """
    try:
        system_call("keyctl", number_of("keyctl"), KEYCTL_JOIN_SESSION_KEYRING, None)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
