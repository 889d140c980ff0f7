"""The sockets that guests connect to.

Workers come and go, these sockets stay: what a compromised worker did to them outlives it. So they are looked at often;
damaged ones are replaced, and the worker whose they are is killed. No other worker notices.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from eve_meta.steering.path.listening import WorkerSockets

LOOK_EVERY = 1.0
"""Seconds between two looks at the sockets. A look takes 0.1 ms for each worker."""


class SocketSteering(Protocol):
    """The steering (:class:`eve_meta.steering.steering.Steering`), as the listeners use it."""

    def are_sound(self, sockets: WorkerSockets, /) -> bool: ...

    def replace(self, number: int, damaged: WorkerSockets, /) -> WorkerSockets:
        """Return new sockets; raise :class:`~eve_meta.values.problem.Problem` when that is impossible."""


class Listeners:
    """The sockets that workers accept on, by the worker's number.

    :param sockets: the first ones.
    :param damaged: called with the number of a worker whose sockets it has damaged.
    :param keep: called with all sockets, now and whenever some are replaced.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        steering: SocketSteering,
        sockets: Sequence[WorkerSockets],
        damaged: Callable[[int], None],
        keep: Callable[[Sequence[socket.socket]], None],
    ) -> None:
        self._steering = steering
        self._sockets = list(sockets)
        self._damaged = damaged
        self._keep = keep
        self._keep_all()
        self._looking = LoopingCall(self._look)
        self._looking.clock = reactor
        self._looking.start(LOOK_EVERY, now=False)

    def get_sound(self, number: int) -> Sequence[socket.socket]:
        """Return the sockets of the worker of that number, new ones where they are damaged.

        :raises Problem: when there can be no new ones; the next call tries again.
        """
        sockets = self._sockets[number]
        if not self._steering.are_sound(sockets):
            self._log.error(
                "worker {number} has damaged a socket that guests connect to; its sockets are replaced", number=number
            )
            sockets = self._sockets[number] = self._steering.replace(number, sockets)
            self._keep_all()
        sockets.renew()
        return *sockets.sockets, *sockets.retired

    def close(self) -> None:
        """Close the sockets; whoever else has them may go on."""
        if self._looking.running:
            self._looking.stop()
        for each in self._sockets:
            each.close()

    def _look(self) -> None:
        for number, sockets in enumerate(self._sockets):
            if not self._steering.are_sound(sockets):
                # The worker's next process gets new ones.
                self._damaged(number)

    def _keep_all(self) -> None:
        self._keep([each for sockets in self._sockets for each in sockets.sockets])
