"""A real libvirtd, with virtlogd, that plays the hypervisor of a lab.

Both are the distribution's programs, and both are separated from this machine's own libvirt. They run in the host's
network namespace, so that libvirtd makes its taps there, and in mount namespaces where every folder that libvirt uses
is one of the lab's. They find no system bus, over which libvirtd would register its domains with this machine's
systemd.
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
"""Seconds until libvirtd answers; it takes a fifth of a second, and many times that on a busy machine."""

STOP_TIME = 20.0
"""Seconds until libvirtd has ended; its domains go on."""

CALL_TIME = 120.0
"""Seconds for a command of virsh. The first domain makes libvirtd ask QEMU for its capabilities: 10 s on two cores."""

POLL = 0.05

# libvirt's folders are compiled in. $1 is our folder, which has a counterpart of each; $2 is the lab's, below /run.
PLACES = r"""
set -e
layers=$(mktemp --directory "$1/layers.XXXXXX")
for folder in /etc /var/lib /var/log /var/cache; do
    # In an overlay, because this machine may have no libvirt folder there and must not get one.
    mkdir -p "$1$folder" "$layers$folder/upper" "$layers$folder/work"
    mount -t overlay -o "lowerdir=$folder,upperdir=$layers$folder/upper,workdir=$layers$folder/work" overlay $folder
    mkdir -p $folder/libvirt
    mount --bind "$1$folder" $folder/libvirt
done
# In the overlay, too. libvirtd looks the user and group up when it starts, though QEMU runs as root here; Debian makes
# them only where libvirt runs as a service.
getent passwd libvirt-qemu >/dev/null || echo "libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin" >>/etc/passwd
getent group libvirt-qemu >/dev/null || echo "libvirt-qemu:x:64055:" >>/etc/group

# A /run that holds the lab and libvirt only.
mkdir -p "$1/run" "$layers/run"
mount -t tmpfs tmpfs "$layers/run"
mkdir "$layers/run/libvirt" "$layers/run/${2##*/}"
mount --bind "$1/run" "$layers/run/libvirt"
mount --bind "$2" "$layers/run/${2##*/}"
mount --no-mtab --move "$layers/run" /run

shift 2
exec "$@"
"""

# The lab belongs to root, and its QEMUs run as root. There may be neither AppArmor nor cgroups.
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
"""The init of libvirtd: orphaned QEMUs become its children, and it reaps them, for which libvirtd waits."""


class Libvirtd:
    """The libvirtd of *lab*; a context manager that starts it, and ends it with all domains.

    libvirtd may be stopped and started again within the context: its domains go on.

    :ivar uri: the URI of libvirtd, for any libvirt client on this machine.
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
            # virtlogd writes the output of the domains' serial ports, and goes on while libvirtd is away.
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
        with contextlib.suppress(LabError, subprocess.TimeoutExpired):  # libvirtd is away or hangs
            self.clear()
        for daemon in ("libvirtd", "virtlogd"):
            with contextlib.suppress(LabError, OSError):  # the daemon does not end, or is not there
                self._stop(daemon, signal.SIGTERM)
        for init in self._inits:
            try:
                init.wait(STOP_TIME)
            except subprocess.TimeoutExpired:
                init.kill()  # its children end with the lab's host
                init.wait()

    def start(self) -> None:
        """Start libvirtd and wait until it answers.

        :raises LabError: when it does not answer within :data:`START_TIME`.
        """
        self.begin()
        deadline = time.monotonic() + START_TIME
        while self._virsh("uri").returncode != 0:
            if time.monotonic() > deadline or self._inits[-1].poll() is not None:
                raise LabError(f"libvirtd does not answer; the end of its log:\n{self.log_tail()}")
            time.sleep(POLL)

    def begin(self) -> None:
        """Start libvirtd, and do not wait for it."""
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
        """The process id of libvirtd."""
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
        """Stop libvirtd by SIGSTOP while the context lasts: it neither answers nor ends."""
        os.kill(self.running, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.running, signal.SIGCONT)

    def virsh(self, *arguments: str | Path) -> str:
        """Run ``virsh ARGUMENTS`` and return what it prints.

        :raises LabError: when virsh fails.
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
                    # Failures do not matter: a domain may have ended; a libvirtd that has just started finds its QEMUs
                    # first.
                    self._virsh(command, name)

    def taps(self, name: str) -> list[str]:
        """Return the names of the taps of a running domain."""
        targets = ElementTree.fromstring(self.virsh("dumpxml", name)).iterfind("devices/interface/target")
        return [target.attrib["dev"] for target in targets]

    def pid(self, name: str) -> int:
        """Return the process id of a domain's QEMU."""
        return self._pid(f"qemu/{name}")

    def log_tail(self, lines: int = 15) -> str:
        """Return the last *lines* lines of libvirtd's log."""
        log = self.directory / "libvirtd.log"
        text = log.read_text(errors="replace") if log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])
