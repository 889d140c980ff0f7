"""The sockets that guests connect to.

Workers come and go, these sockets stay: what a compromised worker did to them outlives it.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Sequence

from twisted.logger import Logger

SO_LOCK_FILTER = 44
"""Of Linux's ``asm-generic/socket.h``; Python has no name for it. Nobody can attach a socket filter to a locked socket:
a filter would outlive the worker that attached it, and drop whatever it likes without a trace."""


class Listeners:
    """The sockets that workers accept on, each worker on its own.

    :param sockets: the first ones.
    :param listen: makes new ones; raises :class:`~eve_meta.values.problem.Problem` where that is impossible.
    :param keep: called with the sockets, now and whenever they are replaced.
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

    def get_sound(self, discarded: Callable[[], None]) -> Sequence[socket.socket]:
        """Return the sockets; where one of them does not listen any more, replace all.

        :param discarded: called before they are replaced.
        :raises Problem: as *listen* does; the next call tries again.
        """
        if not all(map(_listens, self._sockets)):
            self.discard("a worker shut a socket that guests connect to")
            discarded()
        if not self._sockets:
            self._take(self._listen())
        return self._sockets

    def discard(self, why: str) -> None:
        """End the sockets, for whoever has them; the next call of :meth:`get_sound` makes new ones."""
        self._log.error("{why}; all these sockets are replaced, and all workers start again", why=why)
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # ends the copies that others hold, too, and so frees the port
        self.close()

    def close(self) -> None:
        """Close the sockets; whoever else has them may go on."""
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
