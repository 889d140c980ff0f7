"""A worker: the process that answers guests. Started by the supervisor within the private network namespace.

It imports what it needs, gives up every privilege, and only then accepts connections: everything that parses what
guests send is here. All it knows is the table that the supervisor pushes; all it tells are counts.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from pathlib import Path

from twisted.internet.interfaces import IReactorCore, IReactorSocket, IReactorTime
from twisted.logger import Logger

from eve_meta.channel import (
    CHANNEL_FD,
    FIRST_LISTENER_FD,
    MAX_TO_WORKER,
    Begin,
    Channel,
    Counts,
    PutTap,
    RemoveTap,
    Report,
    ToSupervisor,
    ToWorker,
)
from eve_meta.confine import confine
from eve_meta.errors import Problem
from eve_meta.log import log_to_stderr
from eve_meta.reactor import reactor
from eve_meta.web.listener import prepare
from eve_meta.web.site import Site

COUNT_INTERVAL = 1.0
"""Seconds at most until the supervisor hears of a request; a worker that dies takes this much of the counts along."""


class IReactor(IReactorCore, IReactorSocket, IReactorTime):
    """What a worker needs of the reactor."""


class Worker:
    """Joins the site, which guests talk to, and the channel to the supervisor."""

    _log = Logger()

    def __init__(self, reactor: IReactor, site: Site, listeners: int) -> None:
        self._reactor = reactor
        self._listeners = range(FIRST_LISTENER_FD, FIRST_LISTENER_FD + listeners)
        self._site = site
        self._channel = Channel(self._received, self._supervisor_gone, MAX_TO_WORKER)
        site.counted = self._counted
        self._report_due = False

    def start(self) -> None:
        """Takes the channel; the listening socket follows when the supervisor says so."""
        self._channel.adopt(self._reactor, CHANNEL_FD)
        os.close(CHANNEL_FD)

    def _received(self, message: ToWorker | ToSupervisor, payload: bytes) -> None:
        match message:
            case PutTap():
                self._site.put(message.tag, message.tap, message.since, payload or None)
            case RemoveTap():
                self._site.remove(message.tag)
            case Begin():
                for fd in self._listeners:
                    with socket.socket(fileno=fd) as listener:  # of which the reactor makes a copy
                        prepare(listener)
                        self._reactor.adoptStreamPort(fd, listener.family, self._site)
            case Report():
                self._report(message.number)

    def _counted(self) -> None:
        """Something was counted: tell it soon. At rest there is nothing to tell and no timer."""
        if not self._report_due:
            self._report_due = True
            self._reactor.callLater(COUNT_INTERVAL, self._report, 0)

    def _report(self, number: int) -> None:
        if number == 0:
            self._report_due = False
        counts = {str(tag): of_tag for tag, of_tag in self._site.take_counts().items()}
        if counts or number:
            self._channel.send(Counts(counts=counts, number=number))

    def _supervisor_gone(self) -> None:
        # It holds what we were told; without it, a tap's new domain would never be heard of.
        self._reactor.stop()


def main() -> int:
    """Runs a worker; the supervisor gives it its arguments."""
    parser = argparse.ArgumentParser(description="A worker of eve-meta; only its supervisor can start one.")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--uid", type=int, required=True)
    parser.add_argument("--gid", type=int, required=True)
    parser.add_argument("--listeners", type=int, required=True)
    parser.add_argument("--domain-wait", type=float, required=True)
    arguments = parser.parse_args()
    log_to_stderr()
    # Ctrl-C in a terminal goes to the whole process group; ending is the supervisor's to say, by closing the channel.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker = Worker(reactor, Site(reactor, domain_wait=arguments.domain_wait), arguments.listeners)
    try:
        confine(arguments.root, arguments.uid, arguments.gid)
    except Problem as problem:
        print(f"eve-meta: {problem}", file=sys.stderr)
        return 1
    worker.start()
    reactor.run(installSignalHandlers=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
