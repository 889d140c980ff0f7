"""An inventory that knows what a test tells it."""

from __future__ import annotations

from collections.abc import Iterable

from eve_meta.values.domain import Domain
from eve_meta.values.eve_node import UNKNOWN_NODE, Node


class FakeInventory:
    """Knows which domain is behind which tap."""

    def __init__(self) -> None:
        self.by_tap: dict[str, Domain] = {}
        self.concerned: set[str] | None = None
        self.asked: list[str] = []
        self.told: list[tuple[set[str], set[str]]] = []
        self.of_node = UNKNOWN_NODE
        self.unsettled: set[str] = set()

    def node(self) -> Node:
        return self.of_node

    def domain_of(self, tap: str) -> Domain | None:
        self.asked.append(tap)
        return self.by_tap.get(tap)

    def take_concerned(self) -> set[str] | None:
        return self.concerned

    def taps_changed(self, there: Iterable[str], gone: Iterable[str]) -> None:
        self.told.append((set(there), set(gone)))

    def holder_may_have_changed(self, tap: str) -> None:
        pass

    def is_settled(self, tap: str) -> bool:
        return tap not in self.unsettled

    def problems(self) -> tuple[()]:
        return ()
