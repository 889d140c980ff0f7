"""Assigns domains to taps as the inventory changes, at a pace that leaves the reactor time for all else.

The law: a tap that no longer belongs to its old domain is refreshed in the turn of the reactor in which that becomes
known. All others wait for their turn; on a large host thousands of taps get a domain when the files are first read.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from twisted.internet.interfaces import IReactorTime

from eve_meta.inventory.inventory import Inventory
from eve_meta.runtime.timer import Timer
from eve_meta.steering.taps.tap import Tap
from eve_meta.supervisor.tap_state import TapState
from eve_meta.supervisor.tap_table import TapTable

MAX_REST = 0.5
"""Seconds of such a rest at most. The workers' table is behind during a rest, and they answer nobody when it is behind
for longer than :data:`eve_meta.wire.messages.LEASE_TIME`."""

LONG_LOOK, REST_FACTOR = 0.005, 3
"""A look at the inventory's changes that takes longer than *LONG_LOOK* seconds is followed by a rest of *REST_FACTOR*
times as long, in which other things are done."""

TAPS_A_TURN = 50
"""Taps that get another domain in one turn of the reactor, which takes ten milliseconds."""


class Assignment:
    """Keeps the inventory informed of the taps of *table*, and assigns to these the domains that the inventory knows.

    :param refresh: called with a tap whose domain may be another than before.
    :param refresh_general: called when the inventory has changed, for what concerns no single tap.
    :param caught_up: called when no tap has to wait for its turn any more.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        inventory: Inventory,
        table: TapTable,
        *,
        refresh: Callable[[TapState], None],
        refresh_general: Callable[[], None],
        caught_up: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._inventory = inventory
        self._table = table
        self._refresh = refresh
        self._refresh_general = refresh_general
        self._caught_up = caught_up
        self._stopped = False
        # Names of taps that appeared or went, which the inventory does not know of yet.
        self._changed_taps: set[str] = set()
        self._inform_timer = Timer(reactor, self._inform_inventory)
        self._look_timer = Timer(reactor, self._look_at_changes)
        self._next_look_at = 0.0
        self._changed_at: float | None = None  # when the first change was reported that has not been looked at
        # Tags of taps that are to be refreshed when their turn comes; a dict keeps their order.
        self._waiting: dict[int, None] = {}
        self._turn_timer = Timer(reactor, self._take_turn)

    def stop(self) -> None:
        """Stop for good."""
        self._stopped = True
        for timer in (self._inform_timer, self._look_timer, self._turn_timer):
            timer.cancel()

    @property
    def true_at(self) -> float:
        """The last moment at which the table had all that the inventory knew, in seconds of the reactor's clock."""
        return self._reactor.seconds() if self._changed_at is None else self._changed_at

    def taps_changed(self, *taps: Tap) -> None:
        """Inform the inventory that *taps* appeared or went: once for all of one turn of the reactor."""
        self._changed_taps.update(tap.name for tap in taps)
        if not self._stopped:
            self._inform_timer.start()

    def _inform_inventory(self) -> None:
        names, self._changed_taps = self._changed_taps, set()
        present = names & self._table.names
        self._inventory.taps_changed(present, names - present)
        if not self._waiting and not self._look_timer.is_pending:
            self._caught_up()

    def inventory_changed(self) -> None:
        """Refresh the taps that the change concerns, now or after a rest."""
        if self._stopped:
            return
        if self._changed_at is None:
            self._changed_at = self._reactor.seconds()
        if self._look_timer.is_pending:
            return
        if self._next_look_at > self._reactor.seconds():
            self._look_timer.start_at(self._next_look_at)
        else:
            self._look_at_changes()

    def _look_at_changes(self) -> None:
        began = self._reactor.seconds()
        self._changed_at = None
        self._refresh_concerned()
        self._refresh_general()
        ended = self._reactor.seconds()
        # On a large host a change of each of thousands of taps would ask for this thousands of times.
        self._next_look_at = ended + (min(REST_FACTOR * (ended - began), MAX_REST) if ended - began > LONG_LOOK else 0)

    def _refresh_concerned(self) -> None:
        concerned = self._inventory.take_concerned()
        for name in self._table.names if concerned is None else concerned:
            for state in self._table.named(name):
                self._refresh_now_or_later(state)
        if not self._turn_timer.is_pending:
            self._take_turn()

    def _refresh_now_or_later(self, state: TapState) -> None:
        """Refresh *state* now where its tap no longer belongs to the old domain, else when its turn comes."""
        old, domain = state.domain, self._inventory.domain_of(state.tap.name)
        if old is not None and (domain is None or domain.instance_uuid != old.instance_uuid):
            self._refresh(state)
        elif domain is not old:
            self._waiting[state.tap.tag] = None

    def _take_turn(self) -> None:
        """Refresh some of the taps that wait, and leave the others to later turns."""
        for tag in list(islice(self._waiting, TAPS_A_TURN)):
            del self._waiting[tag]
            if (state := self._table.get(tag)) is not None:
                self._refresh(state)
        if self._waiting:
            self._turn_timer.start()
        else:
            self._caught_up()
