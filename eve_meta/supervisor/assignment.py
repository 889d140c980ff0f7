"""Following the inventory: which taps' domains may be others, at a pace that leaves the reactor time for all else.

The law: a tap that does not mean its old domain any more is looked at in the turn in which that is known. All others
wait for their turn; on a large host thousands get a domain when files are read at first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from eve_meta.inventory.inventory import Inventory
from eve_meta.steering.taps.tap import Tap
from eve_meta.supervisor.tap_state import TapState
from eve_meta.supervisor.tap_table import TapTable

LONG, REST = 0.005, 3
"""To look at taps again may take this many seconds without more ado; where it takes longer, as many times as long
passes until the next time, for other things to be done."""

AT_ONCE = 50
"""Taps that get another domain in one turn of the reactor, which takes ten milliseconds."""


class Assignment:
    """Tells *inventory* of the taps of *table*, and follows what it knows of them.

    :param refresh: called with a tap that may mean another domain than before.
    :param general: called when the inventory has changed, for what is no tap's.
    :param caught_up: called when no tap has to wait for its turn any more.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        inventory: Inventory,
        table: TapTable,
        *,
        refresh: Callable[[TapState], None],
        general: Callable[[], None],
        caught_up: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._inventory = inventory
        self._table = table
        self._refresh = refresh
        self._general = general
        self._caught_up = caught_up
        self._stopped = False
        # Names of taps that came or went, of which the inventory is told soon.
        self._untold: set[str] = set()
        self._tells_soon = False
        self._resting: IDelayedCall | None = None
        self._rested_at = 0.0
        # Tags of taps that are to be refreshed when their turn comes; a dict keeps their order.
        self._waiting: dict[int, None] = {}
        self._next_turn: IDelayedCall | None = None

    def stop(self) -> None:
        """Follows it no more."""
        self._stopped = True
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None

    def taps_changed(self, *taps: Tap) -> None:
        """Tells the inventory that *taps* came or went, once for all that do in one turn of the reactor."""
        self._untold.update(tap.name for tap in taps)
        if not self._tells_soon:
            self._tells_soon = True
            self._reactor.callLater(0, self._tell)

    def _tell(self) -> None:
        self._tells_soon = False
        names, self._untold = self._untold, set()
        if not self._stopped:
            there = names & self._table.names
            self._inventory.taps_changed(there, names - there)
            if not self._waiting:
                self._caught_up()

    def inventory_changed(self) -> None:
        """Refreshes the taps that this concerns, now or after a rest."""
        if self._resting is None:
            rest = self._rested_at - self._reactor.seconds()
            if rest > 0:
                self._resting = self._reactor.callLater(rest, self._look)
            else:
                self._look()

    def _look(self) -> None:
        self._resting = None
        if self._stopped:
            return
        began = time.monotonic()
        self._refresh_concerned()
        self._general()
        took = time.monotonic() - began
        # On a large host a change of each of thousands of taps would ask for this thousands of times.
        self._rested_at = self._reactor.seconds() + (REST * took if took > LONG else 0)

    def _refresh_concerned(self) -> None:
        concerned = self._inventory.take_concerned()
        for name in self._table.names if concerned is None else concerned:
            for state in self._table.named(name):
                self._refresh_soon(state)
        if self._next_turn is None:
            self._turn()

    def _refresh_soon(self, state: TapState) -> None:
        """Refreshes *state* at once where its tap does not mean the old domain any more, else when its turn comes."""
        old, domain = state.domain, self._inventory.domain_of(state.tap.name)
        if old is not None and (domain is None or domain.instance_uuid != old.instance_uuid):
            self._refresh(state)
        elif domain is not old:
            self._waiting[state.tap.tag] = None

    def _turn(self) -> None:
        """Refreshes some taps, and the others in later turns."""
        self._next_turn = None
        if self._stopped:
            return
        for tag in list(islice(self._waiting, AT_ONCE)):
            del self._waiting[tag]
            if (state := self._table.get(tag)) is not None:
                self._refresh(state)
        if self._waiting:
            self._next_turn = self._reactor.callLater(0, self._turn)
        else:
            self._caught_up()
