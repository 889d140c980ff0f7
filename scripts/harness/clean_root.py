"""Clean root file systems of Debian or Ubuntu, each with what one purpose needs and no more.

Nobody writes to these file systems, which are shared: their users lay an overlay over them (``machine.py``).
"""

from __future__ import annotations

from pathlib import Path

from harness import SCRIPTS
from harness.mmdebstrap import built_once, install, own_distribution, release


def clean_root(depends: str, suite: str | None = None) -> Path:
    """Return a root file system with systemd, in which *depends*, in the syntax of a Depends field, is installed.

    :param suite: the code name of a release of Debian; None: the release of this machine's distribution.
    :raises LabError: when the root file system cannot be built.
    """
    satisfy = f'chroot "$1" apt-get --yes --no-install-recommends satisfy "{depends}"'
    recipe = ["--include=systemd-sysv,dbus", f"--customize-hook={satisfy}"]
    return _built(suite, recipe, recipe)


def build_root(suite: str) -> Path:
    """Return a root file system of Debian in which the package can be built and examined.

    It has the build dependencies that the package declares, and lintian.

    :param suite: the code name of the release.
    :raises LabError: when the root file system cannot be built.
    """
    control = SCRIPTS / "debian/control"
    depends = next(line for line in control.read_text().splitlines() if line.startswith("Build-Depends:"))
    # As README.rst tells whoever builds the package.
    satisfy = (
        f'mkdir --parents "$1/scripts/debian" && cp {control} "$1/scripts/debian"'
        ' && chroot "$1" sh -c "cd / && apt-get --yes --no-install-recommends build-dep ./scripts"'
        ' && rm -r "$1/scripts"'
    )
    return _built(suite, ["--include=lintian", f"--customize-hook={satisfy}"], ["lintian", depends])


def _built(suite: str | None, options: list[str], made_of: list[str]) -> Path:
    distribution = own_distribution() if suite is None else "debian"
    suite = suite or release(distribution)

    def build(work: Path) -> Path:
        install(work / "tree", distribution, *options, suite=suite)
        return work / "tree"

    return built_once("root", [distribution, suite, *made_of], build)
