"""An inventory that knows what a test sets."""

from __future__ import annotations

from collections.abc import Iterable

from eve_meta.values.domain import Domain
from eve_meta.values.eve_node import UNKNOWN_NODE, Node


class FakeInventory:
    """Knows which domain is behind which tap.

    :ivar by_tap: the domains, by the names of their taps.
    :ivar concerned: the taps that the next change concerns; all, if None.
    :ivar looked_up: the taps whose domains were looked up, in order.
    :ivar tap_changes: the taps that appeared and those that went, as the inventory was informed of them.
    :ivar current_node: the node.
    :ivar unsettled: the taps whose owners it has not found yet.
    """

    def __init__(self) -> None:
        self.by_tap: dict[str, Domain] = {}
        self.concerned: set[str] | None = None
        self.looked_up: list[str] = []
        self.tap_changes: list[tuple[set[str], set[str]]] = []
        self.current_node = UNKNOWN_NODE
        self.unsettled: set[str] = set()

    def node(self) -> Node:
        return self.current_node

    def domain_of(self, tap: str) -> Domain | None:
        self.looked_up.append(tap)
        return self.by_tap.get(tap)

    def take_concerned(self) -> set[str] | None:
        return self.concerned

    def taps_changed(self, present: Iterable[str], gone: Iterable[str]) -> None:
        self.tap_changes.append((set(present), set(gone)))

    def holder_may_have_changed(self, tap: str) -> None:
        pass

    def is_settled(self, tap: str) -> bool:
        return tap not in self.unsettled

    def problems(self) -> tuple[()]:
        return ()
