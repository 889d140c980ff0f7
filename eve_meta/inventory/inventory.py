"""The inventory of a running daemon: its sources, the owners of its taps, and what follows from both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from eve_meta.config import InventoryConfig
from eve_meta.domain import Domain
from eve_meta.eve import UNKNOWN_NODE, Node
from eve_meta.inventory.directory import Directory
from eve_meta.inventory.interface import FileProblem, Hypervisor, Source
from eve_meta.inventory.join import Said, join, written_taps
from eve_meta.inventory.merge import Merged, merge
from eve_meta.inventory.owners import ProcessOwners
from eve_meta.inventory.process import Owner
from eve_meta.inventory.watch import FileSource

if TYPE_CHECKING:
    from eve_meta.inventory.eve import EveSource


@frozen(eq=False)
class _View:
    """What all sources and processes say together, at one time."""

    domains: tuple[Merged, ...]
    taps: Mapping[str, tuple[Merged, Domain]]
    problems: tuple[FileProblem, ...]


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
        # Tap → the scan of the files before which what they say of it does not count.
        self._unread: dict[str, int] = {}
        self._merged: tuple[Merged, ...] = ()
        self._view: _View | None = None

    def start(self, changed: Callable[[], None]) -> None:
        """Begin to read and to watch; *changed* is called once all has been read, and after every change."""
        self._changed = changed
        for source in self._sources:
            source.start(self._on_change)
        if self._owners is not None:
            self._owners.start(self._on_change)

    def stop(self) -> None:
        """End reading and watching."""
        self._changed = None
        for source in self._sources:
            source.stop()
        if self._owners is not None:
            self._owners.stop()

    def taps_changed(self, names: Iterable[str]) -> None:
        """*names* are all taps that there are now."""
        taps = set(names)
        self._view = None
        self._unread = {tap: due for tap, due in self._unread.items() if tap in taps and due > self._files.scanned}
        for hypervisor in self._hypervisors:
            hypervisor.taps_changed(taps)
        if self._owners is not None:
            self._owners.taps_changed(taps)

    def carrier_changed(self, tap: str) -> None:
        """*tap* is new, or its carrier has changed, so another process may hold it."""
        self._view = None
        # A file that was changed before that may say so, and not have been read yet.
        self._unread[tap] = self._files.due()
        for hypervisor in self._hypervisors:
            hypervisor.carrier_changed(tap)
        if self._owners is not None:
            self._owners.kick(tap)

    def domain_of(self, tap: str) -> Domain | None:
        """The domain behind *tap*.

        None, too, until its process has been looked for and hypervisors have been asked, which begins with
        :meth:`taps_changed` and takes milliseconds: a file that names the tap may be wrong about it. And until files
        have been read that were changed before :meth:`carrier_changed`. And as long as the tap is on its way to a QEMU,
        see :meth:`ProcessOwners.looked`.
        """
        if not self.is_settled(tap):
            return None
        _, domain = self._seen().taps.get(tap, (None, None))
        return domain

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

    def places(self, domain: Domain) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Where *domain*, one of :meth:`domains`, is said, the most important place first; and its taps, by people."""
        by_tap = written_taps([layer for source in self._sources for layer in source.layers()])
        for merged, known in self._known():
            if known is domain:
                named = [tap for tap, origins in by_tap.items() if not merged.parts.keys().isdisjoint(origins)]
                return tuple(merged.parts), tuple(named)
        return (), ()

    def sources(self, domain: Domain) -> Mapping[str, str]:
        """Where each field of *domain*, one of :meth:`domains`, comes from, by the way to it: ``nics[0].mac``."""
        for merged, known in self._known():
            if known is domain:
                # Only its uuid can be its process's.
                completed = {"uuid": "process"} if known.uuid is not None and merged.domain.uuid is None else {}
                return {**merged.sources(), **completed}
        return {}

    def problems(self) -> tuple[FileProblem, ...]:
        """What is wrong at present, in files, between files and processes, and with the processes behind taps."""
        of_sources = tuple(problem for source in self._sources for problem in source.problems())
        of_taps = () if self._owners is None else self._owners.problems()
        return of_sources + self._seen().problems + of_taps

    def _known(self) -> list[tuple[Merged, Domain]]:
        view = self._seen()
        complete = dict(view.taps.values())
        return [(merged, complete.get(merged, merged.domain)) for merged in view.domains]

    def _on_change(self) -> None:
        self._view = None
        if self._changed is not None:
            self._changed()

    def _seen(self) -> _View:
        if self._view is None:
            layers = [layer for source in self._sources for layer in source.layers()]
            self._merged, of_domains = merge(layers, self._merged)
            hypervisors = [
                Said({origin for layer in each.layers() for origin in layer.domains}, each.answers())
                for each in self._hypervisors
            ]
            owners = {} if self._owners is None else self._owners.owners()
            taps, of_taps = join(self._merged, written_taps(layers), hypervisors, owners)
            self._view = _View(self._merged, taps, of_domains + of_taps)
        return self._view


def _eve(config: InventoryConfig, reactor: Any) -> EveSource | None:
    if not config.eve:
        return None
    # Only now: what reads EVE's files takes memory that the others need not pay for.
    from eve_meta.inventory.eve import EveSource  # noqa: PLC0415

    return EveSource(Path(config.eve), config.eve_all, reactor)


def _libvirt(uri: str, reactor: Any) -> Iterator[Hypervisor]:
    if uri:
        # Only now: libvirt's module takes memory that the others need not pay for.
        from eve_meta.inventory.libvirtlink import LibvirtLink  # noqa: PLC0415
        from eve_meta.inventory.libvirtsource import LibvirtSource  # noqa: PLC0415

        yield LibvirtSource(LibvirtLink(uri, reactor.callFromThread), uri, reactor)
