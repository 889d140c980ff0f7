"""libvirt as a source: its domains, their metadata, and the domain of each tap.

When an event names a domain, its XML is asked for; all domains are listed once the connection is open. So nothing is
polled. One counter numbers the questions to libvirtd and the changes of taps, so that their order is known: the XML of
a running domain shows that a tap is its own only if it was asked for after the tap appeared or last changed its
carrier. Two times matter:

* The domain that had the tap before may still claim it: libvirtd learns of a QEMU's end a moment later than the kernel,
  which may have given the tap's name to another domain by then. So that domain is asked again only after
  :data:`SETTLE_TIME`.
* A NIC that is plugged into a running domain appears in the XML only once QEMU has it. So a tap counts as nobody's only
  after :data:`NOBODY_TIME`, and after libvirtd has listed all domains once more. A QEMU with a uuid that no domain has
  is not libvirt's, and its tap does not wait for that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import count
from typing import Any
from uuid import UUID

import attrs
from attrs import define

from eve_meta.inventory.libvirt.availability import Availability, Presence
from eve_meta.inventory.libvirt.connection import MISSING, LibvirtConnection
from eve_meta.inventory.libvirt.description import Description
from eve_meta.inventory.libvirt.host import HostLibvirt
from eve_meta.inventory.source import InventoryProblem, Layer
from eve_meta.inventory.vmm.process import Owner
from eve_meta.runtime.timer import Timer
from eve_meta.values.deadlines import Deadlines

SETTLE_TIME = 1.0
"""Seconds from a tap's appearance, or a change of its carrier, until the domain that had the tap before is asked again
whether it has it."""

NOBODY_TIME = 5.0
"""Seconds from the same moment until a tap that no domain claims may count as the tap of no libvirt domain."""

SLOW_TIME = 1.0
"""Seconds for which taps wait for libvirtd when it is connected to for the first time, which takes milliseconds. Then
it counts as away, and that is reported."""

SEEK_TIME = 1.0
"""Seconds between two looks whether this host has a libvirt by now; each new tap causes a look, too."""

BATCH_TIME = 0.02
"""Seconds for which changes are collected before *changed* is called."""

LISTING_BATCH_TIME = 0.5
"""The same while all domains are being described: each call costs 50 µs for each domain that there is."""


@define(eq=False)
class _Known:
    """A known domain.

    :ivar description: the last one.
    :ivar asked: the number of the question that *description* answers.
    """

    description: Description
    asked: int


class LibvirtSource:
    """The domains of one libvirtd, as a :class:`~eve_meta.inventory.source.Hypervisor`.

    :param connection: the connection to libvirtd.
    :param uri: libvirt's URI.
    :param reactor: needs IReactorTime.
    :param host: the libvirt of this host, which is connected to once it is there; None where the configuration names
        a libvirt.
    """

    def __init__(self, connection: LibvirtConnection, uri: str, reactor: Any, host: HostLibvirt | None = None) -> None:
        self._connection = connection
        self._uri = uri
        self._reactor = reactor
        self._host = host
        self._changed: Callable[[], None] | None = None
        self._numbers = count(1)
        self._availability = Availability(named=host is None)
        self._connecting = False
        self._known: dict[UUID, _Known] = {}
        self._failed: dict[UUID, str] = {}
        # When the reader may read the XML of a domain that it did not read.
        self._retries = Deadlines[UUID]()
        self._names: dict[str, UUID] = {}
        self._claims: dict[str, set[UUID]] = {}
        # Tap → the number of its last change: only answers to later questions count for the tap.
        self._taps: dict[str, int] = {}
        self._answers: dict[str, Collection[str]] = {}
        # Domains of which a description is asked for. And the number of the last listing, with those of its domains
        # that are still to be described.
        self._asked: set[UUID] = set()
        self._listing: tuple[int, set[UUID]] | None = None
        # The number of the last listing whose domains have all been described.
        self._complete = 0
        # When SETTLE_TIME and NOBODY_TIME of each tap are over.
        self._settling = Deadlines[str]()
        self._unclaimed = Deadlines[str]()
        self._timer = Timer(reactor, self._fall_due)
        # Taps that nobody claimed within NOBODY_TIME; the next complete listing decides.
        self._ripe: set[str] = set()
        self._batch = Timer(reactor, self._call_changed)
        self._slow = Timer(reactor, self._still_slow)
        self._seeking = Timer(reactor, self._seek)

    def start(self, changed: Callable[[], None]) -> None:
        """As :meth:`eve_meta.inventory.source.Source.start`."""
        self._changed = changed
        self._arm()
        self._seek()
        if not self._connecting:
            self._schedule_changed()

    def stop(self) -> None:
        """As :meth:`eve_meta.inventory.source.Source.stop`."""
        self._changed = None
        self._connection.stop()
        for timer in (self._timer, self._batch, self._slow, self._seeking):
            timer.cancel()

    def layers(self) -> Sequence[Layer]:
        """As :meth:`eve_meta.inventory.source.Source.layers`: the metadata, then what the hypervisor knows."""
        known = [each.description for each in self._known.values()]
        metadata = {each.metadata_origin: each.metadata for each in known if each.metadata is not None}
        lines = {each.metadata_origin: each.metadata_lines for each in known}
        return (
            Layer(domains=metadata, written=True, identified=False, lines=lines),
            Layer(domains={each.origin: each.domain for each in known}, written=False),
        )

    def problems(self) -> tuple[InventoryProblem, ...]:
        """As :meth:`eve_meta.inventory.source.Source.problems`."""
        problems = [problem for each in self._known.values() for problem in each.description.problems]
        for uuid, why in self._failed.items():
            named = f" ({self._known[uuid].description.name})" if uuid in self._known else ""
            where = f"libvirt domain {uuid}{named}"
            problems.append(InventoryProblem(file=where, message=f"cannot read its XML: {why}"))
        if message := self._availability.problem or self._without_module():
            problems.append(InventoryProblem(file=f"libvirt {self._uri}", message=message, warning=True))
        return tuple(problems)

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
        # The tap may be libvirt's, which this host did not have a moment ago.
        self._seek()
        self._forget(tap)
        self._taps[tap] = next(self._numbers)
        now = self._reactor.seconds()
        self._settling.set(tap, now + SETTLE_TIME)
        self._unclaimed.set(tap, now + NOBODY_TIME)
        self._arm()

    def answers(self) -> Mapping[str, Collection[str]]:
        """As :meth:`eve_meta.inventory.source.Hypervisor.answers`."""
        return self._answers

    @property
    def phase(self) -> object:
        """As :attr:`eve_meta.inventory.source.Hypervisor.phase`."""
        return self._availability.presence, bool(self._complete)

    def awaited(self, tap: str, owner: Owner | None) -> bool:
        """As :meth:`eve_meta.inventory.source.Hypervisor.awaited`."""
        trusted = owner is not None and owner.trusted
        if trusted and self._complete and self._uri.startswith("qemu") and _is_foreign(owner, self._known):
            return False
        return tap not in self._answers and self._availability.awaited(tap, trusted=trusted)

    # -- the connection's observer --

    def connected(self) -> None:
        """As :meth:`eve_meta.inventory.libvirt.connection.LibvirtObserver.connected`."""
        self._slow.cancel()
        self._availability.connected(self._taps.keys() - self._answers.keys())
        self._drop_questions()
        self._failed.clear()
        # Any domain may have changed while no event could arrive.
        self._connection.list_domains(next(self._numbers))
        for uuid in self._known:
            self._look(uuid)
        self._schedule_changed()

    def lost(self, why: str) -> None:
        """As :meth:`eve_meta.inventory.libvirt.connection.LibvirtObserver.lost`."""
        self._slow.cancel()
        self._availability.lost(why)
        self._drop_questions()
        self._schedule_changed()

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
        self._finish_listing()
        self._schedule_changed()

    def described(self, uuid: UUID, number: int, description: Description | None) -> None:
        """As :meth:`eve_meta.inventory.libvirt.connection.LibvirtObserver.described`."""
        self._failed.pop(uuid, None)
        self._retries.remove(uuid)
        old = self._known.get(uuid)
        if description is not None:
            if old is not None:
                description = _keeping(old.description, description)
            self._put(uuid, _Known(description, number))
        elif old is not None:
            self._put(uuid, None)
        self._answered(uuid)

    def failed(self, uuid: UUID, why: str, retry_at: float | None = None) -> None:
        """As :meth:`eve_meta.inventory.libvirt.connection.LibvirtObserver.failed`. The domain stays as it was."""
        self._failed[uuid] = why
        if retry_at is not None:
            self._retries.set(uuid, retry_at)
            self._arm()
        self._answered(uuid)

    # -- whether there is a libvirt --

    def _seek(self) -> None:
        """Connect for the first time, as soon as there is a libvirt."""
        if self._connecting or self._changed is None:
            return
        if self._host is not None and not self._host.is_usable:
            self._seeking.start(SEEK_TIME)
            return
        self._connecting = True
        self._availability.expect(self._taps)
        self._slow.start(SLOW_TIME)
        self._connection.start(self)

    def _without_module(self) -> str:
        if self._host is None or self._connecting or self._host.socket is None:
            return ""
        return f'{MISSING}; or write libvirt = "" below [inventory], to do without libvirt'

    def _still_slow(self) -> None:
        if self._availability.presence is Presence.EXPECTED:
            self._availability.lost("has not answered yet")
            self._schedule_changed()

    def _drop_questions(self) -> None:
        self._asked.clear()
        self._listing = None

    def _answered(self, uuid: UUID) -> None:
        self._asked.discard(uuid)
        if self._listing is not None:
            self._listing[1].discard(uuid)
            self._finish_listing()
        self._schedule_changed()

    def _finish_listing(self) -> None:
        """Answer for the taps that nobody claims, once every domain that the last listing named is described."""
        if self._listing is not None and not self._listing[1]:
            self._complete, self._listing = self._listing[0], None
            for tap in self._ripe:
                self._answer(tap)
            self._schedule_changed()

    def _look(self, uuid: UUID) -> None:
        self._asked.add(uuid)
        self._connection.look(uuid, next(self._numbers))

    # -- the domain of each tap --

    def _put(self, uuid: UUID, known: _Known | None) -> None:
        old = self._known.pop(uuid, None)
        if old is not None:
            self._names.pop(old.description.name, None)
        if known is not None:
            # No two domains have one name. Where they seem to, the domain that was known by the name has another one
            # now, or is gone.
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
        self._availability.forget(tap)
        self._settling.remove(tap)
        self._unclaimed.remove(tap)
        self._ripe.discard(tap)

    def _arm(self) -> None:
        if self._changed is not None:
            for due in (self._settling.next(), self._unclaimed.next(), self._retries.next()):
                if due is not None:
                    self._timer.start_at(due)

    def _fall_due(self) -> None:
        now = self._reactor.seconds()
        for tap in self._settling.take_due(now):
            if tap not in self._answers:
                for uuid in self._claims.get(tap, ()):
                    self._look(uuid)
        for uuid in self._retries.take_due(now):
            self._look(uuid)
        unclaimed = [tap for tap in self._unclaimed.take_due(now) if tap not in self._answers]
        self._ripe.update(unclaimed)
        if unclaimed:
            self._connection.list_domains(next(self._numbers))
        self._arm()

    # -- calls of *changed* --

    def _schedule_changed(self) -> None:
        if self._changed is not None:
            self._batch.start(BATCH_TIME if self._listing is None else LISTING_BATCH_TIME)

    def _call_changed(self) -> None:
        if self._changed is not None:
            self._changed()


def _is_foreign(owner: Owner | None, known: Collection[UUID]) -> bool:
    """Return whether *owner* is no QEMU of libvirt, which gives each of them the uuid of its domain."""
    return owner is not None and owner.uuid not in known


def _taps(known: _Known | None) -> set[str]:
    if known is None or not known.description.active:
        return set()
    return set(known.description.domain.taps)


def _keeping(old: Description, new: Description) -> Description:
    """Return *new* with those objects of *old* that are equal, and with the old metadata where the new are broken."""
    broken = new.metadata is None and any(not problem.warning for problem in new.problems)
    return attrs.evolve(
        new,
        metadata=old.metadata if broken or new.metadata == old.metadata else new.metadata,
        domain=old.domain if new.domain == old.domain else new.domain,
    )
