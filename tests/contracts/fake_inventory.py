"""An inventory whose domains a test sets; ``inventory_contract.py`` holds it to what the real one does."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from eve_meta.values.domain import Domain
from eve_meta.values.eve_node import UNKNOWN_NODE, Node


class FakeInventory:
    """Knows which domain is behind which tap.

    :ivar by_tap: the domains, by the names of their taps.
    :ivar concerned: names that the next :meth:`take_concerned` returns in addition to the taps that changed.
    :ivar looked_up: the taps whose domains were looked up, in order.
    :ivar tap_changes: the taps that appeared and those that went, as the inventory was informed of them.
    :ivar current_node: the node.
    :ivar scans: the scans of the files that have ended.
    :ivar due: the number of the scan that reads what has changed by now.
    :ivar unsettled: the taps whose owners it has not found yet. They have no domain.
    """

    def __init__(self) -> None:
        self.by_tap: dict[str, Domain] = {}
        self.concerned: set[str] = set()
        self.looked_up: list[str] = []
        self.tap_changes: list[tuple[set[str], set[str]]] = []
        self.current_node = UNKNOWN_NODE
        self.unsettled: set[str] = set()
        self.scans = self.due = 1
        self._changed: Callable[[], None] | None = None
        # The domains at the last take_concerned().
        self._taken: dict[str, Domain] = {}

    def start(self, changed: Callable[[], None]) -> None:
        self._changed = changed

    def stop(self) -> None:
        self._changed = None

    def change(self) -> None:
        """Call the callback of :meth:`start`, as an inventory does after each change."""
        if self._changed is not None:
            self._changed()

    def node(self) -> Node:
        return self.current_node

    def domain_of(self, tap: str) -> Domain | None:
        self.looked_up.append(tap)
        return self._domains().get(tap)

    def take_concerned(self) -> set[str]:
        before, self._taken = self._taken, self._domains()
        concerned, self.concerned = self.concerned, set()
        taps = before.keys() | self._taken.keys()
        return concerned | {tap for tap in taps if before.get(tap) is not self._taken.get(tap)}

    def taps_changed(self, present: Iterable[str], gone: Iterable[str] = ()) -> None:
        self.tap_changes.append((set(present), set(gone)))

    def holder_may_have_changed(self, tap: str) -> None:
        pass

    def is_settled(self, tap: str) -> bool:
        return tap not in self.unsettled

    def due_scan(self) -> int:
        return self.due

    def has_scanned(self, number: int) -> bool:
        return self.scans >= number

    def problems(self) -> tuple[()]:
        return ()

    def _domains(self) -> dict[str, Domain]:
        return {tap: domain for tap, domain in self.by_tap.items() if tap not in self.unsettled}
