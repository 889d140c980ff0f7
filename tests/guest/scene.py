"""Helpers of the guest tests: a lab with its daemon and guests, connections that stay open, and waiting."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from attrs import frozen

from harness.daemon import Daemon
from harness.guests import Guest, Lab, Response
from harness.host_state import Change, HostState
from harness.namespace import Namespace

SERVICE = "169.254.169.254"
SERVICE_MAC = "02:a9:fe:a9:fe:01"
ROUTER = "10.0.0.1"

META_DATA = "/openstack/latest/meta_data.json"
USER_DATA = "/openstack/latest/user_data"

POLL = 0.05

T = TypeVar("T")


def eventually(what: Callable[[], T], within: float) -> T:
    """Call *what* again and again for *within* seconds, and return its first true value.

    Where the machine stood still meanwhile, so that *what* was called less than half as often as these seconds allow,
    *what* is called on.
    """
    deadline = time.monotonic() + within
    calls = 1
    while not (value := what()):
        assert time.monotonic() < deadline or calls < within / POLL / 2, f"not within {within} s: {what}"
        time.sleep(POLL)
        calls += 1
    return value


def uuid_of(number: int) -> str:
    """Return the uuid of domain *number*."""
    return f"1a831fa7-c50b-4693-a16e-{number:012x}"


def domain(number: int, tap: str | None, **more: Any) -> dict[str, Any]:
    """Return a domain file in which every value contains *number*."""
    return {
        "uuid": uuid_of(number),
        "name": f"vm{number}",
        "hostname": f"vm{number}.example.org",
        "user_data": f"#!/bin/sh\necho this is vm{number}\n",
        **({} if tap is None else {"nics": [{"tap": tap}]}),
        **more,
    }


@frozen
class Identity:
    """The identity in the documents that a guest reads."""

    uuid: str
    hostname: str
    user_data: bytes

    @classmethod
    def of(cls, number: int) -> Identity:
        """Return the identity of domain *number*."""
        plain = domain(number, None)
        return cls(plain["uuid"], plain["hostname"], plain["user_data"].encode())

    @classmethod
    def read(cls, meta_data: Response, user_data: Response) -> Identity:
        """Return the identity in these answers."""
        assert (meta_data.status, user_data.status) == (200, 200), (meta_data, user_data)
        plain = json.loads(meta_data.body)
        return cls(plain["uuid"], plain["hostname"], user_data.body)

    @classmethod
    def asked_by(cls, guest: Guest) -> Identity:
        """Return the identity that *guest* reads now, on new connections."""
        return cls.read(guest.get(META_DATA), guest.get(USER_DATA))


class KeepAlive:
    """A connection on which a guest sends more than one request."""

    def __init__(self, guest: Guest, *, source_port: int = 0, timeout: float = 10) -> None:
        self.socket = guest.connect(source_port=source_port, timeout=timeout)

    def __enter__(self) -> KeepAlive:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self, path: str) -> None:
        """Send a request for *path*."""
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {SERVICE}\r\n\r\n".encode())

    def answer(self) -> Response:
        """Read the answer to one request."""
        with contextlib.closing(http.client.HTTPResponse(self.socket, method="GET")) as answer:
            answer.begin()
            return Response(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    def get(self, path: str) -> Response:
        """Send a request for *path*, and read the answer."""
        self.ask(path)
        return self.answer()

    def rest(self, patience: float = 3.0) -> bytes:
        """Return everything that still arrives until the other end closes or resets the connection.

        :raises TimeoutError: when the other end does neither within *patience* seconds after the last byte.
        """
        self.socket.settimeout(patience)
        came = b""
        with contextlib.suppress(ConnectionError):
            while piece := self.socket.recv(65536):
                came += piece
        return came


@frozen
class Scene:
    """A lab and its daemon."""

    lab: Lab
    daemon: Daemon

    @property
    def private(self) -> Namespace:
        """The daemon's private network namespace."""
        return Namespace(self.lab.name)

    def status_of(self, tap: str) -> dict[str, Any]:
        """Return what ``status`` shows of *tap*; empty while it does not know the tap."""
        return next((shown for shown in self.daemon.status()["taps"] if shown["tap"] == tap), {})

    def drops(self, tap: str) -> dict[str, int]:
        """Return the number of frames of *tap*'s guest that were dropped, by reason."""
        return dict(self.status_of(tap)["drops"])

    def domain_is(self, tap: str, number: int | None) -> bool:
        """Return whether *tap* has a carrier and domain *number*; None stands for no domain."""
        return self.uuid_is(tap, None if number is None else uuid_of(number))

    def uuid_is(self, tap: str, uuid: str | None) -> bool:
        """Return whether *tap* has a carrier and the domain of that *uuid*; None stands for no domain.

        The carrier comes a moment after the tap, and means that another process may hold the tap: in one turn of the
        reactor the daemon notes the carrier and takes the domain from the tap, until it knows the holder. A guest that
        asks meanwhile gets 503. So a domain without a carrier is one that may still be taken away.
        """
        shown = self.status_of(tap)
        return bool(shown) and shown["carrier"] and (shown["domain"] or {}).get("uuid") == uuid

    def filters(self, tap: str) -> str:
        """Return the filters on the ingress of *tap*, as tc shows them."""
        return self.lab.host.run("tc", "filter", "show", "dev", tap, "ingress", check=False).stdout

    def wait_until_known(self, **numbers: int) -> None:
        """Wait until each tap has a carrier and the domain of that number (:meth:`uuid_is`)."""
        for tap, number in numbers.items():
            eventually(lambda tap=tap, number=number: self.domain_is(tap, number), 5)  # type: ignore[misc]


@contextlib.contextmanager
def scene(
    name: str,
    domains: Mapping[str, Mapping[str, Any]],
    *,
    started: bool = True,
    address: str | None = f"{ROUTER}/24",
    **options: Any,
) -> Iterator[Scene]:
    """Make the lab *name* with a bridge and a daemon that has *domains*; *options* are those of :class:`Daemon`.

    :param address: the host's on the bridge, None for none.
    """
    with Lab(name) as lab:
        # Otherwise each new link gets its IPv6 address a second or two after it came up, in the middle of a comparison.
        lab.host.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        lab.bridge("br0", address)
        daemon = Daemon(lab, **options)
        for file, plain in domains.items():
            daemon.write_domain(file, plain)
        try:
            if started:
                daemon.start()
            yield Scene(lab, daemon)
        finally:
            daemon.stop()


@frozen
class Iptables:
    """A *variant* of iptables, "nft" or "legacy", for one daemon, which a test can make fail."""

    directory: Path
    variant: str

    def prefix(self) -> list[str]:
        """Return the prefix with which :meth:`Daemon.start` runs a daemon that uses this variant."""
        self.directory.mkdir(exist_ok=True)
        program = shutil.which(f"xtables-{self.variant}-multi")
        assert program, f"install the package iptables: it has xtables-{self.variant}-multi"
        for tool in ("iptables", "ip6tables", "iptables-restore", "ip6tables-restore"):
            script = self.directory / tool
            fails = f"if test -e {self._broken}; then echo 'out of order' >&2; exit 1; fi\n" if "-" in tool else ""
            script.write_text(f'#!/bin/sh\n{fails}exec {program} {tool} "$@"\n')
            script.chmod(0o755)
        return ["env", f"PATH={self.directory}:{os.environ['PATH']}"]

    @property
    def _broken(self) -> Path:
        return self.directory / "broken"

    @contextlib.contextmanager
    def broken(self) -> Iterator[None]:
        """Let every attempt to load rules fail."""
        self._broken.touch()
        try:
            yield
        finally:
            self._broken.unlink()


@frozen
class Hosts:
    """The state of the hypervisor's network and of this machine's own, to compare with a later one."""

    lab: str
    states: dict[str, HostState]

    @classmethod
    def read(cls, lab: Lab, **more: Namespace) -> Hosts:
        """Read both states now, and those of the namespaces in *more*."""
        states = {"lab": HostState.read(lab.host), "machine": HostState.read()}
        return cls(lab.name, states | {name: HostState.read(namespace) for name, namespace in more.items()})

    def changes(self, *, patience: float = 5.0) -> list[str]:
        """Return what is different on the hypervisor ("lab") or this machine ("machine") after *patience* seconds."""
        deadline = time.monotonic() + patience
        while True:
            found = [
                f"{which} {change}"
                for which, state in self.states.items()
                for change in state.changes()
                if self._concerns_us(change)
            ]
            if not found or time.monotonic() >= deadline:
                return found
            time.sleep(0.1)

    def _concerns_us(self, change: Change) -> bool:
        # These two sections cover the whole machine, where other labs may come and go. The check at the end of the
        # session (tests/conftest.py) compares those too.
        everybodys = change.section in ("network namespaces", "pins in /sys/fs/bpf")
        return not everybodys or self.lab in change.line


def proc(pid: int, name: str) -> str:
    """Return the text of the file *name* of ``/proc/PID``."""
    # A process chooses its name, which need not be text.
    return Path(f"/proc/{pid}/{name}").read_text(errors="replace")


def proc_status(pid: int) -> dict[str, str]:
    """Return the values of ``/proc/PID/status`` by key."""
    lines = (line.partition(":") for line in proc(pid, "status").splitlines())
    return {key: value.strip() for key, _, value in lines}


def is_alive(pid: int) -> bool:
    """Return whether the process *pid* runs; a zombie does not."""
    try:
        return not proc_status(pid)["State"].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return False


SYS_PIDFD_GETFD = 438  # of every architecture


def duplicated_fd(pid: int, fd: int) -> int:
    """Duplicate descriptor *fd* of the process *pid* into this process."""
    pidfd = os.pidfd_open(pid)
    try:
        copy = ctypes.CDLL(None, use_errno=True).syscall(SYS_PIDFD_GETFD, pidfd, fd, 0)
        assert copy >= 0, os.strerror(ctypes.get_errno())
        return int(copy)
    finally:
        os.close(pidfd)


def is_channel(copy: socket.socket) -> bool:
    """Return whether *copy*, of a worker's socket, is of the channel to its supervisor."""
    return (copy.family, copy.type) == (socket.AF_UNIX, socket.SOCK_STREAM)


def duplicated_sockets(pid: int) -> Iterator[socket.socket]:
    """Yield a duplicate of each socket of the process *pid*; each is closed after its turn."""
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        if str(fd.readlink()).startswith("socket:"):
            with socket.socket(fileno=duplicated_fd(pid, int(fd.name))) as copy:
                yield copy
