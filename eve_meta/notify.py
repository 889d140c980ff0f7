"""What the service manager hears of the daemon: sd_notify(3)'s protocol, a datagram of KEY=VALUE lines each time.

Written here, because libsystemd's own binding is a C library for one ``sendto``, and PyPI's others are no longer kept.
Without a service manager, which says where it listens in the environment, all of this does nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, MutableMapping
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

STATUS_INTERVAL = 10.0
"""Seconds between two words on how it goes, where there is no watchdog to set the beat."""


class ServiceManager:
    """The service manager that started us.

    :param environ: where it says how to reach it. What it says is taken out: no child of ours is to speak for us.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        microseconds = environ.pop("WATCHDOG_USEC", "")
        # Where it is another's, we are the child of who is watched (sd_watchdog_enabled(3)).
        ours = environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog = int(microseconds) / 1e6 if microseconds.isdecimal() and ours else 0.0
        self._ready = self._stopping = False

    def status(self, text: str) -> None:
        """Says how it goes, for ``systemctl status``."""
        self._send(f"STATUS={text}")

    def ready(self, status: str) -> None:
        """Says, once, that guests are answered now."""
        if not self._ready:
            self._ready = True
            self._send(f"READY=1\nSTATUS={status}")

    def stopping(self) -> None:
        """Says, once, that the daemon ends."""
        if not self._stopping:
            self._stopping = True
            self._send("STOPPING=1\nSTATUS=removing everything from the host")

    def beat(self, reactor: IReactorTime, status: Callable[[], str]) -> None:
        """Says from now on, at half the watchdog's time, that *reactor* turns, and how it goes.

        A reactor that is blocked says nothing, and then the service manager starts another daemon.
        """
        if self._address:
            call = LoopingCall(self._beat, status)
            call.clock = reactor
            call.start(self._watchdog / 2 or STATUS_INTERVAL)

    def _beat(self, status: Callable[[], str]) -> None:
        if not self._stopping:
            self._send(f"{'WATCHDOG=1' * bool(self._watchdog)}\nSTATUS={status()}".strip())

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # A service manager that is gone, or too slow to read, is no reason to fail or to wait.
        with contextlib.suppress(OSError), _datagram_socket() as sender:
            sender.sendto(message.encode(), self._address)


def _datagram_socket() -> Any:
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
