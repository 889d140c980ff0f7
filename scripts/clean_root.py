"""A clean root file system of this machine's distribution, with systemd and what a package depends on, and no more.

Built once by mmdebstrap with this machine's own package sources, and kept in :data:`CACHE` in a folder that is named
for what is in it. Nobody writes to it: whoever uses it lays an overlay upon it (``machine.py``).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

CACHE = Path("/var/cache/eve-meta-lab")

UNUSED_TIME = 14 * 86400.0
"""Seconds after which one that nobody used goes when another is built."""

PACKAGES = "systemd-sysv,dbus"


class CleanRootError(Exception):
    """One that cannot be built; a line that says why."""


def clean_root(depends: str) -> Path:
    """One in which *depends*, as a package's Depends field says it, is installed.

    :raises CleanRootError: when it cannot be built.
    """
    distribution = platform.freedesktop_os_release()
    sources = _sources(distribution["ID"])
    key = hashlib.sha256("\n".join([Path(__file__).read_text(), depends, *sources]).encode()).hexdigest()[:16]
    CACHE.mkdir(mode=0o700, parents=True, exist_ok=True)
    wanted = CACHE / f"root-{distribution['VERSION_CODENAME']}-{key}"
    with _locked():
        if not wanted.is_dir():
            _remove_old()
            _build(wanted, distribution["VERSION_CODENAME"], sources, depends)
        os.utime(wanted)
    return wanted


def _sources(distribution: str) -> list[str]:
    """The lines of sources.list by which this machine gets the distribution's own packages."""
    command = ["apt-get", "indextargets", "--format", "$(ORIGIN) deb $(REPO_URI) $(RELEASE) $(COMPONENT)"]
    shown = subprocess.run([*command, "Created-By: Packages"], check=True, capture_output=True, text=True).stdout
    lines = (line.partition(" ") for line in shown.splitlines())
    return sorted({line for origin, _, line in lines if origin.lower() == distribution})


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Two runs at once build it once. The lock ends with this process."""
    descriptor = os.open(CACHE, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_old() -> None:
    for path in CACHE.glob("rooting-*"):  # of a build that was killed
        shutil.rmtree(path)
    for path in CACHE.glob("root-*"):
        if time.time() - path.stat().st_mtime > UNUSED_TIME:
            shutil.rmtree(path)


def _build(wanted: Path, release: str, sources: list[str], depends: str) -> None:
    print(f"building a clean root file system once, about two minutes: {wanted}", flush=True)
    work = Path(tempfile.mkdtemp(prefix="rooting-", dir=CACHE))
    try:
        satisfy = f'chroot "$1" apt-get --yes --no-install-recommends satisfy "{depends}"'
        command = ["mmdebstrap", "--variant=minbase", "--mode=root", f"--include={PACKAGES}"]
        command += [f"--customize-hook={satisfy}", "--aptopt=Acquire::Check-Valid-Until false"]
        done = subprocess.run(
            [*command, release, str(work / "tree"), "-"],
            input="\n".join(sources),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise CleanRootError(f"mmdebstrap failed:\n{done.stderr[-3000:]}")
        (work / "tree").rename(wanted)
    finally:
        shutil.rmtree(work)
