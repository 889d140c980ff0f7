"""The inventory of a running daemon: its sources, the owners of its taps, and what follows from both."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eve_meta.config import InventoryConfig
from eve_meta.inventory.files.directory import Directory
from eve_meta.inventory.files.watch import FileSource
from eve_meta.inventory.merge import Merged, Merging
from eve_meta.inventory.qemu.owners import ProcessOwners
from eve_meta.inventory.qemu.process import Owner
from eve_meta.inventory.source import Hypervisor, InventoryProblem, Source
from eve_meta.inventory.tap_domains import HypervisorAnswers, TapDomains, written_taps
from eve_meta.values.domain import Domain
from eve_meta.values.eve_node import UNKNOWN_NODE, Node

if TYPE_CHECKING:
    from eve_meta.inventory.eve.source import EveSource


class Inventory:
    """Which domains there are, and which of them is behind a tap.

    :param reactor: needs IReactorTime, IReactorFDSet and IReactorFromThreads.
    :param proc: where procfs is mounted.
    :param hypervisors: beside those that are configured.
    :raises Problem: when a hypervisor cannot be asked because something is missing on this host.
    """

    def __init__(
        self,
        config: InventoryConfig,
        reactor: Any,
        proc: Path = Path("/proc"),
        *,
        hypervisors: Iterable[Hypervisor] = (),
    ) -> None:
        self._eve = _eve(config, reactor)
        self._hypervisors = (
            *hypervisors,
            *_libvirt(config.libvirt, reactor),
            *(() if self._eve is None else (self._eve,)),
        )
        # The most important first: what people write in files wins.
        self._files = FileSource(Directory(config.directory), reactor)
        self._sources: tuple[Source, ...] = (self._files, *self._hypervisors)
        self._owners = ProcessOwners(reactor, proc) if config.process else None
        self._changed: Callable[[], None] | None = None
        # Tap → the scan of the files before which what they say of it does not count; until that has ended.
        self._unread: dict[str, int] = {}
        self._taps: set[str] = set()
        self._merging = Merging()
        self._joined = TapDomains((), {}, (), {})
        # What both have not heard of yet: that sources changed, and taps whose process is another.
        self._sources_moved = True
        self._owners_moved: set[str] = set()
        self._away: tuple[bool, ...] = ()
        # Taps of which the domain may be another than was last told; None for all.
        self._concerned: set[str] | None = set()

    def start(self, changed: Callable[[], None]) -> None:
        """Begin to read and to watch; *changed* is called once all has been read, and after every change."""
        self._changed = changed
        for source in self._sources:
            source.start(self._source_changed)
        if self._owners is not None:
            self._owners.start(self._owners_changed)

    def stop(self) -> None:
        """End reading and watching."""
        self._changed = None
        for source in self._sources:
            source.stop()
        if self._owners is not None:
            self._owners.stop()

    def taps_changed(self, there: Iterable[str], gone: Iterable[str] = ()) -> None:
        """Of *there* are taps now, of *gone* no more; nothing else has changed."""
        there, gone = set(there), set(gone)
        self._taps |= there
        self._taps -= gone
        for tap in gone:
            self._unread.pop(tap, None)
        self._sources_moved |= bool(self._hypervisors)
        for hypervisor in self._hypervisors:
            hypervisor.taps_changed(self._taps)
        if self._owners is not None:
            self._owners.taps_changed(there, gone)

    def holder_may_have_changed(self, tap: str) -> None:
        """*tap* is new, or its carrier has changed, so another process may hold it."""
        # A file that was changed before that may say so, and not have been read yet.
        due = self._files.due()
        if due > self._files.scanned:
            self._unread[tap] = due
        self._sources_moved |= bool(self._hypervisors)
        for hypervisor in self._hypervisors:
            hypervisor.holder_may_have_changed(tap)
        if self._owners is not None:
            self._owners.search_again(tap)

    def domain_of(self, tap: str) -> Domain | None:
        """The domain behind *tap*.

        None, too, until its process has been looked for and hypervisors have been asked, which begins with
        :meth:`taps_changed` and takes milliseconds: a file that names the tap may be wrong about it. And until files
        have been read that were changed before :meth:`holder_may_have_changed`. And as long as the tap is on
        its way to a QEMU, see :meth:`ProcessOwners.looked`.
        """
        if not self.is_settled(tap):
            return None
        found = self._up_to_date().get(tap)
        return None if found is None else found[1]

    def take_concerned(self) -> Collection[str] | None:
        """The taps of which :meth:`domain_of` may say something else than before the last call; None for any."""
        self._up_to_date()
        for tap in [tap for tap, due in self._unread.items() if due <= self._files.scanned]:
            del self._unread[tap]
            self._concern({tap})
        concerned, self._concerned = self._concerned, set()
        return concerned

    def is_settled(self, tap: str) -> bool:
        """Whether all who know whose *tap* is have said so."""
        if self._unread.get(tap, 0) > self._files.scanned:
            return False
        if self._owners is not None and tap not in self._owners.looked():
            return False
        owner = self.owner_of(tap)
        vouched = owner is not None and owner.trusted
        return all(tap in each.answers() or (each.away and vouched) for each in self._hypervisors)

    def node(self) -> Node:
        """What all applications of an EVE-OS node are told alike."""
        return UNKNOWN_NODE if self._eve is None else self._eve.node()

    def owner_of(self, tap: str) -> Owner | None:
        """The process behind *tap*, where one is known."""
        return None if self._owners is None else self._owners.owners().get(tap)

    def owners(self) -> Mapping[str, Owner]:
        """The process behind each tap of which one is known."""
        return {} if self._owners is None else self._owners.owners()

    def domains(self) -> Iterable[Domain]:
        """All domains, behind a tap or not."""
        return [domain for _, domain in self._known()]

    def origins(self, domain: Domain) -> tuple[str, ...]:
        """Return the places that describe *domain*, one of :meth:`domains`, the most important first."""
        return next((tuple(merged.parts) for merged, known in self._known() if known is domain), ())

    def written_taps(self) -> Mapping[str, Collection[Domain]]:
        """Return the taps that people wrote, each with the domains into whose files or metadata they wrote it."""
        by_origin = {origin: known for merged, known in self._known() for origin in merged.parts}
        by_tap = written_taps([layer for source in self._sources for layer in source.layers()])
        return {tap: [by_origin[origin] for origin in origins] for tap, origins in by_tap.items()}

    def sources(self, domain: Domain) -> Mapping[str, str]:
        """Where each field of *domain*, one of :meth:`domains`, comes from, by the way to it: ``nics[0].mac``."""
        for merged, known in self._known():
            if known is domain:
                # Only its uuid can be its process's.
                completed = {"uuid": "process"} if known.uuid is not None and merged.domain.uuid is None else {}
                return {**merged.sources(), **completed}
        return {}

    def problems(self) -> tuple[InventoryProblem, ...]:
        """What is wrong at present, in files, between files and processes, and with the processes behind taps."""
        of_sources = tuple(problem for source in self._sources for problem in source.problems())
        of_taps = () if self._owners is None else self._owners.problems()
        of_domains = (*self._merging.problems, *self._up_to_date().problems)
        return of_sources + of_domains + of_taps

    def _known(self) -> Iterator[tuple[Merged, Domain]]:
        joined = self._up_to_date()
        return ((merged, joined.complete(merged)) for merged in self._merging.merged)

    def _source_changed(self) -> None:
        self._sources_moved = True
        if self._changed is not None:
            self._changed()

    def _owners_changed(self, taps: Collection[str]) -> None:
        self._owners_moved.update(taps)
        if self._changed is not None:
            self._changed()

    def _up_to_date(self) -> TapDomains:
        """What sources and processes say together, now."""
        moved, self._owners_moved = self._owners_moved, set()
        if self._sources_moved:
            self._sources_moved = False
            self._follow_sources()
        for tap in moved:
            self._concern(self._joined.decide(tap))
        return self._joined

    def _follow_sources(self) -> None:
        layers = [layer for source in self._sources for layer in source.layers()]
        hypervisors = [
            HypervisorAnswers({origin for layer in each.layers() for origin in layer.domains}, dict(each.answers()))
            for each in self._hypervisors
        ]
        away = tuple(each.away for each in self._hypervisors)
        replaced = self._merging.update(layers)
        if replaced is None or away != self._away:
            owners = {} if self._owners is None else self._owners.owners()
            self._joined = TapDomains(self._merging.merged, written_taps(layers), hypervisors, owners)
            self._concerned = None
            self._away = away
            return
        before, self._joined.hypervisors = self._joined.hypervisors, hypervisors
        self._concern(self._joined.replace(replaced))
        for old, new in zip(before, hypervisors, strict=True):
            for tap in old.taps.keys() | new.taps.keys():
                if old.taps.get(tap) != new.taps.get(tap):
                    self._concern(self._joined.decide(tap))

    def _concern(self, taps: Collection[str]) -> None:
        if self._concerned is not None:
            self._concerned.update(taps)


def _eve(config: InventoryConfig, reactor: Any) -> EveSource | None:
    if not config.eve:
        return None
    # Only now: what reads EVE's files takes memory that the others need not pay for.
    from eve_meta.inventory.eve.source import EveSource

    return EveSource(Path(config.eve), config.eve_all, reactor)


def _libvirt(uri: str, reactor: Any) -> Iterator[Hypervisor]:
    if uri:
        # Only now: libvirt's module takes memory that the others need not pay for.
        from eve_meta.inventory.libvirt.connection import ThreadedLibvirtConnection
        from eve_meta.inventory.libvirt.source import LibvirtSource

        yield LibvirtSource(ThreadedLibvirtConnection(uri, reactor.callFromThread), uri, reactor)
