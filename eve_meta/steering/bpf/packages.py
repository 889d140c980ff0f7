"""The distribution's names for the packages that we need; ``scripts/bootstrap`` installs the same ones."""

from __future__ import annotations

import platform

from eve_meta.runtime.sandbox.seccomp import PACKAGE

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
"""The names that Debian's packages have for the machine types of ``uname -m``."""

_PACKAGES = {
    "debian": {"headers": "linux-headers-{machine}", "kernel": "linux-image-{machine}"},
    "ubuntu": {"headers": "linux-headers-generic", "kernel": "linux-generic"},
}
_COMMON = {
    "bcc": "python3-bpfcc",
    "iptables": "iptables",
    "libvirt": "python3-libvirt",
    "mount": "mount",
    "seccomp": PACKAGE,
}


def package(what: str) -> str:
    """Return the name of the package for *what*: Ubuntu's on Ubuntu and its derivatives, otherwise Debian's."""
    names = _PACKAGES["ubuntu" if "ubuntu" in _distribution() else "debian"] | _COMMON
    return names[what].format(machine=_MACHINES.get(platform.machine(), platform.machine()))


def install(what: str) -> str:
    """Return the command that installs *what*, or, on a distribution that we do not know, an instruction in words."""
    if _distribution() & _PACKAGES.keys():
        return f"apt-get install {package(what)}"
    return f"install the package that Debian calls {package(what)}"


def _distribution() -> set[str]:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return set()
    return {release.get("ID", ""), *release.get("ID_LIKE", "").split()}
