"""What the service manager hears of the daemon: sd_notify(3)'s protocol, a datagram of KEY=VALUE lines each time.

Written here, because libsystemd's own binding is a C library for one ``sendto``, and PyPI's others are no longer kept.
Without a service manager, which says where it listens in the environment, all of this does nothing.
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

STATUS_INTERVAL = 10.0
"""Seconds between two words on how it goes, where there is no watchdog to set the beat."""

FIRST_KEPT = 3
"""The first descriptor that a service manager passes on (sd_listen_fds(3))."""

NAME = "guests-{}"
"""The names of what it keeps for us, the sockets that guests connect to, with the place of each among them: it gives
them back in an order of its own."""

_KEPT = re.compile(r"guests-([0-9]{1,3})")

KEEP_TIME = 1.0
"""Seconds that it is waited for when it is to keep sockets: without them the next daemon begins with refusals."""


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
        (self._kept, self._names) = _inherited(environ)

    @property
    def kept(self) -> tuple[socket.socket, ...]:
        """The sockets that it keeps, so that they outlive this process; those of the daemon before at first."""
        return tuple(self._kept.values())

    @property
    def listens(self) -> bool:
        """Whether there is one."""
        return bool(self._address)

    def status(self, text: str) -> None:
        """Says how it goes, for ``systemctl status``."""
        self._send(f"STATUS={text}")

    def ready(self, status: str) -> None:
        """Says, once, that guests are answered now."""
        if not self._ready:
            self._ready = True
            self._send(f"READY=1\nSTATUS={status}")

    def stopping(self, how: str = "removing everything from the host") -> None:
        """Says, once, that the daemon ends."""
        if not self._stopping:
            self._stopping = True
            self._send(f"STOPPING=1\nSTATUS={how}")

    def keep(self, sockets: Sequence[socket.socket]) -> None:
        """Has it keep *sockets*, which stay ours, in place of those that it keeps now.

        Who starts next in our place has them, whatever we end by; what connects meanwhile waits in their backlog.
        """
        if tuple(sockets) == self.kept:
            return
        for name in sorted(self._names):
            self._send(f"FDSTOREREMOVE=1\nFDNAME={name}", patience=KEEP_TIME)
        self._kept = {NAME.format(place): each for place, each in enumerate(sockets)}
        self._names = set(self._kept)
        for name, each in self._kept.items():
            self._send(f"FDSTORE=1\nFDNAME={name}", each, patience=KEEP_TIME)

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

    def _send(self, message: str, kept: socket.socket | None = None, *, patience: float = 0.0) -> None:
        if not self._address:
            return
        rights: list[tuple[int, int, Any]] = []
        if kept is not None:
            rights.append((socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [kept.fileno()])))
        # A service manager that is gone, or too slow to read, is no reason to fail or to wait for long.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(patience)
            sender.sendmsg([message.encode()], rights, 0, self._address)


def _inherited(environ: MutableMapping[str, str]) -> tuple[dict[str, socket.socket], set[str]]:
    """The sockets that it kept for us, in their order, by sd_listen_fds(3); and all names of ours that it has."""
    said = {name: environ.pop(name) for name in list(environ) if name.startswith("LISTEN_")}
    names = said.get("LISTEN_FDNAMES", "").split(":")
    # Where they were passed to another, we are its child, and under these numbers have what is our own.
    if said.get("LISTEN_PID") != str(os.getpid()) or said.get("LISTEN_FDS") != str(len(names)):
        return {}, set()
    kept = {}
    for descriptor, name in enumerate(names, FIRST_KEPT):
        if _KEPT.fullmatch(name):
            with contextlib.suppress(OSError):  # no socket, and so not what we gave away
                kept[name] = socket.socket(fileno=descriptor)
    for each in kept.values():
        each.set_inheritable(False)
    in_order = sorted(kept.items(), key=lambda named: int(named[0].rpartition("-")[2]))
    return dict(in_order), {name for name in names if _KEPT.fullmatch(name)}
