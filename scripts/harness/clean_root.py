"""A clean root file system of this machine's distribution, with systemd and a package's dependencies, and no more.

Nobody writes to the file system, which is shared: its users lay an overlay over it (``machine.py``).
"""

from __future__ import annotations

from pathlib import Path

from harness.mmdebstrap import built_once, install, own_distribution, release


def clean_root(depends: str) -> Path:
    """Return a root file system in which *depends*, in the syntax of a package's Depends field, is installed.

    :raises LabError: when the root file system cannot be built.
    """
    distribution = own_distribution()
    satisfy = f'chroot "$1" apt-get --yes --no-install-recommends satisfy "{depends}"'
    recipe = ["--include=systemd-sysv,dbus", f"--customize-hook={satisfy}"]

    def build(work: Path) -> Path:
        install(work / "tree", distribution, *recipe)
        return work / "tree"

    return built_once("root", [distribution, release(distribution), *recipe], build)
