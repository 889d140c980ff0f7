"""The taps that people wrote into the files and metadata of domains."""

from __future__ import annotations

from collections.abc import Collection, ItemsView, Iterable, Sequence
from itertools import chain

from eve_meta.inventory.grouping import Difference
from eve_meta.inventory.source import Layer


class WrittenTaps:
    """The taps that people wrote, each with the origins of the domains that name it."""

    def __init__(self) -> None:
        self._origins: dict[str, tuple[str, ...]] = {}
        self._taps: dict[str, tuple[str, ...]] = {}

    def update(self, layers: Sequence[Layer], changes: Iterable[Difference]) -> tuple[set[str], list[str]]:
        """Bring the taps up to date with *layers*, which have changed by *changes*.

        :returns: the taps that other domains name than before, and the origins of domains that name other taps.
        """
        taps: set[str] = set()
        origins: list[str] = []
        for change in changes:
            old, new = self._taps.get(change.origin, ()), () if change.new is None else change.new.taps
            if not change.layer.written or old == new:
                continue
            self._taps[change.origin] = new
            if not new:
                del self._taps[change.origin]
            for tap in old:
                self._origins[tap] = tuple(origin for origin in self._origins[tap] if origin != change.origin)
            for tap in new:
                self._origins[tap] = (*self._origins.get(tap, ()), change.origin)
            taps.update(old, new)
            origins.append(change.origin)
        contested = [tap for tap in taps if len(self._origins[tap]) > 1]
        if contested:
            at = {origin: index for index, origin in enumerate(chain(*(layer.domains for layer in layers)))}
            for tap in contested:
                self._origins[tap] = tuple(sorted(self._origins[tap], key=at.__getitem__))
        for tap in taps:
            if not self._origins[tap]:
                del self._origins[tap]
        return taps, origins

    def get(self, tap: str) -> Collection[str]:
        """Return the origins of the domains that name *tap*."""
        return self._origins.get(tap, ())

    def taps_of(self, origin: str) -> Collection[str]:
        """Return the taps that the domain from *origin* names."""
        return self._taps.get(origin, ())

    def items(self) -> ItemsView[str, Sequence[str]]:
        """Return each tap with the origins of the domains that name it."""
        return self._origins.items()
