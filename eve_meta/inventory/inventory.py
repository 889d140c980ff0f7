"""The inventory of a running daemon: its sources, the owners of its taps, and what follows from both."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from eve_meta.config import InventoryConfig
from eve_meta.domain import Domain
from eve_meta.inventory.directory import Directory
from eve_meta.inventory.interface import FileProblem, Source
from eve_meta.inventory.join import join
from eve_meta.inventory.owners import ProcessOwners
from eve_meta.inventory.process import Owner
from eve_meta.inventory.watch import FileSource


class Inventory:
    """Which domains there are, and which of them is behind a tap.

    :param reactor: needs IReactorTime and IReactorFDSet.
    :param proc: where procfs is mounted.
    """

    def __init__(self, config: InventoryConfig, reactor: Any, proc: Path = Path("/proc")) -> None:
        # With a second source, two may know one domain, and one is to complete the other field by field.
        self._sources: tuple[Source, ...] = (FileSource(Directory(config.directory), reactor),)
        self._owners = ProcessOwners(reactor, proc) if config.process else None
        self._changed: Callable[[], None] | None = None
        self._joined: tuple[dict[str, Domain], tuple[FileProblem, ...]] | None = None

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
        if self._owners is not None:
            self._owners.taps_changed(names)

    def carrier_changed(self, tap: str) -> None:
        """The carrier of *tap* has changed, so another process may hold it."""
        if self._owners is not None:
            self._owners.kick(tap)

    def domain_of(self, tap: str) -> Domain | None:
        """The domain behind *tap*.

        None, too, until its process has been looked for, which begins with :meth:`taps_changed` and takes milliseconds:
        a file that names the tap may be wrong about it. And as long as the tap is on its way to a QEMU, see
        :meth:`ProcessOwners.looked`.
        """
        if self._owners is not None and tap not in self._owners.looked():
            return None
        return self._join()[0].get(tap)

    def owner_of(self, tap: str) -> Owner | None:
        """The process behind *tap*, where one is known."""
        return None if self._owners is None else self._owners.owners().get(tap)

    def domains(self) -> Iterable[Domain]:
        """All domains, behind a tap or not."""
        return [domain for source in self._sources for domain in source.domains().values()]

    def problems(self) -> tuple[FileProblem, ...]:
        """What is wrong at present, in files, between files and processes, and with the processes behind taps."""
        of_files = tuple(problem for source in self._sources for problem in source.problems())
        of_taps = () if self._owners is None else self._owners.problems()
        return of_files + self._join()[1] + of_taps

    def _on_change(self) -> None:
        self._joined = None
        if self._changed is not None:
            self._changed()

    def _join(self) -> tuple[dict[str, Domain], tuple[FileProblem, ...]]:
        if self._joined is None:
            domains = {origin: domain for source in self._sources for origin, domain in source.domains().items()}
            self._joined = join(domains, {} if self._owners is None else self._owners.owners())
        return self._joined
