"""The kernel, and what it lets us do."""

from __future__ import annotations

import platform
import re
from pathlib import Path

from eve_meta.steering.bpf.packages import install
from eve_meta.steering.bpf.pins import BPFFS
from eve_meta.steering.doctor.finding import Finding, ok, warning, wrong

OLDEST = (5, 15)
"""The oldest kernel that is supported, Ubuntu 22.04's. From 5.11 on BPF is not counted against RLIMIT_MEMLOCK."""

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
"""The capabilities that the daemon needs, and their numbers (``linux/capability.h``); the unit grants the same."""

LOCKDOWN = Path("/sys/kernel/security/lockdown")
STATUS = Path("/proc/self/status")


def release() -> Finding:
    """Whether the kernel is new enough."""
    name = platform.release()
    version = tuple(map(int, re.findall(r"\d+", name)[:2]))
    oldest = ".".join(map(str, OLDEST))
    if version < OLDEST:
        return wrong("kernel", f"Linux {name} is older than {oldest}", install("kernel"))
    return ok("kernel", f"Linux {name}")


def lockdown() -> Finding:
    """Whether the kernel keeps BPF from root (kernel_lockdown(7))."""
    try:
        modes = LOCKDOWN.read_text().split()
    except OSError:  # no securityfs here
        return ok("lockdown", "the kernel has none")
    mode = next((mode.strip("[]") for mode in modes if mode.startswith("[")), "none")
    if mode == "confidentiality":
        # What it refuses are programs that read kernel memory, and ours do not. But security modules go by it, too.
        return warning(
            "lockdown",
            "the kernel is locked down (confidentiality), which keeps some BPF programs out",
            "boot with lockdown=integrity, if a check below says that the programs do not load",
        )
    return ok("lockdown", f"mode {mode}")


def capabilities() -> Finding:
    """Whether this root may do what the daemon does; in a container it may not."""
    effective = int(re.findall(r"^CapEff:\t([0-9a-f]+)$", STATUS.read_text(), re.MULTILINE)[0], 16)
    missing = [name for name, number in NEEDED.items() if not effective >> number & 1]
    if missing:
        text = f"this root lacks {', '.join(missing)}: is this a container?"
        return wrong("capabilities", text, "run eve-meta on the host itself, or give the container these capabilities")
    return ok("capabilities", "all that are needed")


def bpf_file_system() -> Finding:
    """Whether the programs have a place to be pinned."""
    if BPFFS.is_mount():
        return ok("bpf file system", f"mounted at {BPFFS}")
    return warning(
        "bpf file system",
        f"not mounted at {BPFFS}: the daemon mounts it while it runs",
        f"mount -t bpf bpf {BPFFS}",
    )
