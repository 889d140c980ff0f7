"""The owner of each tap, kept up to date without polling.

libvirt and others make a tap before QEMU opens it, and nothing tells when that happens. So a new tap is looked for at
once and then at growing intervals for a minute, and again when its carrier changes, which is when a process opens or
closes it. The end of a process is learnt from its pidfd, at once: a tap that outlives it may then be another's.

A look that ended with "nobody" counts as an answer: what holds such a tap is no QEMU. One that found the tap on its way
to a QEMU, or with one of which nobody can tell who it is, does not, however long that lasts: no guest is kept waiting
by it but one of which we do not know who it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from heapq import heappop, heappush
from itertools import islice
from math import floor
from pathlib import Path
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.internet.task import CooperativeTask, TaskStopped, cooperate
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from eve_meta.inventory.qemu.process import Look, Owner, ProcessTable
from eve_meta.inventory.source import InventoryProblem

DELAYS = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds before the first look for a tap's owner, before the second, …; the last one holds for all that follow."""

PATIENCE = 60.0
"""Seconds for which a tap's owner is looked for. What holds it after that is no QEMU, or its carrier will change.
A tap that is withheld is looked for as long as it is."""

GRACE = 10.0
"""Seconds for which a tap may be withheld before that is a problem: libvirt has started QEMU by then."""

PIECE = 100
"""Taps of which is taken at once what a scan found: a millisecond's worth."""

_log = Logger()


@implementer(IReadDescriptor)
class ProcessWatch:
    """Calls *gone* once, when the process *owner* has ended, or at once where it had.

    :raises OSError: when the process cannot be watched: no file descriptor left (EMFILE).
    """

    def __init__(self, owner: Owner, gone: Callable[[], None], table: ProcessTable, reactor: Any) -> None:
        self._gone = gone
        self._reactor = reactor
        self._late: IDelayedCall | None = None
        self._pidfd: int | None = None
        try:
            self._pidfd = os.pidfd_open(owner.pid)
            # The descriptor holds on to a process; that it is the right one can only be asked now.
            alive = table.start_of(owner.pid) == owner.start
        except (ProcessLookupError, FileNotFoundError):
            alive = False
        if alive:
            reactor.addReader(self)
        else:
            self._late = reactor.callLater(0, self.doRead)

    def stop(self) -> None:
        """Watch no longer; *gone* is not called any more."""
        if self._late is not None and self._late.active():
            self._late.cancel()
        if self._pidfd is not None:
            self._reactor.removeReader(self)
            os.close(self._pidfd)
            self._pidfd = None

    def fileno(self) -> int:
        """The pidfd, or -1 when it is closed."""
        return -1 if self._pidfd is None else self._pidfd

    def doRead(self) -> None:
        """The process has ended."""
        self.stop()
        self._gone()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor stops."""
        self.stop()

    def logPrefix(self) -> str:
        """What Twisted's log calls this."""
        return "ProcessWatch"


def _beat(now: float, delay: float) -> float:
    """A time from half of *delay* after *now* to all of it, the same for many: one scan of /proc then does for them."""
    half = delay / 2
    return (floor(now / half) + 2) * half if half else now


@define(eq=False)
class _Search:
    began: float
    due: float = 0.0
    looks: int = 0


class ProcessOwners:
    """The QEMU process behind each tap.

    :param reactor: needs IReactorTime and IReactorFDSet.
    :param proc: where procfs is mounted.
    """

    def __init__(self, reactor: Any, proc: Path = Path("/proc")) -> None:
        self._reactor = reactor
        self._table = ProcessTable(proc)
        self._changed: Callable[[Collection[str]], None] | None = None
        self._taps: set[str] = set()
        self._owners: dict[str, Owner] = {}
        self._looked: set[str] = set()
        self._withheld: dict[str, str] = {}
        self._watches: dict[Owner, ProcessWatch] = {}
        self._searches: dict[str, _Search] = {}
        # When each of them is due, and of those that ended or are due at another time, too; the numbers keep taps out
        # of the comparison.
        self._queue: list[tuple[float, int, str, _Search]] = []
        self._number = 0
        self._timer: IDelayedCall | None = None
        self._scanning: CooperativeTask[Iterator[None]] | None = None

    def start(self, changed: Callable[[Collection[str]], None]) -> None:
        """Begin to look for owners; *changed* is called with the taps of which another method says something else."""
        self._changed = changed
        self._arm()

    def stop(self) -> None:
        """End looking and watching."""
        self._changed = None
        self._searches.clear()
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._scanning is not None:
            self._scanning.stop()
        for watch in self._watches.values():
            watch.stop()
        self._watches.clear()

    def owners(self) -> Mapping[str, Owner]:
        """The process behind each tap, as far as one is known."""
        return self._owners

    def looked(self) -> Collection[str]:
        """The taps of which it is known whether QEMU is behind them, and which, since they appeared or were kicked."""
        return self._looked

    def problems(self) -> tuple[InventoryProblem, ...]:
        """Why taps have been without an answer for long."""
        return tuple(
            InventoryProblem(file="", message=f"tap {tap}: {why}: it is not served")
            for tap, why in self._withheld.items()
        )

    def taps_changed(self, there: Iterable[str], gone: Iterable[str] = ()) -> None:
        """Of *there* are taps now, of *gone* no more: look for the owners of new ones, forget those of the others."""
        new = set(there) - self._taps
        lost = self._taps & set(gone)
        self._taps |= new
        self._taps -= lost
        for tap in lost:
            self._searches.pop(tap, None)
        self._forget(lost)
        self._search(new)

    def search_again(self, tap: str) -> None:
        """*tap*'s carrier has changed: whoever held it may hold it no longer. Forget the owner and look anew."""
        if tap in self._taps:
            self._forget({tap})
            self._search({tap})

    # -- looking --

    def _search(self, taps: Iterable[str]) -> None:
        now = self._reactor.seconds()
        for tap in taps:
            search = self._searches[tap] = _Search(began=now)
            self._enqueue(tap, search, DELAYS[0])
        self._arm()

    def _enqueue(self, tap: str, search: _Search, delay: float) -> None:
        search.due = _beat(self._reactor.seconds(), delay)
        self._number += 1
        heappush(self._queue, (search.due, self._number, tap, search))

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._queue and self._scanning is None and self._changed is not None:
            self._timer = self._reactor.callLater(max(0.0, self._queue[0][0] - self._reactor.seconds()), self._scan)

    def _fallen_due(self) -> dict[str, _Search]:
        """The searches whose time has come. Only these are taken along: with thousands of taps that no QEMU holds, what
        is done for a new one must not be done for each."""
        now = self._reactor.seconds()
        searches: dict[str, _Search] = {}
        while self._queue and self._queue[0][0] <= now:
            due, _, tap, search = heappop(self._queue)
            if self._searches.get(tap) is search and search.due == due:
                searches[tap] = search
        return searches

    def _scan(self) -> None:
        self._timer = None
        searches = self._fallen_due()
        if not searches:
            self._arm()
            return
        self._scanning = cooperate(self._looking(searches))
        done: Deferred[Any] = self._scanning.whenDone()
        done.addCallbacks(lambda _: self._looked_for(), lambda failure: self._failed(failure, searches))

    def _looking(self, searches: Mapping[str, _Search]) -> Iterator[None]:
        known = {(owner.pid, owner.start): owner for owner in self._watches}
        found = Look()
        yield from self._table.steps(searches.keys(), known, found)
        looked_for = iter(searches.items())
        while piece := list(islice(looked_for, PIECE)):
            changed = {tap for tap, search in piece if self._is_news(tap, search, found)}
            if changed and self._changed is not None:
                self._changed(changed)
            yield

    def _looked_for(self) -> None:
        self._scanning = None
        self._arm()

    def _is_news(self, tap: str, search: _Search, found: Look) -> bool:
        """Takes what was *found* of *tap*; whether that is something else than before."""
        if self._searches.get(tap) is not search:
            return False  # the tap has gone, or was kicked, while we looked
        owner, why = found.owners.get(tap), found.withheld.get(tap)
        before = self._said(tap)
        if owner is not None and not self._hold(tap, owner):
            why = f"QEMU process {owner.pid} behind it cannot be watched"
        self._say(tap, why, search)
        if owner is not None and why is None:
            del self._searches[tap]
        else:
            self._later(tap, search, why is not None)
        return self._said(tap) != before

    def _say(self, tap: str, why: str | None, search: _Search) -> None:
        """*tap* has been looked for, which had a result, or had none: *why*."""
        if why is None:
            self._looked.add(tap)
            self._withheld.pop(tap, None)
        else:
            self._looked.discard(tap)
            if self._reactor.seconds() >= search.began + GRACE:
                self._withheld[tap] = why

    def _said(self, tap: str) -> tuple[object, ...]:
        return tap in self._looked, self._withheld.get(tap), self._owners.get(tap)

    def _failed(self, failure: Failure, searches: Mapping[str, _Search]) -> None:
        self._scanning = None
        if not isinstance(failure.value, TaskStopped):
            _log.failure("looking for the processes behind taps failed", failure)
            for tap, search in searches.items():
                self._later(tap, search, tap not in self._looked)
            self._arm()

    def _later(self, tap: str, search: _Search, pressing: bool) -> None:
        if self._searches.get(tap) is not search:
            return
        search.looks += 1
        delay = DELAYS[min(search.looks, len(DELAYS) - 1)]
        if not pressing and self._reactor.seconds() + delay > search.began + PATIENCE:
            del self._searches[tap]
        else:
            self._enqueue(tap, search, delay)

    # -- holding --

    def _hold(self, tap: str, owner: Owner) -> bool:
        if owner not in self._watches:
            try:
                self._watches[owner] = ProcessWatch(owner, lambda: self._ended(owner), self._table, self._reactor)
            except OSError as error:
                # Unwatched, it could end and leave its tap to another, who would then be taken for it.
                _log.error("cannot watch process {pid} behind {tap}: {error}", pid=owner.pid, tap=tap, error=error)
                return False
        self._owners[tap] = owner
        return True

    def _ended(self, owner: Owner) -> None:
        taps = {tap for tap, each in self._owners.items() if each == owner}
        del self._watches[owner]
        self._forget(taps)
        self._search(taps)

    def _forget(self, taps: Iterable[str]) -> None:
        # The process stays known until it ends, even with no tap left: it might change its command line meanwhile.
        lost = {tap for tap in taps if tap in self._looked or tap in self._withheld}
        self._looked -= lost
        for tap in lost:
            self._owners.pop(tap, None)
            self._withheld.pop(tap, None)
        if lost and self._changed is not None:
            self._changed(lost)
