"""Messages to the service manager that started the daemon, by sd_notify(3): datagrams of KEY=VALUE lines.

Written here, because libsystemd's own binding is a C library for one ``sendto``, and PyPI's others are no longer kept.
A service manager names its socket in the environment; where none does, nothing here has an effect.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from array import array
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.systemd import ListenFDs

STATUS_INTERVAL = 10.0
"""Seconds between two status lines where there is no watchdog, whose time would decide."""

FIRST_STORED = 3
"""The first descriptor that a service manager passes to the process that it starts (sd_listen_fds(3))."""

NAME = "guests-{}"
"""The name under which the service manager stores a socket that guests connect to. The number is the socket's place
among them: the service manager passes them to the next daemon in an order of its own."""

_STORED = re.compile(r"guests-([0-9]{1,3})")

STORE_TIMEOUT = 1.0
"""Seconds to wait for a service manager that is to store sockets: without them the next daemon begins with refused
connections."""


class ServiceManager:
    """The service manager that started this process.

    :param environ: the environment. Every variable of the service manager is taken out of it, so that no child of this
        process can speak in its name.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        microseconds = environ.pop("WATCHDOG_USEC", "")
        # With another process's id, it is that process that the watchdog watches, and we are its child
        # (sd_watchdog_enabled(3)).
        watches_us = environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog = int(microseconds) / 1e6 if microseconds.isdecimal() and watches_us else 0.0
        self._ready = self._stopping = False
        (self._stored, self._names) = _inherited(environ)

    @property
    def stored(self) -> tuple[socket.socket, ...]:
        """The sockets that the service manager stores, so that they outlive this process.

        Until the first call of :meth:`store`, these are the sockets of the daemon before.
        """
        return tuple(self._stored.values())

    @property
    def is_present(self) -> bool:
        """Whether a service manager started this process."""
        return bool(self._address)

    def status(self, text: str) -> None:
        """Send the line that ``systemctl status`` shows."""
        self._send(f"STATUS={text}")

    def ready(self, status: str) -> None:
        """Announce, once, that guests are answered from now on."""
        if not self._ready:
            self._ready = True
            self._send(f"READY=1\nSTATUS={status}")

    def stopping(self, how: str = "removing everything from the host") -> None:
        """Announce, once, that the daemon ends."""
        if not self._stopping:
            self._stopping = True
            self._send(f"STOPPING=1\nSTATUS={how}")

    def store(self, sockets: Sequence[socket.socket]) -> None:
        """Have the service manager store *sockets* in place of those that it stores now; they stay open here, too.

        It passes them to the daemon that it starts next, however this one ends. Connections that guests open in between
        wait in the sockets' backlog.
        """
        if tuple(sockets) == self.stored:
            return
        for name in sorted(self._names):
            self._send(f"FDSTOREREMOVE=1\nFDNAME={name}", timeout=STORE_TIMEOUT)
        self._stored = {NAME.format(place): each for place, each in enumerate(sockets)}
        self._names = set(self._stored)
        for name, each in self._stored.items():
            self._send(f"FDSTORE=1\nFDNAME={name}", each, timeout=STORE_TIMEOUT)

    def start_heartbeat(self, reactor: IReactorTime, status: Callable[[], str]) -> None:
        """Send, from now on at half the watchdog's time, a sign of life and *status()*.

        A reactor that is blocked sends nothing, and the service manager then starts another daemon.
        """
        if self._address:
            call = LoopingCall(self._beat, status)
            call.clock = reactor
            call.start(self._watchdog / 2 or STATUS_INTERVAL)

    def _beat(self, status: Callable[[], str]) -> None:
        if not self._stopping:
            self._send(f"{'WATCHDOG=1' * bool(self._watchdog)}\nSTATUS={status()}".strip())

    def _send(self, message: str, passed: socket.socket | None = None, *, timeout: float = 0.0) -> None:
        if not self._address:
            return
        rights: list[tuple[int, int, Any]] = []
        if passed is not None:
            rights.append((socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [passed.fileno()])))
        # A service manager that is gone, or too slow to read, is no reason to fail or to wait for long.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(timeout)
            sender.sendmsg([message.encode()], rights, 0, self._address)


def _inherited(environ: MutableMapping[str, str]) -> tuple[dict[str, socket.socket], set[str]]:
    """Return the sockets that the service manager stored, in the order of their places, and all stored names of ours.

    The variables of sd_listen_fds(3) are taken out of *environ*. Descriptors that were passed to another process have
    its id in LISTEN_PID: this process is its child, and has descriptors of its own under those numbers.
    """
    passed = ListenFDs.fromEnvironment(environ, FIRST_STORED)
    for name in [name for name in environ if name.startswith("LISTEN_")]:
        del environ[name]
    named = passed.inheritedNamedDescriptors()
    # Of several under one name the last counts: the message to remove the others did not reach the service manager.
    for descriptor in set(passed.inheritedDescriptors()).difference(named.values()):
        with contextlib.suppress(OSError):
            os.close(descriptor)
    ours = {name: descriptor for name, descriptor in named.items() if _STORED.fullmatch(name)}
    stored = {}
    for name, descriptor in sorted(ours.items(), key=lambda each: int(each[0].rpartition("-")[2])):
        with contextlib.suppress(OSError):  # what is no socket was not stored by a daemon
            stored[name] = socket.socket(fileno=descriptor)
            stored[name].set_inheritable(False)
    return stored, set(ours)
