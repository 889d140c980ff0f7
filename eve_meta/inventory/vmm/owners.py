"""The owner of each tap, kept up to date without polling.

libvirt and others make a tap before the VMM opens it, and nothing announces when the VMM does. So the owner of a new
tap is looked for at once, then at growing intervals for a minute, and again when the tap's carrier changes, which
happens when a process opens or closes it. A pidfd announces the end of a process at once: a tap that outlives its
process may belong to another process next.

A process is judged once in its life, when it is first seen: later it may have dropped its privileges, and a VMM that
its guest has compromised may have overwritten its command line. The judgements outlive the daemon.

A look that found no owner counts as an answer: whatever holds such a tap is no VMM with an identity. A look that found
the tap on its way to a VMM, or held by a VMM whose identity cannot be known, is no answer, however long that lasts: the
tap is withheld. Only a guest whose identity is unknown has to wait for that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from math import floor
from pathlib import Path
from typing import Any, Protocol

import cattrs
from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.internet.task import CooperativeTask, TaskStopped, cooperate
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from eve_meta.inventory.source import InventoryProblem
from eve_meta.inventory.vmm.process import Look, Owner, ProcessTable, trusted_uids
from eve_meta.runtime.timer import Timer
from eve_meta.values.deadlines import Deadlines
from eve_meta.values.plain import make_converter

DELAYS = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds before the first look for a tap's owner, before the second, …; the last one holds for all further looks."""

PATIENCE = 60.0
"""Seconds for which a tap's owner is looked for. Whatever holds the tap after that is no VMM, or the tap's carrier
will change. A withheld tap is looked at for as long as it is withheld."""

GRACE = 10.0
"""Seconds for which a tap may be withheld before that is a problem: libvirt has started the VM by then."""

MEMORY_TIME = 0.2
"""Seconds until a new process is remembered: many start together, and are then stored at once."""

BATCH = 100
"""Taps for which the results of a scan are applied in one step: a millisecond's worth."""

_log = Logger()

_CONVERTER = make_converter()


class Memory(Protocol):
    """Plain data that outlive the daemon until the host boots (:class:`eve_meta.state.remembered.Remembered`)."""

    def load(self) -> Any:
        """Return what was stored, None for nothing."""

    def store(self, plain: Any, /) -> None:
        """Store *plain* soon."""

    def store_now(self, plain: Any, /) -> None:
        """Store *plain* at once; raise OSError when that fails."""


@implementer(IReadDescriptor)
class ProcessWatch:
    """A watch on a process.

    :param owner: the process.
    :param gone: called once, when the process ends, or soon where it has ended already.
    :raises OSError: when the process cannot be watched: no file descriptor left (EMFILE).
    """

    def __init__(self, owner: Owner, gone: Callable[[], None], table: ProcessTable, reactor: Any) -> None:
        self._gone = gone
        self._reactor = reactor
        self._ended_already: IDelayedCall | None = None
        self._pidfd: int | None = None
        try:
            self._pidfd = os.pidfd_open(owner.pid)
            # A pidfd stays with its process, so it is enough to check once that it is the right process.
            alive = table.start_of(owner.pid) == owner.start
        except (ProcessLookupError, FileNotFoundError):
            alive = False
        if alive:
            reactor.addReader(self)
        else:
            self._ended_already = reactor.callLater(0, self.doRead)

    def stop(self) -> None:
        """End the watch; its callback is not called any more."""
        if self._ended_already is not None and self._ended_already.active():
            self._ended_already.cancel()
        if self._pidfd is not None:
            self._reactor.removeReader(self)
            os.close(self._pidfd)
            self._pidfd = None

    def fileno(self) -> int:
        """Return the pidfd, or -1 when it is closed."""
        return -1 if self._pidfd is None else self._pidfd

    def doRead(self) -> None:
        """Handle the end of the process."""
        self.stop()
        self._gone()

    def connectionLost(self, reason: Failure) -> None:
        """Handle the end of the reactor."""
        self.stop()

    def logPrefix(self) -> str:
        """Return the name of this reader in Twisted's log."""
        return "ProcessWatch"


def _beat(now: float, delay: float) -> float:
    """Return a time that is between half of *delay* and the whole of it after *now*, in seconds.

    Many taps get the same time, so that one scan of /proc serves them all.
    """
    half = delay / 2
    return (floor(now / half) + 2) * half if half else now


@define(eq=False)
class _Search:
    """The search for a tap's owner.

    :ivar began: when the search began, in seconds of the reactor's clock.
    :ivar looks: the number of looks that have ended without an owner.
    """

    began: float
    looks: int = 0


class ProcessOwners:
    """The VMM process behind each tap.

    :param reactor: needs IReactorTime and IReactorFDSet.
    :param proc: where procfs is mounted.
    :param users: the names of further users whose VMMs are trusted.
    :param memory: remembers the trusted processes for the next daemon; None where nothing does.
    """

    def __init__(
        self,
        reactor: Any,
        proc: Path = Path("/proc"),
        *,
        users: Collection[str] = (),
        memory: Memory | None = None,
    ) -> None:
        self._reactor = reactor
        self._trusted = trusted_uids(users)
        self._table = ProcessTable(proc, self._trusted)
        self._memory = memory
        self._remembered = {} if memory is None else dict(self._recall(memory.load()))
        self._storing = Timer(reactor, self._store)
        self._changed: Callable[[Collection[str]], None] | None = None
        self._taps: set[str] = set()
        self._owners: dict[str, Owner] = {}
        self._looked: set[str] = set()
        self._withheld: dict[str, str] = {}
        self._watches: dict[Owner, ProcessWatch] = {}
        self._searches: dict[str, _Search] = {}
        # When the next look of each search is due.
        self._deadlines = Deadlines[str]()
        self._timer = Timer(reactor, self._scan)
        self._scanning: CooperativeTask[Iterator[None]] | None = None

    def start(self, changed: Callable[[Collection[str]], None]) -> None:
        """Begin to look for owners.

        :param changed: called with the taps for which the results of the other methods have changed.
        """
        self._changed = changed
        self._arm()

    def stop(self) -> None:
        """End all looking and watching."""
        self._changed = None
        self._searches.clear()
        self._deadlines = Deadlines()
        self._timer.cancel()
        if self._scanning is not None:
            self._scanning.stop()
        if self._storing.is_pending and self._memory is not None:
            with suppress(OSError):
                self._memory.store_now(self._memorable())
        self._storing.cancel()
        for watch in self._watches.values():
            watch.stop()
        self._watches.clear()

    def owners(self) -> Mapping[str, Owner]:
        """Return the process behind each tap, by tap, as far as it is known."""
        return self._owners

    def looked(self) -> Collection[str]:
        """Return the taps whose owner has been looked for since they appeared or :meth:`search_again` named them.

        Of each of them it is known whether a VMM with an identity is behind it, and which.
        """
        return self._looked

    def problems(self) -> tuple[InventoryProblem, ...]:
        """Return why taps have been withheld for longer than :data:`GRACE`."""
        return tuple(
            InventoryProblem(file="", message=f"tap {tap}: {why}: it is not served")
            for tap, why in self._withheld.items()
        )

    def taps_changed(self, present: Iterable[str], gone: Iterable[str] = ()) -> None:
        """Look for the owners of those of *present* that are new, and forget the owners of *gone*.

        :param present: some of the taps that exist now.
        :param gone: taps that do not exist any more.
        """
        new = set(present) - self._taps
        lost = self._taps & set(gone)
        self._taps |= new
        self._taps -= lost
        for tap in lost:
            self._end_search(tap)
        self._forget(lost)
        self._search(new)

    def search_again(self, tap: str) -> None:
        """Forget the owner of *tap* and look for the owner anew.

        Call it when the tap's carrier has changed: another process may hold the tap.
        """
        if tap in self._taps:
            self._forget({tap})
            self._search({tap})

    # -- looking for owners --

    def _search(self, taps: Iterable[str]) -> None:
        now = self._reactor.seconds()
        for tap in taps:
            self._searches[tap] = _Search(began=now)
            self._deadlines.set(tap, _beat(now, DELAYS[0]))
        self._arm()

    def _end_search(self, tap: str) -> None:
        self._searches.pop(tap, None)
        self._deadlines.remove(tap)

    def _arm(self) -> None:
        due = self._deadlines.next()
        if due is not None and self._scanning is None and self._changed is not None:
            self._timer.start_at(due)

    def _scan(self) -> None:
        if self._scanning is not None:
            return
        # Only the searches that are due: with thousands of taps that no VMM holds, a new tap must not cost a look at
        # each of them.
        searches = {tap: self._searches[tap] for tap in self._deadlines.take_due(self._reactor.seconds())}
        if not searches:
            self._arm()
            return
        self._scanning = cooperate(self._look(searches))
        done: Deferred[Any] = self._scanning.whenDone()
        done.addCallbacks(lambda _: self._scanned(), lambda failure: self._failed(failure, searches))

    def _look(self, searches: Mapping[str, _Search]) -> Iterator[None]:
        known = self._remembered | {(owner.pid, owner.start): owner for owner in self._watches}
        look = Look()
        yield from self._table.steps(searches.keys(), known, look)
        remaining = iter(searches.items())
        while batch := list(islice(remaining, BATCH)):
            changed = {tap for tap, search in batch if self._apply(tap, search, look)}
            if changed and self._changed is not None:
                self._changed(changed)
            yield

    def _scanned(self) -> None:
        self._scanning = None
        self._arm()

    def _failed(self, failure: Failure, searches: Mapping[str, _Search]) -> None:
        self._scanning = None
        if not isinstance(failure.value, TaskStopped):
            _log.failure("looking for the processes behind taps failed", failure)
            for tap, search in searches.items():
                self._look_later(tap, search, withheld=tap not in self._looked)
            self._arm()

    def _apply(self, tap: str, search: _Search, look: Look) -> bool:
        """Apply the result of *look* for *tap*; return whether it changes anything that other methods return."""
        if self._searches.get(tap) is not search:
            return False  # during the look, the tap has gone, or its search has begun anew
        owner, why = look.owners.get(tap), look.withheld.get(tap)
        before = self._result(tap)
        if owner is not None and not self._hold(tap, owner):
            why = f"{owner} behind it cannot be watched"
        if why is None:
            self._looked.add(tap)
            self._withheld.pop(tap, None)
        else:
            self._looked.discard(tap)
            if self._reactor.seconds() >= search.began + GRACE:
                self._withheld[tap] = why
        if owner is not None and why is None:
            self._end_search(tap)
        else:
            self._look_later(tap, search, withheld=why is not None)
        return self._result(tap) != before

    def _result(self, tap: str) -> tuple[object, ...]:
        return tap in self._looked, self._withheld.get(tap), self._owners.get(tap)

    def _look_later(self, tap: str, search: _Search, *, withheld: bool) -> None:
        if self._searches.get(tap) is not search:
            return
        search.looks += 1
        delay = DELAYS[min(search.looks, len(DELAYS) - 1)]
        now = self._reactor.seconds()
        if not withheld and now + delay > search.began + PATIENCE:
            self._end_search(tap)
        else:
            self._deadlines.set(tap, _beat(now, delay))

    # -- watching owners --

    def _hold(self, tap: str, owner: Owner) -> bool:
        if owner not in self._watches:
            try:
                self._watches[owner] = ProcessWatch(owner, lambda: self._ended(owner), self._table, self._reactor)
            except OSError as error:
                # Unwatched, the process could end, and another that opens its tap would be taken for it.
                _log.error("cannot watch process {pid} behind {tap}: {error}", pid=owner.pid, tap=tap, error=error)
                return False
            if owner.trusted and self._memory is not None:
                self._storing.start(MEMORY_TIME)
        self._owners[tap] = owner
        return True

    # -- remembering owners --

    def _recall(self, plain: Any) -> Iterator[tuple[tuple[int, int], Owner]]:
        """Yield the processes in *plain* that still run and whose user is still trusted."""
        try:
            owners = _CONVERTER.structure([] if plain is None else plain, tuple[Owner, ...])
        except (ValueError, cattrs.BaseValidationError):
            return  # another version of eve-meta stored them
        for owner in owners:
            with suppress(OSError, ValueError):  # it has ended
                if owner.trusted and owner.uid in self._trusted and self._table.start_of(owner.pid) == owner.start:
                    yield (owner.pid, owner.start), owner

    def _memorable(self) -> list[Any]:
        owners = [*self._remembered.values(), *(each for each in self._watches if each.trusted)]
        return [_CONVERTER.unstructure(owner) for owner in owners]

    def _store(self) -> None:
        if self._memory is not None:
            for owner in self._watches:
                self._remembered.pop((owner.pid, owner.start), None)
            self._memory.store(self._memorable())

    # -- the ends of owners --

    def _ended(self, owner: Owner) -> None:
        taps = {tap for tap, each in self._owners.items() if each == owner}
        del self._watches[owner]
        self._forget(taps)
        self._search(taps)

    def _forget(self, taps: Iterable[str]) -> None:
        # The watch, and with it the process's identity, stays until the process ends, even without a tap: the process
        # might change its command line before it holds a tap again.
        lost = {tap for tap in taps if tap in self._looked or tap in self._withheld}
        self._looked -= lost
        for tap in lost:
            self._owners.pop(tap, None)
            self._withheld.pop(tap, None)
        if lost and self._changed is not None:
            self._changed(lost)
