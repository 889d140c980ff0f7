"""The hand-over: an end of the daemon in which the way to guests stays as it is, for a daemon that starts next.

The law: until the workers are gone they hear of taps and domains as ever; and what is begun can still become an end
that leaves nothing, where the daemon is told to end meanwhile.
"""

from __future__ import annotations

from twisted.logger import Logger

from eve_meta.runtime.reactor import reactor
from eve_meta.runtime.service_manager import ServiceManager
from eve_meta.runtime.signals import stop_reactor
from eve_meta.steering.steering import Steering
from eve_meta.supervisor.supervisor import Supervisor


class HandOver:
    """The hand-over to the next daemon, when it is told.

    :ivar done: whether this is how it ends.
    """

    _log = Logger()

    def __init__(self, manager: ServiceManager, supervisor: Supervisor, steering: Steering) -> None:
        self._manager = manager
        self._supervisor = supervisor
        self._steering = steering
        self._begun = False
        self.done = False

    def told(self, *_: object) -> None:
        """Takes the signal for it, which is obeyed when the reactor runs."""
        reactor.callFromThread(self._begin)

    def or_take_down(self) -> None:
        """Removes everything from the host, unless it is handed over."""
        if not self.done:
            self._manager.keep(())
            self._steering.stop()

    def _begin(self) -> None:
        if self._begun or self._supervisor.stopping:
            return
        self._begun = True
        self._manager.stopping("handing over to the next daemon")
        self._log.info(
            "handing over to the next daemon; until it has started, new connections {fate}",
            fate="wait" if self._manager.listens else "are refused: no service manager keeps their sockets",
        )
        self._supervisor.drain().addCallback(self._leave)

    def _leave(self, _: object) -> None:
        if not self._supervisor.stopping:  # told to end meanwhile
            self.done = True
            self._steering.leave()
            stop_reactor()
