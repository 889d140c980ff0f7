"""What systemd does for a daemon: hears what that says (sd_notify(3)), and keeps its sockets for the next.

As systemd 252's service_notify_message() and service_add_fd_store() do it; tests/package has the real one.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

PASS = """
import os, sys
address, names, *command = sys.argv[1:]
names = [each.split("=") for each in names.split(",") if each]
# First out of the way of each other, then to where they belong.
moved = [os.dup(int(fd)) for _, fd in names]
high = [os.dup2(fd, 100 + number) for number, fd in enumerate(moved)]
for number, fd in enumerate(high, 3):
    os.dup2(fd, number, inheritable=True)
os.closerange(3 + len(names), 200)
os.environ["NOTIFY_SOCKET"] = address
if names:
    os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(names))}
    os.environ["LISTEN_FDNAMES"] = ":".join(name for name, _ in names)
os.execvp(command[0], command)
"""
"""Becomes a daemon that has what is kept for it."""

MAX_KEPT = 128
"""The unit's FileDescriptorStoreMax=."""


class ServiceManager:
    """A service manager with its socket at *path*; a context manager.

    :ivar heard: the messages.
    :ivar kept: descriptors and their names, in the order in which they came.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._hear)
        self.heard: list[str] = []
        self.kept: list[tuple[str, int]] = []

    def __enter__(self) -> ServiceManager:
        self._socket.bind(str(self._path))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        self._path.unlink()
        self.forget()

    def forget(self) -> None:
        """As when the service has ended and is not started again."""
        while self.kept:
            os.close(self.kept.pop()[1])

    def start(self) -> dict[str, Any]:
        """The arguments of ``Daemon.start`` for one that this service manager starts."""
        names = ",".join(f"{name}={fd}" for name, fd in self.kept)
        return {
            "prefix": [sys.executable, "-c", PASS, str(self._path), names],
            "pass_fds": [fd for _, fd in self.kept],
        }

    def _hear(self) -> None:
        while True:
            message, descriptors, _, _ = socket.recv_fds(self._socket, 4096, 16)
            if not message:
                return
            self.heard.append(message.decode())
            lines = self.heard[-1].splitlines()
            name = next((line.removeprefix("FDNAME=") for line in lines if line.startswith("FDNAME=")), "stored")
            if "FDSTOREREMOVE=1" in lines:
                for each in [each for each in self.kept if each[0] == name]:
                    self.kept.remove(each)
                    os.close(each[1])
            elif "FDSTORE=1" in lines:
                self.kept += [(name, descriptor) for descriptor in descriptors]
                assert len(self.kept) <= MAX_KEPT
                descriptors = []
            for descriptor in descriptors:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
