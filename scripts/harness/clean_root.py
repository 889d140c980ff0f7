"""A clean root file system of this machine's distribution, with systemd and what a package depends on, and no more.

Nobody writes to it: whoever uses it lays an overlay upon it (``machine.py``).
"""

from __future__ import annotations

from pathlib import Path

from harness.mmdebstrap import built_once, install, own_distribution, release


def clean_root(depends: str) -> Path:
    """One in which *depends*, as a package's Depends field says it, is installed.

    :raises LabError: when it cannot be built.
    """
    distribution = own_distribution()
    satisfy = f'chroot "$1" apt-get --yes --no-install-recommends satisfy "{depends}"'
    recipe = ["--include=systemd-sysv,dbus", f"--customize-hook={satisfy}"]

    def build(work: Path) -> Path:
        install(work / "tree", distribution, *recipe)
        return work / "tree"

    return built_once("root", [distribution, release(distribution), *recipe], build)
