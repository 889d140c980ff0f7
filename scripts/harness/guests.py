"""Guests without a hypervisor: network namespaces behind real tap devices.

A *lab* is a network namespace that plays the hypervisor ("the host"), with bridges and taps in it, and one namespace
for each guest. A guest's ``eth0`` is a tap too, and :mod:`harness.pump` carries the frames between it and the host's
tap; the host's kernel cannot distinguish a guest from a VM. The lab makes nothing in the machine's network namespace
and so never conflicts with the machine's links, rules and addresses; all guests may have the same IP and MAC address.

Everything bears the lab's name, by which the next lab recognises and removes what a killed lab left (:func:`clean`)::

    with Lab("demo") as lab:
        lab.bridge("br0", "10.0.0.1/24")
        web = lab.guest("web", tap="vnet0", bridge="br0", gateway="10.0.0.1")
        print(web.get("/openstack").body)
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from harness import SCRIPTS
from harness.namespace import Namespace, inodes_of, ip_batch, names, processes_in
from harness.pump import MAX_MESSAGE

ZEROCONF = "169.254.0.0/16"
"""The route that CentOS and its kin give every interface: there a guest finds 169.254.169.254 on its link, by ARP."""

BPFFS = Path("/sys/fs/bpf")


class LabError(Exception):
    """A lab cannot be made; the message is one line with the reason and the remedy."""


class Response(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes


class Guest(Namespace):
    """A guest, which is a namespace.

    :ivar tap: the name of the host's end of the guest's NIC; None while the NIC is unplugged.
    """

    def __init__(self, lab: Lab, name: str, bridge: str | None) -> None:
        super().__init__(f"{lab.name}-{name}")
        self.tap: str | None = None
        self._lab = lab
        self._bridge = bridge

    def command(self, arguments: Sequence[str | Path]) -> list[str]:
        return guest_command(self.name, arguments)

    def plug(self, tap: str) -> None:
        """Give the guest's NIC a new tap on the host, as when a VM starts or its NIC is plugged in again."""
        self._lab.make_tap(tap, bridge=self._bridge, guest=self.name)
        self.tap = tap

    def unplug(self) -> None:
        """Delete the host's tap; the guest keeps its NIC and its connections, as when a cable is pulled."""
        if self.tap is not None:
            self._lab.delete_tap(self.tap)
            self.tap = None

    def get(
        self,
        path: str,
        *,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        host: str = "169.254.169.254",
        source_port: int = 0,
        timeout: float = 10,
    ) -> Response:
        """Request *path* from *host* on a new connection."""
        connection = http.client.HTTPConnection(host, timeout=timeout)
        connection.sock = self.connect(host, source_port=source_port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return Response(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())


class Lab:
    """A hypervisor's network and its guests; a context manager that leaves nothing behind.

    :ivar host: the namespace that plays the hypervisor.
    :ivar directory: a folder for the lab's files that only root can enter; it is removed with the lab.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.host = Namespace(f"{name}-host")
        self.directory = directory_of(name)
        self.guests: dict[str, Guest] = {}
        self._lock: socket.socket | None = None
        self._pump: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def __enter__(self) -> Lab:
        self._lock = lock(self.name)
        try:
            clean(self.name)
            self.directory.mkdir(mode=0o700)
            ip_batch([f"netns add {self.host.name}"])
            self.host.ip("link set lo up")
            self._start_pump()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove everything, also after a failure half-way."""
        self._stop_pump()
        self.guests.clear()
        clean(self.name)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def bridge(self, name: str, address: str | None = None) -> None:
        """Make a bridge on the host; *address* makes the host a neighbour of its guests (their gateway, say)."""
        # Without forward_delay 0 a bridge forwards nothing from a new port for 15 s, although it runs no STP.
        self.host.ip(f"link add {name} type bridge forward_delay 0", f"link set {name} up")
        if address is not None:
            self.host.ip(f"address add {address} dev {name}")

    def guest(
        self,
        name: str,
        *,
        tap: str | None,
        bridge: str | None = None,
        address: str | None = "10.0.0.5/24",
        gateway: str | None = None,
        mac: str | None = None,
    ) -> Guest:
        """Make a guest whose NIC is behind *tap*, which is a port of *bridge* or, without a bridge, routed.

        Without a *tap* the NIC is unplugged. With a *gateway* the guest has a default route and sends ARP requests for
        the gateway; without one it has the zeroconf route and sends ARP requests for 169.254.169.254 itself. On a
        routed tap nobody answers for a gateway. Without an *address* the guest has IPv6 only: the link-local address
        that the kernel gives its NIC, and no route but that link's.
        """
        guest = Guest(self, name, bridge)
        ip_batch([f"netns add {guest.name}"])
        self.guests[name] = guest
        self._ask("make", namespace=guest.name, name="eth0")
        if address is None:
            (addresses, routes) = ([], [])
        else:
            addresses = [f"address add {address} dev eth0"]
            routes = [
                f"route add {ZEROCONF} dev eth0 scope link" if gateway is None else f"route add default via {gateway}"
            ]
        guest.ip(
            "link set lo up",
            *([] if mac is None else [f"link set eth0 address {mac}"]),
            *addresses,
            "link set eth0 up",
            *routes,
        )
        if tap is not None:
            guest.plug(tap)
        return guest

    def make_tap(self, tap: str, *, bridge: str | None = None, guest: str | None = None) -> None:
        """Make a tap on the host, and connect it by a cable to eth0 of the namespace *guest*."""
        self._ask("make", namespace=self.host.name, name=tap)
        if guest is not None:
            self._ask("connect", one=[self.host.name, tap], other=[guest, "eth0"])
        master = [] if bridge is None else [f"link set {tap} master {bridge}"]
        self.host.ip(*master, f"link set {tap} up")

    def share_tap(self, tap: str, pid: int, guest: Guest) -> None:
        """Connect *guest* by a cable to a tap of the host that a QEMU holds, the process *pid*, whose CPU is halted."""
        self._ask("share", namespace=self.host.name, name=tap, pid=pid)
        self._ask("connect", one=[self.host.name, tap], other=[guest.name, "eth0"])
        guest.tap = tap

    def delete_tap(self, tap: str) -> None:
        """Delete a tap on the host."""
        self._ask("delete", namespace=self.host.name, name=tap)

    def remove(self, guest: Guest) -> None:
        """Remove a guest altogether, as when a VM is deleted."""
        guest.unplug()
        self._ask("delete", namespace=guest.name, name="eth0")
        ip_batch([f"netns delete {guest.name}"])
        self.guests = {name: other for name, other in self.guests.items() if other is not guest}

    def _start_pump(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._pump = subprocess.Popen(
                [sys.executable, SCRIPTS / "harness/pump.py", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
            )

    def _stop_pump(self) -> None:
        # Before the namespaces go: an open tap descriptor keeps its namespace alive after the name is gone.
        if self._control is not None:
            with contextlib.suppress(LabError):
                self._ask("release")
            self._control.close()
            self._control = None
        if self._pump is not None:
            self._pump.wait(timeout=10)
            self._pump = None

    def _ask(self, do: str, **arguments: Any) -> None:
        if self._control is None:
            raise LabError(f"lab {self.name!r} is not open")
        try:
            self._control.send(json.dumps({"do": do, **arguments}).encode())
            answer = json.loads(self._control.recv(MAX_MESSAGE))
        except (OSError, ValueError):
            raise LabError(f"lab {self.name!r}: the pump process died") from None
        if "error" in answer:
            raise LabError(f"lab {self.name!r}: cannot {do} {arguments}: {answer['error']}")


def guest_command(namespace: str, arguments: Sequence[str | Path]) -> list[str]:
    """Return the command that runs *arguments* as in a guest: with its network, its /sys/class/net, and no name server.

    A guest cannot reach the machine's name servers, and programs would wait for them: cloud-init half a minute.
    """
    # "ip netns exec" makes a private mount namespace: only the command in it sees the empty file.
    alone = 'test ! -e /etc/resolv.conf || mount --bind /dev/null /etc/resolv.conf; exec "$@"'
    return ["ip", "netns", "exec", namespace, "sh", "-c", alone, "sh", *map(str, arguments)]


def directory_of(name: str) -> Path:
    """Return the folder in which the lab *name* keeps its files."""
    return Path("/run") / name


def lock(name: str) -> socket.socket:
    """Reserve the name of a lab for this process, which may then make and remove whatever bears the name.

    :raises LabError: when another process holds it.
    """
    holder = socket.socket(socket.AF_UNIX)
    try:
        holder.bind(_lock_address(name))
    except OSError:
        holder.close()
        raise LabError(f"a lab {name!r} is up already; end it with: scripts/lab down") from None
    holder.listen()  # so that holder_of() can ask who holds the name
    return holder


def holder_of(name: str) -> int | None:
    """Return the id of the process that holds a lab's :func:`lock`; None when none does."""
    with socket.socket(socket.AF_UNIX) as asking:
        try:
            asking.connect(_lock_address(name))
        except ConnectionRefusedError:
            return None
        pid, _, _ = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid)


def _lock_address(name: str) -> str:
    # An abstract address: the kernel frees it when the process ends, and no file stays.
    return f"\0eve-meta-lab-{name}"


def leftovers(name: str) -> list[str]:
    """List what exists of a lab, in words for people."""
    found = [f"network namespace {other}" for other in sorted(_namespaces(name))]
    found += [str(path) for path in (directory_of(name), BPFFS / name) if path.exists()]
    return found


def clean(name: str) -> None:
    """Remove everything that bears the lab's name, and end the processes in it.

    The caller holds the lab's :func:`lock`.
    """
    _end_processes(inodes_of(_namespaces(name)))
    # After the processes: a daemon that is ended removes its own namespace.
    if found := _namespaces(name):
        ip_batch([f"netns delete {other}" for other in sorted(found)])
    # The daemon's pinned programs and maps, when it was killed.
    for path in (BPFFS / name, directory_of(name)):
        shutil.rmtree(path, ignore_errors=True)


def _namespaces(name: str) -> set[str]:
    """Return the names of the lab's namespaces: the daemon's private namespace has the lab's name itself."""
    return {other for other in names() if other == name or other.startswith(f"{name}-")}


def _end_processes(inodes: set[int]) -> None:
    for number, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        deadline = time.monotonic() + patience
        for pid in (pids := processes_in(inodes)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        while pids and time.monotonic() < deadline:
            time.sleep(0.02)
            pids = processes_in(inodes)
        if not pids:
            return
