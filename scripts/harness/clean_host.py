"""A host that nobody prepared: a Debian with nothing in it but what debootstrap's minbase has, entered by chroot.

Its /dev has the nodes that ``mknod`` makes, so that only root can open /dev/net/tun; nothing is mounted that an init
would mount, no user is logged in, and the environment is empty but for the network's settings. It shares the network
and the kernel of this machine; its processes, mounts and host name are its own and end with each command.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from harness import ROOT
from harness.mmdebstrap import CACHE, built_once, install, release

DISTRIBUTION = "debian"

CERTIFICATES = "root/certificates.crt"
"""A path other than the distribution's, whose certificates come with the package ca-certificates: this machine may need
more of them."""

NETWORK_SETTINGS = ("PIP_INDEX", "PIP_EXTRA", "PIP_TRUSTED", "http_proxy", "https_proxy", "no_proxy")
"""The beginnings of the variables by which pip and apt reach their packages from this machine."""

NOT_CLONED = (".git", ".venv", "__pycache__", ".*_cache", "*.egg-info", "build", "dist")
"""Files that a checkout may hold, but a clone does not."""

ENTER = """
set -e
root=$1 cache=$2
shift 2
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/net" "$root/dev/pts" "$root/dev/shm"
umask 0
while read -r name major minor mode; do
    mknod --mode="$mode" "$root/dev/$name" c "$major" "$minor"
done <<NODES
null 1 3 666
zero 1 5 666
full 1 7 666
random 1 8 666
urandom 1 9 666
tty 5 0 666
net/tun 10 200 600
NODES
umask 022
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
for link in fd:/proc/self/fd stdin:fd/0 stdout:fd/1 stderr:fd/2; do ln -s "${link#*:}" "$root/dev/${link%%:*}"; done
mount --bind "$cache/pip" "$root/root/.cache/pip"
hostname clean
exec chroot "$root" "$@"
"""
"""The shell script that enters the host and becomes a command there."""


def reach_network(root: Path) -> dict[str, str]:
    """Give the file system *root* this machine's settings of the network; return the environment that names them."""
    certificates = os.environ.get("PIP_CERT", "/etc/ssl/certs/ca-certificates.crt")
    copied = {"/etc/resolv.conf": "etc/resolv.conf", "/etc/hosts": "etc/hosts", certificates: CERTIFICATES}
    for ours, theirs in copied.items():
        (root / theirs).unlink(missing_ok=True)
        if Path(ours).exists():
            (root / theirs).write_bytes(Path(ours).read_bytes())
    wanted = (*NETWORK_SETTINGS, *map(str.upper, NETWORK_SETTINGS))
    settings = {key: value for key, value in os.environ.items() if key.startswith(wanted)}
    return settings | {"HOME": "/root", "PIP_CERT": f"/{CERTIFICATES}"}


def copy_checkout(into: Path) -> None:
    """Copy the checkout to *into*, as a clone would have it if all of it were committed."""
    shutil.copytree(ROOT, into, symlinks=True, ignore=shutil.ignore_patterns(*NOT_CLONED))


class CleanHost:
    """A host in the folder *root*, which must not exist; a context manager that makes the host and removes it.

    A cache beside that of :mod:`harness.mmdebstrap` keeps the packages that apt and pip of earlier hosts have
    downloaded. The host downloads those that are missing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._cache = CACHE / f"downloads-{release(DISTRIBUTION)}"
        self._environment: dict[str, str] = {}

    def __enter__(self) -> CleanHost:
        tree = built_once("minbase", [DISTRIBUTION, release(DISTRIBUTION)], self._build)
        for kind in ("apt", "pip"):
            (self._cache / kind).mkdir(parents=True, exist_ok=True)
        os.utime(self._cache)  # used today, so that it is not removed as unused
        _copy(f"{tree}/.", self.root)
        (self.root / "root/.cache/pip").mkdir(parents=True)
        _copy(f"{self._cache}/apt/.", self.root / "var/cache/apt/archives")
        self._environment = reach_network(self.root)
        copy_checkout(self.root / "root/eve-meta")
        return self

    def __exit__(self, *_error: object) -> None:
        # Packages that the distribution has replaced go; those that another host has put into the cache stay.
        self.run("apt-get", "-qq", "autoclean")
        for package in (self.root / "var/cache/apt/archives").glob("*.deb"):
            if not (self._cache / "apt" / package.name).exists():
                _copy(package, self._cache / "apt")
        for package in (self._cache / "apt").glob("*.deb"):
            if not (self.root / "var/cache/apt/archives" / package.name).exists():
                package.unlink()
        shutil.rmtree(self.root)

    def _build(self, work: Path) -> Path:
        install(work / "tree", DISTRIBUTION)
        return work / "tree"

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the checkout on the host; its standard output includes its standard error."""
        alone = ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--ipc", "--uts")
        enter = ("sh", "-c", ENTER, "sh", self.root, self._cache)
        path = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        return subprocess.run(
            [*alone, *enter, "sh", "-c", 'cd /root/eve-meta && exec "$@"', "sh", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            env=path | self._environment | environment,
        )


def _copy(source: str | Path, target: Path) -> None:
    subprocess.run(["cp", "--archive", "--reflink=auto", source, target], check=True)
