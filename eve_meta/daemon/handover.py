"""The hand-over: the daemon ends and leaves the path to guests as it is, for the daemon that starts next.

The law: until the workers have ended, the supervisor keeps sending them taps and domains; and a signal that ends the
daemon during a hand-over still leaves nothing on the host.
"""

from __future__ import annotations

from twisted.logger import Logger

from eve_meta.runtime.reactor import reactor
from eve_meta.runtime.service_manager import ServiceManager
from eve_meta.runtime.signals import stop_reactor
from eve_meta.steering.steering import Steering
from eve_meta.supervisor.supervisor import Supervisor


class HandOver:
    """The hand-over to the next daemon, which a signal begins.

    :ivar done: whether the daemon ends by handing over.
    """

    _log = Logger()

    def __init__(self, manager: ServiceManager, supervisor: Supervisor, steering: Steering) -> None:
        self._manager = manager
        self._supervisor = supervisor
        self._steering = steering
        self._begun = False
        self.done = False

    def on_signal(self, *_: object) -> None:
        """Handle the signal: begin to hand over as soon as the reactor runs."""
        reactor.callFromThread(self._begin)

    def take_down_unless_done(self) -> None:
        """Remove everything from the host, unless the daemon has handed over."""
        if not self.done:
            self._manager.store(())
            self._steering.stop()

    def _begin(self) -> None:
        if self._begun or self._supervisor.stopping:
            return
        self._begun = True
        self._manager.stopping("handing over to the next daemon")
        self._log.info(
            "handing over to the next daemon; until it has started, new connections {fate}",
            fate="wait" if self._manager.is_present else "are refused: no service manager keeps their sockets",
        )
        self._supervisor.drain().addCallback(self._leave)

    def _leave(self, _: object) -> None:
        if not self._supervisor.stopping:  # during the drain, a signal may have begun to end the daemon
            self.done = True
            self._steering.leave()
            stop_reactor()
