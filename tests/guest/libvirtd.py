"""A real libvirtd that plays the hypervisor of a lab, with real QEMUs; nothing of this machine's libvirt is touched."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from guests import Lab

START_TIME = 30.0
"""Seconds until libvirtd answers."""

CALL_TIME = 120.0
"""Seconds for a command of virsh. The first domain makes libvirtd ask QEMU what it can, some 10 s on two cores."""

NAMESPACE = "urn:eve-meta:domain:1"

PLACES = {
    "etc": "/etc/libvirt",
    "lib": "/var/lib",
    "cache": "/var/cache",
    "log": "/var/log",
    "run": "/run/libvirt",
}
"""What libvirtd writes to, each a folder of the lab's own."""

NAMES = {
    "passwd": ("libvirt-qemu", "libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin\n"),
    "group": ("libvirt-qemu", "libvirt-qemu:x:64055:\n"),
}
"""Who libvirtd looks for when it starts, though QEMU runs as root here; made only where libvirt runs as a service."""

QEMU_CONF = """
user = "root"
group = "root"
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
"""

LIBVIRTD_CONF = """
unix_sock_dir = "/run/libvirt"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "2:file:/var/log/libvirtd.log"
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

DOMAIN = """
<domain type='qemu'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <metadata>{metadata}</metadata>
  <memory unit='MiB'>16</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    {devices}
    <memballoon model='none'/>
  </devices>
</domain>
"""


def interface(mac: str, *, bridge: str = "br0", inner: str = "", model: str = "e1000") -> str:
    """The XML of a NIC. A guest that has not booted reads nothing from this one: no option ROM asks for a network."""
    return (
        f"<interface type='bridge'><mac address='{mac}'/><source bridge='{bridge}'/><model type='{model}'/>"
        f"<rom enabled='no'/>{inner}</interface>"
    )


class Libvirtd:
    """The libvirtd of *lab*; a context manager that starts it and ends it, with all domains.

    :ivar uri: where it listens.

    It may be stopped and started again: its domains go on.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.directory = lab.directory / "libvirt"
        self.uri = f"qemu+unix:///system?socket={self.directory}/run/libvirt-sock"
        self._init: list[subprocess.Popen[bytes]] = []
        for name in PLACES:
            (self.directory / name).mkdir(parents=True)
        for file, (name, line) in NAMES.items():
            text = Path("/etc", file).read_text()
            known = any(each.startswith(f"{name}:") for each in text.splitlines())
            (self.directory / file).write_text(text if known else text + line)
        (self.directory / "etc/qemu.conf").write_text(QEMU_CONF)
        (self.directory / "etc/libvirtd.conf").write_text(LIBVIRTD_CONF)

    def __enter__(self) -> Libvirtd:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()
        self.stop()
        for init in self._init:
            init.wait(20)

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.begin()
        deadline = time.monotonic() + START_TIME
        while subprocess.run(["virsh", "-q", "-c", self.uri, "uri"], capture_output=True, check=False).returncode != 0:
            assert time.monotonic() < deadline, f"libvirtd does not answer: {self.log_tail()}"
            time.sleep(0.05)

    def begin(self) -> None:
        """Start it."""
        places = PLACES | {name: f"/etc/{name}" for name in NAMES}
        binds = [f"mount --bind {self.directory}/{name} {place}" for name, place in places.items()]
        # Of the stage's own /run; and QEMU's sockets stay there when libvirtd ends.
        Path("/run/libvirt").mkdir(exist_ok=True)
        daemon = "exec libvirtd --config /etc/libvirt/libvirtd.conf --pid-file /run/libvirt/libvirtd.pid"
        script = " && ".join([*binds, daemon])
        with (self.directory / "output").open("ab") as output:
            init = self.lab.host.popen(
                *(sys.executable, "-c", REAPER),
                *("unshare", "--mount", "--propagation=private", "sh", "-c", script),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self._init.append(init)

    @property
    def running(self) -> int:
        """Its process."""
        return int((self.directory / "run/libvirtd.pid").read_text())

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End libvirtd; its domains go on."""
        with os.fdopen(os.pidfd_open(self.running)) as process:
            signal.pidfd_send_signal(process.fileno(), number)
            ended, _, _ = select.select([process], [], [], 20)
        assert ended, f"libvirtd does not end: {self.log_tail()}"

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """libvirtd neither answers nor ends meanwhile."""
        os.kill(self.running, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.running, signal.SIGCONT)

    def virsh(self, *arguments: str) -> str:
        """What ``virsh ARGUMENTS`` prints."""
        done = subprocess.run(
            ["virsh", "-q", "-c", self.uri, *arguments], capture_output=True, text=True, check=False, timeout=CALL_TIME
        )
        assert done.returncode == 0, (arguments, done.stderr, self.log_tail())
        return done.stdout

    def clear(self) -> None:
        """End and forget all domains."""
        deadline = time.monotonic() + START_TIME
        while names := self.virsh("list", "--all", "--name").split():
            assert time.monotonic() < deadline, f"{names} do not go: {self.log_tail()}"
            for command in ("destroy", "undefine"):
                for name in names:
                    # One that does not run cannot be ended; and a libvirtd that has just started finds its QEMUs first.
                    subprocess.run(["virsh", "-q", "-c", self.uri, command, name], capture_output=True, check=False)

    def define(self, name: str, uuid: str, devices: str, *, metadata: str = "") -> None:
        """Define a domain, whose guest has 16 MiB and nothing to boot."""
        path = self.directory / f"{name}.xml"
        path.write_text(DOMAIN.format(name=name, uuid=uuid, devices=devices, metadata=metadata))
        self.virsh("define", str(path))

    def begin_domain(self, name: str) -> list[str]:
        """Start a domain, its CPU halted; the taps that it got."""
        self.virsh("start", "--paused", name)
        return self.taps(name)

    def taps(self, name: str) -> list[str]:
        """The taps of a domain that runs."""
        return re.findall(r"<target dev='([^']+)'", self.virsh("dumpxml", name))

    def pid(self, name: str) -> int:
        """The QEMU process of a domain."""
        return int((self.directory / f"run/qemu/{name}.pid").read_text())

    def set_metadata(self, name: str, text: str, *options: str) -> None:
        """As the documentation says how."""
        element = f"<domain><![CDATA[{text}]]></domain>"
        self.virsh("metadata", name, NAMESPACE, "--key", "eve", "--set", element, *(options or ("--live",)))

    def log_tail(self) -> str:
        """The ends of what libvirtd wrote."""
        files = [self.directory / "output", self.directory / "log/libvirtd.log"]
        return "\n".join(os.fsdecode(file.read_bytes()[-2000:]) for file in files if file.exists())
