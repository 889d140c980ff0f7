"""The contract of an inventory with the supervisor, for the real inventory and the tests' fake."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

import pytest

from eve_meta.values.domain import Domain
from eve_meta.values.eve_node import UNKNOWN_NODE, Node


class TapInventory(Protocol):
    """The part of :class:`~eve_meta.inventory.inventory.Inventory` that the supervisor uses."""

    def start(self, changed: Callable[[], None]) -> None: ...
    def stop(self) -> None: ...
    def taps_changed(self, present: Iterable[str], gone: Iterable[str] = ()) -> None: ...
    def holder_may_have_changed(self, tap: str) -> None: ...
    def domain_of(self, tap: str) -> Domain | None: ...
    def take_concerned(self) -> Collection[str] | None: ...
    def is_settled(self, tap: str) -> bool: ...
    def node(self) -> Node: ...
    def problems(self) -> Sequence[object]: ...


class World(Protocol):
    """An inventory, real or not, and the host about which it knows."""

    inventory: TapInventory

    def until(self, condition: Callable[[], bool]) -> None:
        """Let time pass until *condition* holds."""

    def assign(self, tap: str, name: str | None) -> None:
        """Assign the domain of this name to *tap*, None for no domain."""

    def withhold(self, tap: str) -> None:
        """Let the owner of *tap* be undecided, until :meth:`release`."""

    def release(self, tap: str) -> None:
        """Let the owner of *tap* be known again."""


class InventoryContract:
    """The tests of a :class:`TapInventory`. Whoever inherits them has the fixture *world*."""

    @pytest.fixture
    def changes(self, world: World) -> list[None]:
        """The calls of the callback since the inventory was started. There is one tap, tap0."""
        changes: list[None] = []
        world.inventory.start(lambda: changes.append(None))
        world.inventory.taps_changed(["tap0"])
        world.until(lambda: world.inventory.is_settled("tap0"))
        return changes

    def name_of(self, world: World, tap: str) -> str | None:
        """Return the name of the domain behind *tap*."""
        domain = world.inventory.domain_of(tap)
        return None if domain is None else domain.name

    def test_a_tap_without_a_domain_is_settled(self, world: World, changes: list[None]) -> None:
        assert world.inventory.is_settled("tap0")
        assert world.inventory.domain_of("tap0") is None
        assert world.inventory.problems() == ()
        assert world.inventory.node() is UNKNOWN_NODE

    def test_an_assigned_domain_is_one_object_until_it_changes(self, world: World, changes: list[None]) -> None:
        world.assign("tap0", "web1")
        world.until(lambda: self.name_of(world, "tap0") == "web1")
        assert world.inventory.domain_of("tap0") is world.inventory.domain_of("tap0")
        world.assign("tap0", "db1")
        world.until(lambda: self.name_of(world, "tap0") == "db1")
        world.assign("tap0", None)
        world.until(lambda: self.name_of(world, "tap0") is None)

    def test_each_change_calls_changed(self, world: World, changes: list[None]) -> None:
        for name in ("web1", "db1", None):
            changes.clear()
            world.assign("tap0", name)
            world.until(lambda name=name: self.name_of(world, "tap0") == name)  # type: ignore[misc]
            world.until(lambda: bool(changes))

    def test_a_change_concerns_its_tap_and_is_taken_once(self, world: World, changes: list[None]) -> None:
        for name in ("web1", "db1", None):
            world.inventory.take_concerned()
            world.assign("tap0", name)
            world.until(lambda name=name: self.name_of(world, "tap0") == name)  # type: ignore[misc]
            concerned = world.inventory.take_concerned()
            assert concerned is None or "tap0" in concerned
            assert world.inventory.take_concerned() == set()

    def test_a_tap_whose_owner_is_undecided_has_no_domain(self, world: World, changes: list[None]) -> None:
        world.assign("tap0", "web1")
        world.until(lambda: self.name_of(world, "tap0") == "web1")
        world.inventory.take_concerned()
        world.withhold("tap0")
        assert not world.inventory.is_settled("tap0")
        assert world.inventory.domain_of("tap0") is None
        concerned = world.inventory.take_concerned()
        assert concerned is None or "tap0" in concerned
        world.release("tap0")
        world.until(lambda: world.inventory.is_settled("tap0"))
        assert self.name_of(world, "tap0") == "web1"
        concerned = world.inventory.take_concerned()
        assert concerned is None or "tap0" in concerned

    def test_a_tap_keeps_its_domain_where_its_holder_turns_out_the_same(
        self, world: World, changes: list[None]
    ) -> None:
        world.assign("tap0", "web1")
        world.until(lambda: self.name_of(world, "tap0") == "web1")
        world.inventory.holder_may_have_changed("tap0")
        world.until(lambda: self.name_of(world, "tap0") == "web1")

    def test_a_tap_may_go_and_come_back(self, world: World, changes: list[None]) -> None:
        world.assign("tap0", "web1")
        world.until(lambda: self.name_of(world, "tap0") == "web1")
        world.inventory.taps_changed([], ["tap0"])
        world.inventory.holder_may_have_changed("tap0")
        world.inventory.taps_changed(["tap0"])
        world.until(lambda: self.name_of(world, "tap0") == "web1")

    def test_after_stop_changed_is_not_called(self, world: World, changes: list[None]) -> None:
        world.inventory.stop()
        changes.clear()
        world.assign("tap0", "web1")
        assert changes == []
