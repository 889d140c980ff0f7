"""The disk from which the lab's VMs boot: a small Debian with cloud-init as its package ships it."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import NamedTuple

from harness.guests import LabError
from harness.mmdebstrap import built_once, install, release, run

DISTRIBUTION = "debian"

DISK_SIZE = "1G"

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
"""All modules that the initramfs needs: with every driver, unpacking it under emulation takes half a minute."""

MASKED_UNITS = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    # Its login prompt would appear among cloud-init's lines on the console.
    "serial-getty@ttyS0.service",
)
"""Units that take time and have nothing to do with cloud-init, whose own units are neither masked nor configured."""


class Image(NamedTuple):
    """The files of an image, which are only read."""

    disk: Path
    kernel: Path
    initrd: Path

    @classmethod
    def within(cls, folder: Path) -> Image:
        """Return the image in *folder*."""
        return cls(folder / "disk.qcow2", folder / "vmlinuz", folder / "initrd.img")


def image() -> Image:
    """Return the image; build it when it is not there yet.

    :raises LabError: when the image cannot be built.
    """
    if platform.machine() != "x86_64":
        raise LabError(f"the lab's VMs are x86-64, this machine is {platform.machine()}")
    return Image.within(built_once("image", [release(DISTRIBUTION), *_recipe(), DISK_SIZE], _build))


def _build(work: Path) -> Path:
    tree, raw, made = work / "tree", work / "disk.raw", Image.within(work / "image")
    install(tree, DISTRIBUTION, *_recipe())
    made.disk.parent.mkdir()
    for name, path in (("vmlinuz", made.kernel), ("initrd.img", made.initrd)):
        (installed,) = (tree / "boot").glob(f"{name}-*")
        installed.rename(path)
    run("truncate", "--size", DISK_SIZE, raw)
    run("mkfs.ext4", "-q", "-d", tree, raw)
    run("qemu-img", "convert", "-O", "qcow2", raw, made.disk)
    return made.disk.parent


def _recipe() -> list[str]:
    """Return the options of mmdebstrap that decide what is in the image; the mirrors are not among them."""
    return [
        "--architectures=amd64",
        f"--include={','.join(PACKAGES)}",
        '--aptopt=Acquire::Languages "none"',
        *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "info", "locale", "man")),
        # Extract hooks run before the kernel's package makes the initramfs.
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
    """Return a hook that makes a file in the new system."""
    text = "".join(f"{line}\\n" for line in lines)
    return f'mkdir -p "$(dirname "$1/{path}")" && printf "{text}" >"$1/{path}"'


if __name__ == "__main__":
    # For scripts/test, whose stages have no network.
    try:
        image()
    except LabError as error:
        sys.exit(f"vm_image: {error}")
