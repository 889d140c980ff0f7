"""Network namespaces by name, as ``ip netns`` keeps them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

RUN_NETNS = Path("/run/netns")
CLONE_NEWNET = 0x40000000  # linux/sched.h

_libc = ctypes.CDLL(None, use_errno=True)


class IpError(Exception):
    """A command of ``ip`` failed; the message has the command and the error."""


def _setns(descriptor: int) -> None:
    # os.setns() is not in Python before 3.12.
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


@contextlib.contextmanager
def inside(name: str) -> Iterator[None]:
    """Put the calling thread into the network namespace *name* while the context lasts.

    Sockets and taps that the thread opens there stay there.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        target = os.open(RUN_NETNS / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(target)
        finally:
            os.close(target)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


def names() -> set[str]:
    """Return the names of all network namespaces that have a name."""
    return set(os.listdir(RUN_NETNS)) if RUN_NETNS.is_dir() else set()


def inodes_of(namespaces: Iterable[str]) -> set[int]:
    """Return the inodes of *namespaces*, which identify them also after their names are deleted."""
    return {(RUN_NETNS / name).stat().st_ino for name in namespaces}


def processes_in(inodes: set[int]) -> list[int]:
    """Return the ids of the processes that run in any of the namespaces with *inodes*."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # ended by now
            if entry.name.isdigit() and (entry / "ns/net").stat().st_ino in inodes:
                found.append(int(entry.name))
    return found


def ip_batch(lines: Sequence[str], *, namespace: str | None = None) -> None:
    """Run *lines* as commands of a single ``ip``, in the network namespace *namespace* or in this one.

    :raises IpError: when a command fails; those after it do not run.
    """
    where = [] if namespace is None else ["-n", namespace]
    done = subprocess.run(
        ["ip", *where, "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=False, capture_output=True
    )
    if done.returncode != 0:
        raise IpError(f"ip {'; '.join(lines)}: {' '.join(done.stderr.split())}")


class Namespace:
    """A named network namespace, to run programs and open sockets in."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    def command(self, arguments: Sequence[str | Path]) -> list[str]:
        """Return the command that runs *arguments* in this network namespace, and in no other namespace than before."""
        # Not "ip netns exec", which gives the program a mount namespace and a /sys of its own: without /sys/fs/bpf,
        # and with mounts that no other program sees.
        return ["nsenter", f"--net={RUN_NETNS / self.name}", "--", *map(str, arguments)]

    def run(self, *arguments: str | Path, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program here and return its result; *options* are further ones of :func:`subprocess.run`."""
        return subprocess.run(self.command(arguments), check=check, text=True, capture_output=True, **options)

    def popen(self, *arguments: str | Path, **options: Any) -> subprocess.Popen[Any]:
        """Start a program here; *options* are those of :class:`subprocess.Popen`."""
        return subprocess.Popen(self.command(arguments), **options)

    def ip(self, *lines: str) -> None:
        """Run ``ip`` here with each of *lines*."""
        ip_batch(lines, namespace=self.name)

    def open_socket(self, *arguments: int) -> socket.socket:
        """Open a socket in this namespace; *arguments* are those of :class:`socket.socket`.

        A socket belongs to the namespace in which it was opened, whoever uses it: one process can act for any number of
        guests at once.
        """
        with inside(self.name):
            return socket.socket(*arguments)

    def connect(
        self, address: str = "169.254.169.254", port: int = 80, *, source_port: int = 0, timeout: float = 10
    ) -> socket.socket:
        """Open a TCP connection from this namespace, from *source_port* unless that is 0."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        connection = self.open_socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout)
            # A test that uses a source port a second time must not wait until TIME_WAIT ends.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if source_port:
                connection.bind(("", source_port))
            connection.connect((address, port))
        except BaseException:
            connection.close()
            raise
        return connection
