"""The sockets that guests connect to.

Workers come and go, these stay: what a worker that was taken over did to them outlives it.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Sequence

from twisted.logger import Logger

SO_LOCK_FILTER = 44
"""Of Linux's ``asm-generic/socket.h``; Python has no name for it. Nobody can attach a socket filter afterwards, which
would outlive the worker that attached it and drop what it likes, unseen."""


class Listeners:
    """The sockets that workers accept on, each on its own: *sockets* at first.

    :param listen: makes them anew; it raises :class:`~eve_meta.values.problem.Problem` where that is impossible.
    :param keep: called with them, now and when they are others.
    """

    _log = Logger()

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        listen: Callable[[], Sequence[socket.socket]],
        keep: Callable[[Sequence[socket.socket]], None],
    ) -> None:
        self._listen = listen
        self._keep = keep
        self._sockets: Sequence[socket.socket] = ()
        self._take(sockets)

    def sound(self, broken: Callable[[], None]) -> Sequence[socket.socket]:
        """The sockets; where one does not listen any more all are made anew, and *broken* is called before.

        :raises Problem: as *listen* does; the next call tries again.
        """
        if not all(map(_listens, self._sockets)):
            self.give_up("a worker shut a socket that guests connect to")
            broken()
        if not self._sockets:
            self._take(self._listen())
        return self._sockets

    def give_up(self, why: str) -> None:
        """Ends them, for whoever has them; the next who asks gets others."""
        self._log.error("{why}; all these sockets are made anew, and all workers start again", why=why)
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # for those too who hold a copy, and so the port
        self.close()

    def close(self) -> None:
        """Closes them; whoever else has them may go on."""
        for each in self._sockets:
            each.close()
        self._sockets = ()

    def _take(self, sockets: Sequence[socket.socket]) -> None:
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, SO_LOCK_FILTER, 1)
        self._sockets = sockets
        self._keep(sockets)


def _listens(listener: socket.socket) -> bool:
    return bool(listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
