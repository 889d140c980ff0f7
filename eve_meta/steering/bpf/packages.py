"""What the distribution calls what we need, and the command that installs it; ``scripts/bootstrap`` names the same."""

from __future__ import annotations

import platform

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
"""Debian's names of ``uname -m`` in those of its packages."""

_PACKAGES = {
    "debian": {"headers": "linux-headers-{machine}", "kernel": "linux-image-{machine}"},
    "ubuntu": {"headers": "linux-headers-generic", "kernel": "linux-generic"},
}
_COMMON = {"bcc": "python3-bpfcc", "iptables": "iptables", "libvirt": "python3-libvirt", "mount": "mount"}


def package(what: str) -> str:
    """The package that holds *what*, as Ubuntu and those made from it call it, else as Debian does."""
    names = _PACKAGES["ubuntu" if "ubuntu" in _distribution() else "debian"] | _COMMON
    return names[what].format(machine=_MACHINES.get(platform.machine(), platform.machine()))


def install(what: str) -> str:
    """The command that installs *what*; where nobody knows this distribution's, the words for it."""
    if _distribution() & _PACKAGES.keys():
        return f"apt-get install {package(what)}"
    return f"install what Debian calls {package(what)}"


def _distribution() -> set[str]:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return set()
    return {release.get("ID", ""), *release.get("ID_LIKE", "").split()}
