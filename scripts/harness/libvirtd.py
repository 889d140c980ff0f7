"""A real libvirtd, with virtlogd, that plays the hypervisor of a lab.

They are the distribution's, and meet nothing of this machine's own libvirt: they run in the host's network namespace,
so that the taps that libvirtd makes are there, and in mount namespaces where every folder that libvirt uses is one of
the lab's. Nor do they find a system bus, by which libvirtd would have this machine's systemd keep its domains.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TypeVar
from xml.etree import ElementTree

from harness.guests import Lab, LabError

Self = TypeVar("Self", bound="Libvirtd")  # typing has none before Python 3.11

START_TIME = 60.0
"""Seconds until libvirtd answers; a fifth of one, and many times that on a busy machine."""

STOP_TIME = 20.0
"""Seconds until it has ended; its domains go on."""

CALL_TIME = 120.0
"""Seconds for a command of virsh. The first domain makes libvirtd ask QEMU what it can, some 10 s on two cores."""

POLL = 0.05

# libvirt's folders are compiled in. $1 is our folder, in which each of them is; $2 the lab's, which is below /run.
PLACES = r"""
set -e
layers=$(mktemp --directory "$1/layers.XXXXXX")
for folder in /etc /var/lib /var/log /var/cache; do
    # In an overlay, because this machine may have no libvirt folder there, and is not to get one.
    mkdir -p "$1$folder" "$layers$folder/upper" "$layers$folder/work"
    mount -t overlay -o "lowerdir=$folder,upperdir=$layers$folder/upper,workdir=$layers$folder/work" overlay $folder
    mkdir -p $folder/libvirt
    mount --bind "$1$folder" $folder/libvirt
done
# In the overlay, too. libvirtd looks for them when it starts, though QEMU runs as root here; Debian makes them only
# where libvirt runs as a service.
getent passwd libvirt-qemu >/dev/null || echo "libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin" >>/etc/passwd
getent group libvirt-qemu >/dev/null || echo "libvirt-qemu:x:64055:" >>/etc/group

# A /run with nothing in it but the lab and libvirt.
mkdir -p "$1/run" "$layers/run"
mount -t tmpfs tmpfs "$layers/run"
mkdir "$layers/run/libvirt" "$layers/run/${2##*/}"
mount --bind "$1/run" "$layers/run/libvirt"
mount --bind "$2" "$layers/run/${2##*/}"
mount --no-mtab --move "$layers/run" /run

shift 2
exec "$@"
"""

# The lab is root's own, and so is what its domains run. There may be neither AppArmor nor cgroups.
QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
"""

LIBVIRTD_CONF = """\
auth_unix_ro = "none"
auth_unix_rw = "none"
"""

REAPER = """
import ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
subprocess.Popen(sys.argv[1:])
while True:
    try:
        os.wait()
    except ChildProcessError:
        break
"""
"""The init of libvirtd: QEMUs become its children, and libvirtd waits until one that ended is gone."""


class Libvirtd:
    """The libvirtd of *lab*; a context manager that starts it and ends it, with all domains.

    It may be stopped and started again: its domains go on.

    :ivar uri: where it listens, for every libvirt client on this machine.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.directory = lab.directory / "libvirt"
        self.uri = f"qemu+unix:///system?socket={self.directory}/run/libvirt-sock"
        self._inits: list[subprocess.Popen[bytes]] = []
        configuration = self.directory / "etc"
        configuration.mkdir(parents=True)
        (configuration / "qemu.conf").write_text(QEMU_CONF)
        (configuration / "libvirtd.conf").write_text(LIBVIRTD_CONF)

    def __enter__(self: Self) -> Self:
        try:
            # It writes what the domains' serial ports say, and goes on while libvirtd is away.
            self._begin("virtlogd")
            self.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        with contextlib.suppress(LabError, subprocess.TimeoutExpired):  # it is away or hangs
            self.clear()
        for daemon in ("libvirtd", "virtlogd"):
            with contextlib.suppress(LabError, OSError):  # it does not end, or is not there
                self._stop(daemon, signal.SIGTERM)
        for init in self._inits:
            try:
                init.wait(STOP_TIME)
            except subprocess.TimeoutExpired:
                init.kill()  # what it kept ends with the lab's host
                init.wait()

    def start(self) -> None:
        """Start it and wait until it answers.

        :raises LabError: when it does not.
        """
        self.begin()
        deadline = time.monotonic() + START_TIME
        while self._virsh("uri").returncode != 0:
            if time.monotonic() > deadline or self._inits[-1].poll() is not None:
                raise LabError(f"libvirtd does not answer; the end of its log:\n{self.log_tail()}")
            time.sleep(POLL)

    def begin(self) -> None:
        """Start it."""
        self._begin("libvirtd")

    def _begin(self, daemon: str) -> None:
        with (self.directory / f"{daemon}.log").open("ab") as log:
            init = self.lab.host.popen(
                *(sys.executable, "-c", REAPER, "unshare", "--mount", "--propagation", "private"),
                *("sh", "-c", PLACES, "sh", self.directory, self.lab.directory),
                *(daemon, "--pid-file", f"/run/libvirt/{daemon}.pid"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._inits.append(init)

    @property
    def running(self) -> int:
        """Its process."""
        return self._pid("libvirtd")

    def _pid(self, daemon: str) -> int:
        return int((self.directory / f"run/{daemon}.pid").read_text())

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End libvirtd; its domains go on."""
        self._stop("libvirtd", number)

    def _stop(self, daemon: str, number: signal.Signals) -> None:
        with os.fdopen(os.pidfd_open(self._pid(daemon))) as process:
            signal.pidfd_send_signal(process.fileno(), number)
            ended, _, _ = select.select([process], [], [], STOP_TIME)
        if not ended:
            raise LabError(f"{daemon} does not end; the end of its log:\n{self.log_tail()}")

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """libvirtd neither answers nor ends meanwhile."""
        os.kill(self.running, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.running, signal.SIGCONT)

    def virsh(self, *arguments: str | Path) -> str:
        """What ``virsh ARGUMENTS`` prints.

        :raises LabError: when it fails.
        """
        done = self._virsh(*arguments)
        if done.returncode != 0:
            raise LabError(
                f"virsh {arguments[0]}: {done.stderr.strip()}; the end of libvirtd's log:\n{self.log_tail()}"
            )
        return done.stdout

    def _virsh(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = ["virsh", "-q", "-c", self.uri, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=CALL_TIME)

    def clear(self) -> None:
        """End and forget all domains."""
        deadline = time.monotonic() + STOP_TIME
        while names := self.virsh("list", "--all", "--name").split():
            if time.monotonic() > deadline:
                raise LabError(f"{names} do not go; the end of libvirtd's log:\n{self.log_tail()}")
            for command in ("destroy", "undefine"):
                for name in names:
                    # One that does not run cannot be ended; and a libvirtd that has just started finds its QEMUs first.
                    self._virsh(command, name)

    def taps(self, name: str) -> list[str]:
        """The taps of a domain that runs."""
        targets = ElementTree.fromstring(self.virsh("dumpxml", name)).iterfind("devices/interface/target")
        return [target.attrib["dev"] for target in targets]

    def pid(self, name: str) -> int:
        """The QEMU process of a domain."""
        return self._pid(f"qemu/{name}")

    def log_tail(self, lines: int = 15) -> str:
        """The end of its log."""
        log = self.directory / "libvirtd.log"
        text = log.read_text(errors="replace") if log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])
