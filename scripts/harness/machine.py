"""A host to install things on: a clean root file system in which systemd is process 1, in a network namespace of a lab.

The host is a container without a container manager. Its namespaces are its own except for the network, which is that of
the lab's host: the lab's guests are its guests. Whatever is written there is in memory, and gone with the host.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from harness.namespace import Namespace

BOOT_TIME = 60.0
"""Seconds until systemd has started everything; five on an idle machine."""

DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "net/tun")

MASKED = (
    # Units that would set up the machine's hardware and clock, or run now and then.
    *(
        "systemd-udevd.service",
        "systemd-udev-trigger.service",
        "systemd-modules-load.service",
        "systemd-sysctl.service",
    ),
    *("systemd-timesyncd.service", "apt-daily.timer", "apt-daily-upgrade.timer", "getty.target", "fstrim.timer"),
)

INIT = """
set -e
root=$1 group=$2
hostname machine
echo $$ >"$group/cgroup.procs"
exec unshare --cgroup sh -ec '
root=$1
mount -t proc proc "$root/proc"
# The network'"'"'s sysctls are its own; the others are shared with the whole machine.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t proc proc "$root/mnt"
mount --bind "$root/mnt/sys/net" "$root/proc/sys/net"
umount "$root/mnt"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t bpf bpf "$root/sys/fs/bpf"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
cd "$root"
pivot_root . mnt
exec chroot . sh -ec "umount --lazy /mnt; exec env -i container=lab PATH=$PATH /lib/systemd/systemd --show-status=no"
' init "$root"
"""
"""The shell script that sets up the host and becomes systemd."""


class MachineError(Exception):
    """A machine does not come up, or a command fails there."""


class Machine:
    """A machine whose file system is an overlay over *root*; a context manager. :meth:`boot` starts systemd in it.

    :param network: the network namespace of the machine; None: that of this process.
    :param work: a folder for the overlay.
    """

    def __init__(self, root: Path, work: Path, network: Namespace | None = None) -> None:
        self._lower = root
        self._work = work
        self._network = network
        self.root = work / "root"
        self._init: subprocess.Popen[bytes] | None = None
        self._cgroups: Path | None = None

    def __enter__(self) -> Machine:
        self._work.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", self._work], check=True)
        try:
            for name in ("upper", "overlay", "root"):
                (self._work / name).mkdir()
            options = f"lowerdir={self._lower},upperdir={self._work}/upper,workdir={self._work}/overlay"
            subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", self.root], check=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", self.root / "dev"], check=True)
            self._devices()
            for unit in MASKED:
                (self.root / "etc/systemd/system" / unit).symlink_to("/dev/null")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _devices(self) -> None:
        for name in DEVICES:
            device = self.root / "dev" / name
            device.parent.mkdir(exist_ok=True)
            status = os.stat(f"/dev/{name}")
            os.mknod(device, status.st_mode, status.st_rdev)
            device.chmod(0o666)
        # systemd gives a service with PrivateDevices= a copy of these and of ptmx.
        links = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
        for name, target in links.items():
            (self.root / "dev" / name).symlink_to(target)

    def close(self) -> None:
        """End the machine and discard whatever was written there."""
        self._end()
        subprocess.run(["umount", "--recursive", "--lazy", self._work], check=False)
        shutil.rmtree(self._work, ignore_errors=True)

    # -- while systemd does not run --

    def chroot(self, *command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command in the file system, with this process's network, while systemd does not run."""
        (self.root / "proc").mkdir(exist_ok=True)
        mounts = 'mount -t proc proc "$1/proc"; root=$1; shift; exec chroot "$root" "$@"'
        prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", mounts, "sh", str(self.root)]
        return subprocess.run([*prefix, *command], capture_output=True, text=True, check=False, **options)

    # -- while it runs --

    def boot(self) -> None:
        """Start systemd, and wait until it has started everything.

        :raises MachineError: when a unit fails to start, or systemd takes longer than :data:`BOOT_TIME`.
        """
        self._cgroups = self._work / "cgroups"
        self._cgroups.mkdir()
        subprocess.run(["mount", "-t", "cgroup2", "cgroup2", self._cgroups], check=True)
        group = self._cgroups / f"eve-meta-machine-{os.getpid()}"
        group.mkdir()
        unshare = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--fork",
            "--kill-child=KILL",
            "--uts",
            "--ipc",
        ]
        command: list[str | Path] = [*unshare, "sh", "-c", INIT, "sh", self.root, group]
        # A session of its own: an interrupt at the terminal is for the tests.
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "start_new_session": True}
        self._init = (
            subprocess.Popen(command, **options) if self._network is None else self._network.popen(*command, **options)
        )
        deadline = time.monotonic() + BOOT_TIME
        while (state := self._state()) not in ("running", "degraded"):
            if time.monotonic() > deadline or self._init.poll() is not None:
                raise MachineError(f"systemd does not come up: {state or 'no answer'}")
            time.sleep(0.2)
        if state == "degraded":
            raise MachineError(f"a unit failed:\n{self.run('systemctl', '--failed').stdout}")

    def _state(self) -> str:
        try:
            return self.run("systemctl", "is-system-running", check=False).stdout.strip()
        except MachineError:
            return ""

    @property
    def init(self) -> int:
        """The process id of systemd, as this process sees it."""
        assert self._init is not None
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text().split()
        if not children:
            raise MachineError("systemd does not run")
        return int(children[0])

    def command(self, *command: str | Path) -> list[str]:
        """Return the command that runs *command* on the machine."""
        enter = ["nsenter", f"--target={self.init}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
        environment = [
            "env",
            "-i",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "DEBIAN_FRONTEND=noninteractive",
            "HOME=/root",
        ]
        return [*enter, "--root", "--wd", "--", *environment, "LC_ALL=C.UTF-8", *map(str, command)]

    def run(self, *command: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command on the machine.

        :raises MachineError: when the command fails and *check* is true.
        """
        done = subprocess.run(self.command(*command), capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            shown = " ".join(map(str, command))
            raise MachineError(f"{shown}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def _end(self) -> None:
        if self._init is None:
            return
        # All processes there end with process 1, and then unshare, which waits for process 1.
        with contextlib.suppress(MachineError, ProcessLookupError):
            os.kill(self.init, signal.SIGKILL)
        self._init.kill()
        self._init.wait()
        self._init = None
        if self._cgroups is not None:
            for group in _bottom_up(self._cgroups / f"eve-meta-machine-{os.getpid()}"):
                _remove_group(group)
            subprocess.run(["umount", self._cgroups], check=False)


def _bottom_up(top: Path) -> Iterator[Path]:
    yield from (Path(folder) for folder, _, _ in os.walk(top, topdown=False))


def _remove_group(group: Path) -> None:
    """Remove a control group, whose processes may still be ending."""
    deadline = time.monotonic() + 10
    while True:
        try:
            group.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
