"""libvirt as a source: its domains, what their metadata say, and whose taps are.

Of a domain of which an event tells, the XML is asked for; all are listed once the connection is open. So there is no
polling. The order of questions and of what happens to taps is kept by counting both: the XML of a running domain says
whose a tap is only when it was asked for after the tap appeared or changed its carrier. Two times matter:

* A domain that had the tap before may still claim it: libvirtd hears of a QEMU's end a moment later than the kernel,
  which has given the tap's name to another by then. So it is asked again only after :data:`SETTLE_TIME`.
* A NIC that is plugged into a running domain is in the XML only when QEMU has it. So nobody's a tap is only after
  :data:`NOBODY_TIME`, when libvirtd has been asked for all domains once more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import count
from typing import Any
from uuid import UUID

import attrs
from attrs import define
from twisted.internet.interfaces import IDelayedCall

from eve_meta.inventory.libvirt.connection import LibvirtConnection
from eve_meta.inventory.libvirt.domain_xml import Description
from eve_meta.inventory.source import InventoryProblem, Layer

SETTLE_TIME = 1.0
"""Seconds from a tap's appearance, or its carrier's change, until who had it before is asked whether it still has."""

NOBODY_TIME = 5.0
"""Seconds from there until a tap that no domain claims is taken for one of no libvirt domain."""

SLOW_TIME = 2.0
"""Seconds after the start until it is told that libvirtd has not answered yet."""

TELL_TIME = 0.02
"""Seconds for which changes are collected before they are told."""

MANY_TIME = 0.5
"""The same while all domains are asked for: each time that is told costs 50 µs for each domain that there is."""


@define(eq=False)
class _Known:
    """A domain: as last described, and the number of the question that was answered so."""

    description: Description
    asked: int


class LibvirtSource:
    """A :class:`~eve_meta.inventory.source.Hypervisor`.

    :param link: what asks libvirtd, see :class:`~eve_meta.inventory.libvirt.connection.LibvirtLink`.
    :param uri: for what is said to people.
    :param reactor: needs IReactorTime.
    """

    def __init__(self, link: LibvirtConnection, uri: str, reactor: Any) -> None:
        self._link = link
        self._uri = uri
        self._reactor = reactor
        self._changed: Callable[[], None] | None = None
        self._numbers = count(1)
        self._away: str | None = "has not answered yet"
        self._known: dict[UUID, _Known] = {}
        self._failed: dict[UUID, str] = {}
        self._names: dict[str, UUID] = {}
        self._claims: dict[str, set[UUID]] = {}
        # Of each tap, the number that nothing may be older than which is said of it.
        self._taps: dict[str, int] = {}
        self._answers: dict[str, Collection[str]] = {}
        # Domains that have been asked for; the number of a listing, and those that are still to be described after it.
        self._asked: set[UUID] = set()
        self._listing: tuple[int, set[UUID]] | None = None
        self._complete = 0
        # Taps in the order in which they fall due; those that have been due are ripe to be nobody's.
        self._settling: dict[str, float] = {}
        self._unclaimed: dict[str, float] = {}
        self._ripe: set[str] = set()
        self._timer: IDelayedCall | None = None
        self._telling: IDelayedCall | None = None
        self._slow: IDelayedCall | None = None

    def start(self, changed: Callable[[], None]) -> None:
        """As :meth:`eve_meta.inventory.source.Source.start`."""
        self._changed = changed
        self._slow = self._reactor.callLater(SLOW_TIME, self._still_slow)
        self._link.start(self)

    def stop(self) -> None:
        """As :meth:`eve_meta.inventory.source.Source.stop`."""
        self._changed = None
        self._link.stop()
        for call in (self._timer, self._telling, self._slow):
            if call is not None:
                call.cancel()
        self._timer = self._telling = self._slow = None

    def layers(self) -> Sequence[Layer]:
        """As :meth:`eve_meta.inventory.source.Source.layers`: metadata, then what the hypervisor knows."""
        known = [each.description for each in self._known.values()]
        metadata = {each.metadata_origin: each.metadata for each in known if each.metadata is not None}
        return (
            Layer(domains=metadata, written=True, identified=False),
            Layer(domains={each.origin: each.domain for each in known}, written=False),
        )

    def problems(self) -> tuple[InventoryProblem, ...]:
        """As :meth:`eve_meta.inventory.source.Source.problems`."""
        found = [problem for each in self._known.values() for problem in each.description.problems]
        for uuid, why in self._failed.items():
            found.append(InventoryProblem(file=f"libvirt domain {uuid}", message=f"cannot read its XML: {why}"))
        if self._away is not None:
            message = f"{self._away}: domains that are known are served as before"
            found.append(InventoryProblem(file=f"libvirt {self._uri}", message=message, warning=True))
        return tuple(found)

    def taps_changed(self, names: Iterable[str]) -> None:
        """As :meth:`eve_meta.inventory.source.Hypervisor.taps_changed`."""
        taps = set(names)
        for tap in self._taps.keys() - taps:
            self._forget(tap)
            del self._taps[tap]
        for tap in taps - self._taps.keys():
            self.holder_may_have_changed(tap)

    def holder_may_have_changed(self, tap: str) -> None:
        """As :meth:`eve_meta.inventory.source.Hypervisor.holder_may_have_changed`."""
        self._forget(tap)
        self._taps[tap] = next(self._numbers)
        now = self._reactor.seconds()
        self._settling[tap], self._unclaimed[tap] = now + SETTLE_TIME, now + NOBODY_TIME
        self._arm()

    def answers(self) -> Mapping[str, Collection[str]]:
        """As :meth:`eve_meta.inventory.source.Hypervisor.answers`."""
        return self._answers

    @property
    def away(self) -> bool:
        """As :attr:`eve_meta.inventory.source.Hypervisor.away`."""
        return self._away is not None

    # -- what the link tells --

    def connected(self) -> None:
        """As :meth:`eve_meta.inventory.libvirt.connection.LibvirtObserver.connected`."""
        self._away = None
        self._forget_questions()
        self._failed.clear()
        # Any of them may have changed while nobody told us.
        self._link.list_domains(next(self._numbers))
        for uuid in self._known:
            self._look(uuid)
        self._tell()

    def lost(self, why: str) -> None:
        """As :meth:`eve_meta.inventory.libvirt.connection.LibvirtObserver.lost`."""
        self._away = why
        self._forget_questions()
        self._tell()

    def changed(self, uuid: UUID) -> None:
        """As :meth:`eve_meta.inventory.libvirt.connection.LibvirtObserver.changed`."""
        self._look(uuid)

    def listed(self, number: int, uuids: frozenset[UUID]) -> None:
        """As :meth:`eve_meta.inventory.libvirt.connection.LibvirtObserver.listed`."""
        for uuid in self._known.keys() - uuids:
            self._put(uuid, None)
        for uuid in uuids - self._known.keys():
            self._look(uuid)
        self._listing = (number, set(self._asked))
        self._listed_and_described()
        self._tell()

    def described(self, uuid: UUID, number: int, description: Description | None) -> None:
        """As :meth:`eve_meta.inventory.libvirt.connection.LibvirtObserver.described`."""
        self._failed.pop(uuid, None)
        old = self._known.get(uuid)
        if description is not None:
            if old is not None:
                description = _lasting(old.description, description)
            self._put(uuid, _Known(description, number))
        elif old is not None:
            self._put(uuid, None)
        self._found(uuid)

    def failed(self, uuid: UUID, why: str) -> None:
        """As :meth:`eve_meta.inventory.libvirt.connection.LibvirtObserver.failed`. What it was stays."""
        self._failed[uuid] = why
        self._found(uuid)

    def _forget_questions(self) -> None:
        self._asked.clear()
        self._listing = None

    def _found(self, uuid: UUID) -> None:
        self._asked.discard(uuid)
        if self._listing is not None:
            self._listing[1].discard(uuid)
            self._listed_and_described()
        self._tell()

    def _listed_and_described(self) -> None:
        """Taps that nobody claims are nobody's, once all domains are known that there were when that was asked."""
        if self._listing is not None and not self._listing[1]:
            self._complete, self._listing = self._listing[0], None
            for tap in self._ripe:
                self._answer(tap)
            if self._telling is not None:
                self._telling.cancel()
                self._telling = None
            self._tell()

    def _look(self, uuid: UUID) -> None:
        self._asked.add(uuid)
        self._link.look(uuid, next(self._numbers))

    # -- whose taps are --

    def _put(self, uuid: UUID, known: _Known | None) -> None:
        old = self._known.pop(uuid, None)
        if old is not None:
            self._names.pop(old.description.name, None)
        if known is not None:
            # No two have one name; where it seems so, the one that had it has lost it, or is gone.
            other = self._names.get(known.description.name)
            if other is not None:
                self._put(other, None)
                self._look(other)
            self._names[known.description.name] = uuid
        before, after = _taps(old), _taps(known)
        for tap in before - after:
            self._claims[tap].discard(uuid)
            if not self._claims[tap]:
                del self._claims[tap]
        for tap in after - before:
            self._claims.setdefault(tap, set()).add(uuid)
        if known is not None:
            self._known[uuid] = known
        for tap in before | after:
            self._answer(tap)

    def _answer(self, tap: str) -> None:
        since = self._taps.get(tap)
        if since is None:
            return
        claims = [self._known[uuid] for uuid in self._claims.get(tap, ())]
        fresh = [each.description.origin for each in claims if each.asked > since]
        if fresh:
            self._answers[tap] = fresh
        elif not claims and tap in self._ripe and self._complete > since:
            self._answers[tap] = ()
        else:
            self._answers.pop(tap, None)

    def _forget(self, tap: str) -> None:
        self._answers.pop(tap, None)
        self._settling.pop(tap, None)
        self._unclaimed.pop(tap, None)
        self._ripe.discard(tap)

    def _arm(self) -> None:
        due = [next(iter(waiting.values())) for waiting in (self._settling, self._unclaimed) if waiting]
        if not due or self._changed is None:
            return
        if self._timer is not None and self._timer.getTime() > min(due):
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._reactor.callLater(max(0.0, min(due) - self._reactor.seconds()), self._fall_due)

    def _fall_due(self) -> None:
        self._timer = None
        for tap in _fallen_due(self._settling, self._reactor.seconds()):
            if tap not in self._answers:
                for uuid in self._claims.get(tap, ()):
                    self._look(uuid)
        unclaimed = [tap for tap in _fallen_due(self._unclaimed, self._reactor.seconds()) if tap not in self._answers]
        self._ripe.update(unclaimed)
        if unclaimed:
            self._link.list_domains(next(self._numbers))
        self._arm()

    # -- telling --

    def _still_slow(self) -> None:
        self._slow = None
        if self.away:
            self._tell()

    def _tell(self) -> None:
        if self._telling is None and self._changed is not None:
            delay = TELL_TIME if self._listing is None else MANY_TIME
            self._telling = self._reactor.callLater(delay, self._told)

    def _told(self) -> None:
        self._telling = None
        if self._changed is not None:
            self._changed()


def _taps(known: _Known | None) -> set[str]:
    if known is None or not known.description.active:
        return set()
    return set(known.description.domain.taps)


def _lasting(old: Description, new: Description) -> Description:
    """*new*, with what *old* said where it said the same or is to be kept: metadata that were right before."""
    broken = new.metadata is None and bool(new.problems)
    return attrs.evolve(
        new,
        metadata=old.metadata if broken or new.metadata == old.metadata else new.metadata,
        domain=old.domain if new.domain == old.domain else new.domain,
    )


def _fallen_due(waiting: dict[str, float], now: float) -> list[str]:
    """Take those off the front of *waiting* whose time has come."""
    due = []
    for tap, at in list(waiting.items()):
        if at > now:
            break
        due.append(tap)
        del waiting[tap]
    return due
