"""Landlock (landlock(7)): the kernel's second wall behind the empty folder, the namespaces and the system call filter.

A ruleset denies each right that it handles, but for what its rules permit. The ruleset here handles every right that
the kernel knows, and has no rules. What a process has open already stays usable.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from eve_meta.runtime.sandbox.libc import system_call

# These numbers are the same on every architecture (asm-generic/unistd.h).
CREATE_RULESET, RESTRICT_SELF = 444, 446

# linux/landlock.h
LANDLOCK_CREATE_RULESET_VERSION = 1

FILE_SYSTEM_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
"""The number of rights on files that the kernel knows, by the ABI version with which it became so many: the first 13,
LANDLOCK_ACCESS_FS_REFER, _TRUNCATE and _IOCTL_DEV."""

NETWORK_ABI = 4
NETWORK_RIGHTS = 0b11  # LANDLOCK_ACCESS_NET_BIND_TCP, _CONNECT_TCP

SCOPE_ABI = 6
SCOPES = 0b11  # LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET, LANDLOCK_SCOPE_SIGNAL


def abi() -> int:
    """Return the version of the kernel's Landlock; 0 where the kernel has none, or it was disabled at boot."""
    try:
        return system_call("landlock_create_ruleset", CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION)
    except OSError as error:
        # EPERM: a system call filter above us, a container's for example, does not know Landlock.
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
            return 0
        raise


def denied(version: int) -> str:
    """Return in a few words what Landlock of *version* denies."""
    scopes = [
        (1, "files"),
        (NETWORK_ABI, "TCP"),
        (SCOPE_ABI, "signals, abstract sockets"),
    ]
    return ", ".join(text for since, text in scopes if version >= since)


def deny_everything() -> None:
    """Deny this process all that the kernel's Landlock can deny; no_new_privs must be set.

    :raises OSError: when the kernel has Landlock, and refuses.
    """
    version = abi()
    if not version:
        return
    rights = max(number for since, number in FILE_SYSTEM_RIGHTS.items() if since <= version)
    # struct landlock_ruleset_attr, as long as this version knows it.
    fields = [(1 << rights) - 1]
    if version >= NETWORK_ABI:
        fields.append(NETWORK_RIGHTS)
    if version >= SCOPE_ABI:
        fields.append(SCOPES)
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = system_call(
        "landlock_create_ruleset",
        CREATE_RULESET,
        ctypes.create_string_buffer(attributes, len(attributes)),
        len(attributes),
        0,
    )
    try:
        system_call("landlock_restrict_self", RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
