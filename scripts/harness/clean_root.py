"""Clean root file systems of Debian or Ubuntu, each with what one purpose needs and no more.

Nobody writes to these file systems, which are shared: their users lay an overlay over them (``machine.py``).
"""

from __future__ import annotations

from pathlib import Path

from harness import SCRIPTS
from harness.mmdebstrap import built_once, install, own_distribution, release

CONTROL = SCRIPTS / "debian/control"


def clean_root(depends: str, suite: str | None = None) -> Path:
    """Return a root file system with systemd, in which *depends*, in the syntax of a Depends field, is installed.

    :param suite: the code name of a release of Debian; None: this machine's distribution.
    :raises LabError: when the root file system cannot be built.
    """
    satisfy = f'chroot "$1" apt-get --yes --no-install-recommends satisfy "{depends}"'
    return _built(suite, "--include=systemd-sysv,dbus", f"--customize-hook={satisfy}")


def build_root(suite: str | None = None) -> Path:
    """Return a root file system in which the package can be built and examined: its build dependencies, and lintian.

    :param suite: as for :func:`clean_root`.
    :raises LabError: when the root file system cannot be built.
    """
    control = CONTROL.read_text()
    # As README.rst tells whoever builds the package.
    satisfy = (
        'mkdir -p "$1/scripts/debian" && cp "$CONTROL" "$1/scripts/debian/" && cd "$1" && '
        'chroot . sh -c "cd / && apt-get --yes --no-install-recommends build-dep ./scripts" && rm -r "$1/scripts"'
    ).replace("$CONTROL", str(CONTROL))
    build_depends = next(line for line in control.splitlines() if line.startswith("Build-Depends:"))
    return _built(suite, f"--customize-hook={satisfy}", "--include=lintian", made_of=build_depends)


def _built(suite: str | None, *recipe: str, made_of: str = "") -> Path:
    distribution = own_distribution() if suite is None else "debian"
    suite = suite or release(distribution)

    def build(work: Path) -> Path:
        install(work / "tree", distribution, *recipe, suite=suite)
        return work / "tree"

    return built_once("root", [distribution, suite, *recipe, made_of], build)
