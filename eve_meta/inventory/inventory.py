"""The inventory of a running daemon: its sources, the owners of its taps, and the domain of each tap that follows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID
from weakref import WeakKeyDictionary

import attrs
from twisted.internet.defer import Deferred

from eve_meta.config import AUTO, InventoryConfig
from eve_meta.inventory.files.directory import Directory
from eve_meta.inventory.files.watch import FileSource
from eve_meta.inventory.merge import Merged, Merging
from eve_meta.inventory.readers.reading import Reader
from eve_meta.inventory.source import Hypervisor, InventoryProblem, Source
from eve_meta.inventory.tap_domains import NO_ANSWERS, HypervisorAnswers, TapDomains
from eve_meta.inventory.vmm.owners import Memory, ProcessOwners
from eve_meta.inventory.vmm.process import Owner
from eve_meta.inventory.written_taps import WrittenTaps
from eve_meta.runtime.timer import Timer
from eve_meta.runtime.turns import end_of_turn
from eve_meta.values.domain import Domain
from eve_meta.values.eve_node import UNKNOWN_NODE, Node
from eve_meta.values.problem import Problem

if TYPE_CHECKING:
    from eve_meta.inventory.eve.source import EveSource


class InstanceIds(Protocol):
    """The instance ids that domains were given; :class:`eve_meta.state.instance_ids.InstanceIds` keeps them."""

    def get(self, domain: UUID) -> UUID | None:
        """Return the id of *domain*, None where it has its own."""

    def give(self, domain: Collection[UUID], instance_id: UUID | None) -> Deferred[None]:
        """Give a domain *instance_id*, or its own id for None; fires when that is stored."""


class Inventory:
    """All domains, and the domain behind each tap.

    :param reactor: needs IReactorTime, IReactorFDSet and IReactorFromThreads.
    :param reader: reads what tenants wrote. Whoever makes the inventory starts it and ends it.
    :param proc: where procfs is mounted.
    :param memory: where the processes behind taps are remembered for the next daemon; None for nowhere.
    :param instance_ids: the ids that ``eve-meta rerun`` gave; None for none.
    :param hypervisors: hypervisors in addition to the configured ones.
    :raises Problem: when something that a configured hypervisor needs is missing on this host.
    """

    def __init__(
        self,
        config: InventoryConfig,
        reactor: Any,
        reader: Reader,
        proc: Path = Path("/proc"),
        *,
        memory: Memory | None = None,
        instance_ids: InstanceIds | None = None,
        hypervisors: Iterable[Hypervisor] = (),
    ) -> None:
        self._eve = _eve(config, reactor, reader)
        self._hypervisors = (
            *hypervisors,
            *_libvirt(config.libvirt, reactor, reader),
            *(() if self._eve is None else (self._eve,)),
        )
        # The most important first: what people write in files wins over everything else.
        self._directory = Directory(config.directory, reader)
        self._for_all = config.profiles
        self._files = FileSource(self._directory, reactor)
        self._sources: tuple[Source, ...] = (self._files, *self._hypervisors)
        self._owners = (
            ProcessOwners(reactor, proc, users=config.process_users, memory=memory) if config.process else None
        )
        self._changed: Callable[[], None] | None = None
        # Tap → the number of the scan of the files that must end before the files count for the tap.
        self._awaited_scans: dict[str, int] = {}
        self._taps: set[str] = set()
        self._merging = Merging()
        self._written = WrittenTaps()
        self._tap_domains = TapDomains(self._written, self.owners(), [NO_ANSWERS] * len(self._hypervisors))
        self._reactor = reactor
        self._merge_timer = Timer(reactor, self._merge_more)
        self._instance_ids = instance_ids
        # Those that have an instance id: the domain without it, and with it.
        self._renewed: WeakKeyDictionary[Merged, tuple[Domain, Domain]] = WeakKeyDictionary()
        # What _merging and _tap_domains do not reflect yet: a change of sources, and the taps whose owner has changed.
        self._sources_changed = True
        self._owners_changed: set[str] = set()
        self._phases: tuple[object, ...] = ()
        # Taps whose domain may have changed since the last take_concerned(); None for all taps.
        self._concerned: set[str] | None = set()

    def start(self, changed: Callable[[], None]) -> None:
        """Begin to read and to watch.

        :param changed: called when a source has been read for the first time, and after each change.
        """
        self._changed = changed
        for source in self._sources:
            source.start(self._on_source_changed)
        if self._owners is not None:
            self._owners.start(self._on_owners_changed)

    def stop(self) -> None:
        """End all reading and watching. The callback of :meth:`start` is not called any more."""
        self._changed = None
        self._merge_timer.cancel()
        for source in self._sources:
            source.stop()
        if self._owners is not None:
            self._owners.stop()

    def taps_changed(self, present: Iterable[str], gone: Iterable[str] = ()) -> None:
        """Take note of taps that appeared or went.

        :param present: taps that exist now, among them all that are new.
        :param gone: taps that do not exist any more.
        """
        present, gone = set(present), set(gone)
        self._taps |= present
        self._taps -= gone
        for tap in gone:
            self._awaited_scans.pop(tap, None)
        self._sources_changed |= bool(self._hypervisors)
        for hypervisor in self._hypervisors:
            hypervisor.taps_changed(self._taps)
        if self._owners is not None:
            self._owners.taps_changed(present, gone)

    def holder_may_have_changed(self, tap: str) -> None:
        """Take note that *tap* is new, or that its carrier has changed: another process may hold the tap."""
        # A file that was changed earlier may assign the tap to another domain, and may not have been read yet.
        due = self._files.due()
        if due > self._files.scanned:
            self._awaited_scans[tap] = due
        self._sources_changed |= bool(self._hypervisors)
        for hypervisor in self._hypervisors:
            hypervisor.holder_may_have_changed(tap)
        if self._owners is not None:
            self._owners.search_again(tap)

    def domain_of(self, tap: str) -> Domain | None:
        """Return the domain behind *tap*, None where it is unknown.

        The domain counts as unknown, too,

        * until the tap's process has been looked for and the hypervisors have been asked, which begins with
          :meth:`taps_changed` and takes milliseconds: a file that names the tap may be wrong about it;
        * until the files that were changed before :meth:`holder_may_have_changed` have been read;
        * as long as the tap is on its way to a VMM, see :meth:`ProcessOwners.looked`.
        """
        if not self._is_decided(tap):
            return None
        merged_and_domain = self._update().get(tap)
        return None if merged_and_domain is None else self._with_instance_id(*merged_and_domain)

    def take_concerned(self) -> Collection[str] | None:
        """Return the taps whose :meth:`domain_of` may have changed since the last call; None means any tap."""
        self._update()
        for tap in [tap for tap, due in self._awaited_scans.items() if due <= self._files.scanned]:
            del self._awaited_scans[tap]
            self._concern({tap})
        concerned, self._concerned = self._concerned, set()
        return concerned

    def is_settled(self, tap: str) -> bool:
        """Return whether nothing is pending that could change the domain of *tap*.

        Then the files have been read, the tap's process has been looked for, no hypervisor's answer is awaited
        (:meth:`eve_meta.inventory.source.Hypervisor.awaited`), and every domain has been merged.
        """
        self._update()
        return self._is_decided(tap) and not self._merging.is_incomplete

    def _is_decided(self, tap: str) -> bool:
        if self._awaited_scans.get(tap, 0) > self._files.scanned:
            return False
        if self._owners is not None and tap not in self._owners.looked():
            return False
        owner = self.owner_of(tap)
        return not any(each.awaited(tap, owner) for each in self._hypervisors)

    def due_scan(self) -> int:
        """Return the number of the scan that will have read every change of the files until now."""
        return self._files.due()

    def has_scanned(self, number: int) -> bool:
        """Return whether the scan of that number, or a later one, has ended."""
        return self._files.scanned >= number

    def node(self) -> Node:
        """Return the metadata that all applications of an EVE-OS node share."""
        return UNKNOWN_NODE if self._eve is None else self._eve.node()

    def owner_of(self, tap: str) -> Owner | None:
        """Return the process behind *tap*, None where none is known."""
        return None if self._owners is None else self._owners.owners().get(tap)

    def owners(self) -> Mapping[str, Owner]:
        """Return the process behind each tap, by tap, as far as it is known."""
        return {} if self._owners is None else self._owners.owners()

    def domains(self) -> Iterable[Domain]:
        """Return all domains, whether behind a tap or not."""
        return [domain for _, domain in self._known()]

    def described(self) -> Iterable[tuple[Domain, tuple[str, ...]]]:
        """Return all domains, each with the places that describe it, the most important first."""
        return [(domain, tuple(merged.parts)) for merged, domain in self._known()]

    def origins(self, domain: Domain) -> tuple[str, ...]:
        """Return the places that describe *domain*, one of :meth:`domains`, the most important first; profiles last."""
        return next((merged.origins for merged, known in self._known() if known is domain), ())

    def written_taps(self) -> Mapping[str, Collection[Domain]]:
        """Return the taps that people wrote, each with the domains into whose files or metadata they wrote it."""
        by_origin = {origin: known for merged, known in self._known() for origin in merged.parts}
        return {tap: [by_origin[origin] for origin in origins] for tap, origins in self._written.items()}

    def sources(self, domain: Domain) -> Mapping[str, str]:
        """Return the origin of each field of *domain*, by the path to the field, such as ``nics[0].mac``.

        :param domain: one of :meth:`domains`.
        """
        for merged, known in self._known():
            if known is domain:
                # The uuid is the only field that a process can add.
                completed = {"uuid": "process"} if known.uuid is not None and merged.domain.uuid is None else {}
                given = {} if known.instance_id is None else {"instance_id": "eve-meta rerun"}
                return {**merged.sources(), **completed, **given}
        return {}

    def give_instance_id(self, domain: Domain, instance_id: UUID | None) -> Deferred[None]:
        """Give *domain*, one of :meth:`domains`, another instance id, or its own for None.

        :returns: fires when the id is stored, and *changed* was called.
        :raises Problem: where it cannot be stored at present; the result fails with one where that fails.
        """
        if self._instance_ids is None:
            raise Problem("this daemon keeps no instance ids")
        merged = next(merged for merged, known in self._known() if known is domain)

        def stored(_: None) -> None:
            self._concerned = None
            if self._changed is not None:
                self._changed()

        return self._instance_ids.give(_uuids(merged, domain), instance_id).addCallback(stored)

    def problems(self) -> tuple[InventoryProblem, ...]:
        """Return what is wrong at present: the :meth:`faults` and the :meth:`refusals`."""
        return tuple(dict.fromkeys(self.faults() + self.refusals()))

    def faults(self) -> tuple[InventoryProblem, ...]:
        """Return what is wrong in the sources themselves, and with profiles; what was good before stays in force."""
        of_sources = tuple(problem for source in self._sources for problem in source.problems())
        self._update()
        return of_sources + self._merging.faults

    def refusals(self) -> tuple[InventoryProblem, ...]:
        """Return why domains or taps are not served: sources and processes contradict each other, for example."""
        of_taps = () if self._owners is None else self._owners.problems()
        of_domains = self._update().problems
        return (*self._merging.refusals, *of_domains, *of_taps)

    def _known(self) -> Iterator[tuple[Merged, Domain]]:
        tap_domains = self._update()
        for merged in self._merging.merged:
            yield merged, self._with_instance_id(merged, tap_domains.complete(merged))

    def _with_instance_id(self, merged: Merged, domain: Domain) -> Domain:
        """Return *domain* with the instance id that it was given; the same object until one of them changes."""
        ids = self._instance_ids
        given = None if ids is None else next(filter(None, map(ids.get, _uuids(merged, domain))), None)
        if given is None:
            return domain
        before, renewed = self._renewed.get(merged, (None, domain))
        if before is not domain or renewed.instance_id != given:
            renewed = attrs.evolve(domain, instance_id=given)
            self._renewed[merged] = domain, renewed
        return renewed

    def _on_source_changed(self) -> None:
        self._sources_changed = True
        if self._changed is not None:
            self._changed()

    def _on_owners_changed(self, taps: Collection[str]) -> None:
        self._owners_changed.update(taps)
        if self._changed is not None:
            self._changed()

    def _update(self) -> TapDomains:
        """Return the domains of all taps after bringing them up to date with sources and processes."""
        taps, self._owners_changed = self._owners_changed, set()
        if self._sources_changed:
            self._sources_changed = False
            self._update_sources()
        for tap in taps:
            self._concern(self._tap_domains.decide(tap))
        return self._tap_domains

    def _update_sources(self) -> None:
        """Bring identities and taps up to date at once; contents follow in turns."""
        layers = [layer for source in self._sources for layer in source.layers()]
        hypervisors = [
            HypervisorAnswers({origin for layer in each.layers() for origin in layer.domains}, dict(each.answers()))
            for each in self._hypervisors
        ]
        phases = tuple(each.phase for each in self._hypervisors)
        profiles = attrs.evolve(self._directory.profiles, for_all=self._for_all)
        before, self._tap_domains.hypervisors = self._tap_domains.hypervisors, hypervisors
        changes = self._merging.update(layers, profiles)
        written = self._written.update(layers, changes.differences)
        self._concern(self._tap_domains.change(changes.gone, changes.present, *written))
        for old, new in zip(before, hypervisors, strict=True):
            for tap in old.taps.keys() | new.taps.keys():
                if old.taps.get(tap) != new.taps.get(tap):
                    self._concern(self._tap_domains.decide(tap))
        if phases != self._phases:
            self._concerned, self._phases = None, phases
        self._merge_some()

    def _merge_some(self) -> None:
        """Merge the domains whose contents have changed: what takes long, in later turns of the reactor."""
        self._concern(self._tap_domains.replace(self._merging.go_on(end_of_turn(self._reactor))))
        if self._merging.is_behind:
            self._merge_timer.start()

    def _merge_more(self) -> None:
        self._merge_some()
        if self._changed is not None:
            self._changed()

    def _concern(self, taps: Collection[str]) -> None:
        if self._concerned is not None:
            self._concerned.update(taps)


def _uuids(merged: Merged, domain: Domain) -> tuple[UUID, ...]:
    """Return the uuids by which *domain* is known; of one whose process alone has a uuid, also the one of its name."""
    return tuple(dict.fromkeys((domain.instance_uuid, merged.domain.instance_uuid)))


def _eve(config: InventoryConfig, reactor: Any, reader: Reader) -> EveSource | None:
    if not config.eve:
        return None
    # Imported only here: it takes memory, which hosts without EVE need not pay for.
    from eve_meta.inventory.eve.source import EveSource

    return EveSource(Path(config.eve), config.eve_all, reactor, reader)


def _libvirt(configured: str, reactor: Any, reader: Reader) -> Iterator[Hypervisor]:
    if not configured:
        return
    # Imported only here. libvirt's own module, which takes memory, is imported where there is a libvirt to ask.
    from eve_meta.inventory.libvirt import host
    from eve_meta.inventory.libvirt.connection import ThreadedLibvirtConnection, load
    from eve_meta.inventory.libvirt.source import LibvirtSource

    auto = configured == AUTO
    uri = host.URI if auto else configured
    if not auto:
        load()
    connection = ThreadedLibvirtConnection(uri, reactor.callFromThread, reader)
    yield LibvirtSource(connection, uri, reactor, host.HostLibvirt() if auto else None)
