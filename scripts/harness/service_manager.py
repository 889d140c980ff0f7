"""A service manager as systemd is one: it receives a daemon's notifications and keeps sockets for the next daemon.

sd_notify(3) describes both; the model is service_notify_message() and service_add_fd_store() of systemd 252.
tests/package uses the real systemd.
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

EXECUTE_WITH_DESCRIPTORS = """
import os, sys
address, names, *command = sys.argv[1:]
names = [each.split("=") for each in names.split(",") if each]
# First to numbers where none is in another's place, then to 3, 4 and so on.
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
"""A program that gives a daemon the descriptors that are kept for it, and becomes the daemon."""

MAX_KEPT = 128
"""The unit's FileDescriptorStoreMax=."""


class ServiceManager:
    """A service manager with its notification socket at *path*; a context manager.

    :ivar messages: the notifications, in the order in which they came.
    :ivar kept: the names and descriptors that it keeps, in the order in which they came.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._receive)
        self.messages: list[str] = []
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
        """Close all descriptors that are kept, as when the service has ended and is not started again."""
        while self.kept:
            os.close(self.kept.pop()[1])

    def start(self) -> dict[str, Any]:
        """Return the arguments of ``Daemon.start`` for a daemon that this service manager starts."""
        names = ",".join(f"{name}={fd}" for name, fd in self.kept)
        return {
            "prefix": [sys.executable, "-c", EXECUTE_WITH_DESCRIPTORS, str(self._path), names],
            "pass_fds": [fd for _, fd in self.kept],
        }

    def _receive(self) -> None:
        while True:
            message, descriptors, _, _ = socket.recv_fds(self._socket, 4096, 16)
            if not message:
                return
            self.messages.append(message.decode())
            lines = self.messages[-1].splitlines()
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
