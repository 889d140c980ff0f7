"""The disk that the lab's VMs boot from: a small Debian with cloud-init as its package ships it.

It is built once and kept in :data:`CACHE`, in a folder that is named for what it is made of (:func:`_recipe`): a change
of that makes another image. A build happens in a folder beside it that is renamed at its very end, so that there
is a whole image or none.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from guests import LabError

CACHE = Path("/var/cache/eve-meta-lab")

UNUSED_TIME = 14 * 86400.0
"""Seconds after which an image that nobody used (of an older checkout, say) goes when another one is built."""

BUILD_TIME = 900.0
"""Seconds that mmdebstrap may take; one minute where the mirror is near."""

DISK_SIZE = "1G"

RELEASE_ELSEWHERE = "bookworm"
"""The release of the guests where this machine is no Debian; on Debian they have the machine's own."""

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

PACKAGES = (
    "linux-image-cloud-amd64",
    "initramfs-tools",
    "systemd-sysv",
    "udev",
    "dbus",
    "kmod",
    "iproute2",
    "ifupdown",
    "openssh-server",
    "sudo",
    "cloud-init",
)

INITRAMFS_MODULES = ("virtio_pci", "virtio_blk", "ext4")
"""All that the initramfs needs: with every driver that there is, unpacking it under emulation takes half a minute."""

MASKED_UNITS = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    # Its login prompt would come in between cloud-init's lines on the console.
    "serial-getty@ttyS0.service",
)
"""What takes time and has nothing to do with cloud-init, of which nothing is masked or configured."""


class Image(NamedTuple):
    """The files of an image; nobody writes to them any more."""

    disk: Path
    kernel: Path
    initrd: Path

    @classmethod
    def within(cls, folder: Path) -> Image:
        """The image in *folder*."""
        return cls(folder / "disk.qcow2", folder / "vmlinuz", folder / "initrd.img")


def image() -> Image:
    """The image, built when it is not there yet.

    :raises LabError: when it cannot be built.
    """
    if platform.machine() != "x86_64":
        raise LabError(f"the lab's VMs are x86-64, this machine is {platform.machine()}")
    CACHE.mkdir(mode=0o700, parents=True, exist_ok=True)
    wanted = CACHE / f"image-{_key()}"
    with _locked(CACHE):
        if not wanted.is_dir():
            _remove_old()
            _build(wanted)
        os.utime(wanted)
    return Image.within(wanted)


def _key() -> str:
    made_of = "\n".join([*_recipe(), DISK_SIZE])
    return f"{_release()}-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}"


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Two runs at once build it once. The lock ends with this process."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_old() -> None:
    for path in CACHE.glob("building-*"):  # of a build that was killed
        shutil.rmtree(path)
    for path in CACHE.glob("image-*"):
        if time.time() - path.stat().st_mtime > UNUSED_TIME:
            shutil.rmtree(path)


def _build(wanted: Path) -> None:
    print(f"building the VMs' image once, about two minutes: {wanted}", flush=True)
    work = Path(tempfile.mkdtemp(prefix="building-", dir=CACHE))
    try:
        tree = work / "tree"
        _debian(tree)
        made = Image.within(work / "image")
        made.disk.parent.mkdir()
        for name, path in (("vmlinuz", made.kernel), ("initrd.img", made.initrd)):
            (newest,) = (tree / "boot").glob(f"{name}-*")
            newest.rename(path)
        raw = work / "disk.raw"
        _run("truncate", "--size", DISK_SIZE, raw)
        _run("mkfs.ext4", "-q", "-d", tree, raw)
        _run("qemu-img", "convert", "-O", "qcow2", raw, made.disk)
        made.disk.parent.rename(wanted)
    finally:
        shutil.rmtree(work)


def _debian(tree: Path) -> None:
    """Install Debian into the folder *tree*."""
    # Namespaces of its own: whatever it mounts and starts in there is gone when it ends, however it ends.
    alone = ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc")
    settings = [f"--aptopt={setting}" for setting in _apt_settings()]
    _run(*alone, "mmdebstrap", *_recipe(), *settings, _release(), tree, *_mirrors())


def _recipe() -> list[str]:
    """What mmdebstrap is to make, wherever it gets it from."""
    return [
        *("--mode=root", "--format=directory", "--variant=minbase", "--architectures=amd64"),
        f"--include={','.join(PACKAGES)}",
        '--aptopt=Acquire::Languages "none"',
        *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "info", "locale", "man")),
        # Before the kernel's package makes the initramfs.
        f"--extract-hook={_write('etc/initramfs-tools/conf.d/lab', 'MODULES=list')}",
        f"--extract-hook={_write('etc/initramfs-tools/modules', *INITRAMFS_MODULES)}",
        f"--customize-hook={_write('etc/fstab', '/dev/vda / ext4 defaults 0 0')}",
        f"--customize-hook={_write('etc/hostname', 'unnamed')}",
        # Empty, and not "uninitialized": that would be a first boot, on which systemd asks for a locale.
        f"--customize-hook={_write('etc/machine-id')}",
        '--customize-hook=cd "$1" && rm -f etc/resolv.conf etc/ssh/ssh_host_*',
        f'--customize-hook=systemctl --root="$1" mask {" ".join(MASKED_UNITS)}',
    ]


def _write(path: str, *lines: str) -> str:
    """A hook that makes a file of the new system."""
    text = "".join(f"{line}\\n" for line in lines)
    return f'mkdir -p "$(dirname "$1/{path}")" && printf "{text}" >"$1/{path}"'


def _release() -> str:
    system = platform.freedesktop_os_release()
    return system["VERSION_CODENAME"] if system["ID"] == "debian" else RELEASE_ELSEWHERE


def _mirrors() -> list[str]:
    """Debian's own sources as this machine's apt is configured; without any, mmdebstrap knows one itself."""
    shown = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    command = ["apt-get", "indextargets", "--format", shown, "Identifier: Packages", "Origin: Debian"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = dict.fromkeys(found.stdout.splitlines())  # one for each architecture
    targets = [line.split() for line in lines]
    return [
        f"deb [signed-by={KEYRING}] {uri} {suite} {component}"
        for uri, suite, component in targets
        if suite.partition("-")[0] == _release()
    ]


def _apt_settings() -> list[str]:
    """How this machine's apt gets to its mirrors (a proxy, say), which mmdebstrap does not read itself."""
    settings = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=False).stdout
    wanted = re.compile(r'Acquire::(https?::|Check-|Retries)\S* "[^"]+";')
    return [line.rstrip(";") for line in settings.splitlines() if wanted.fullmatch(line)]


def _run(*command: str | Path) -> None:
    try:
        subprocess.run(
            command,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=BUILD_TIME,
        )
    except FileNotFoundError as error:
        raise LabError(f"{error.filename} is missing: run scripts/bootstrap") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"cannot build the VMs' image: {command[0]} does not end") from None
    except subprocess.CalledProcessError as error:
        end = "\n".join(error.stdout.splitlines()[-30:])
        raise LabError(
            f"cannot build the VMs' image (is the network there, and does apt-get update work?): {end}"
        ) from None


if __name__ == "__main__":
    # For scripts/test, whose stages have no network.
    try:
        image()
    except LabError as error:
        sys.exit(f"vm_image: {error}")
