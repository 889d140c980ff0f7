"""A clock whose turns a test takes one by one."""

from __future__ import annotations

from twisted.internet.task import Clock


class TurnClock(Clock):
    """A clock that can run one turn of the reactor: what a call of that turn schedules waits for a later one.

    Twisted's own :meth:`~twisted.internet.task.Clock.advance` makes these calls, too, where their delay is 0.
    """

    def turn(self) -> None:
        """Make the calls that are due now."""
        due = [call for call in self.calls if call.getTime() <= self.seconds()]
        for call in due:
            if call.active():  # none before it has cancelled it
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)

    def turns(self) -> None:
        """Take turns until no call is due."""
        while any(call.getTime() <= self.seconds() for call in self.calls):
            self.turn()
