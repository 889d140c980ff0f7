"""The kernel, and what it permits."""

from __future__ import annotations

import platform
import re
from pathlib import Path

from eve_meta.steering.bpf.packages import install
from eve_meta.steering.bpf.pins import BPFFS, MOUNT_OPTIONS
from eve_meta.steering.doctor.finding import Finding, ok, warning, wrong

OLDEST = (5, 15)
"""The oldest supported kernel, Ubuntu 22.04's. Since 5.11, BPF memory does not count against RLIMIT_MEMLOCK."""

NEEDED = {
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_SETPCAP": 8,
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_SYS_CHROOT": 18,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
}
"""The capabilities that the daemon needs, by number (``linux/capability.h``); the systemd unit grants the same."""

LOCKDOWN = Path("/sys/kernel/security/lockdown")
STATUS = Path("/proc/self/status")


def release() -> Finding:
    """Check that the kernel is new enough."""
    name = platform.release()
    version = tuple(map(int, re.findall(r"\d+", name)[:2]))
    oldest = ".".join(map(str, OLDEST))
    if version < OLDEST:
        return wrong("kernel", f"Linux {name} is older than {oldest}", install("kernel"))
    return ok("kernel", f"Linux {name}")


def lockdown() -> Finding:
    """Check whether the kernel denies BPF even to root (kernel_lockdown(7))."""
    try:
        modes = LOCKDOWN.read_text().split()
    except OSError:  # no securityfs here
        return ok("lockdown", "the kernel has no lockdown")
    mode = next((mode.strip("[]") for mode in modes if mode.startswith("[")), "none")
    if mode == "confidentiality":
        # It refuses programs that read kernel memory, which ours do not. But security modules may refuse more by it.
        return warning(
            "lockdown",
            "the kernel is locked down (confidentiality) and refuses some BPF programs",
            "boot with lockdown=integrity if a check below finds that the programs do not load",
        )
    return ok("lockdown", f"mode {mode}")


def capabilities() -> Finding:
    """Check that this root has the capabilities that the daemon needs; in a container it may not."""
    effective = int(re.findall(r"^CapEff:\t([0-9a-f]+)$", STATUS.read_text(), re.MULTILINE)[0], 16)
    missing = [name for name, number in NEEDED.items() if not effective >> number & 1]
    if missing:
        text = f"this root lacks {', '.join(missing)}: is this a container?"
        return wrong("capabilities", text, "run eve-meta on the host itself, or give the container these capabilities")
    return ok("capabilities", "this root has all that are needed")


def bpf_file_system() -> Finding:
    """Check that there is a file system in which programs can be pinned."""
    if BPFFS.is_mount():
        return ok("bpf file system", f"mounted at {BPFFS}")
    return warning(
        "bpf file system",
        f"not mounted at {BPFFS}: the daemon mounts it while it runs",
        f"mount -t bpf -o {MOUNT_OPTIONS} bpf {BPFFS}",
    )
