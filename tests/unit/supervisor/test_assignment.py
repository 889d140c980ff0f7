"""Which taps are looked at when the inventory has changed, and when."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

import pytest
from attrs import evolve
from twisted.internet.task import Clock

from eve_meta.inventory.inventory import Inventory
from eve_meta.steering.taps.tap import Tap
from eve_meta.supervisor import assignment as module
from eve_meta.supervisor.assignment import AT_ONCE, Assignment
from eve_meta.supervisor.tap_state import TapState
from eve_meta.supervisor.tap_table import TapTable
from eve_meta.values.domain import Domain
from tests.unit.fake_inventory import FakeInventory

WEB = Domain(uuid=UUID(int=1), name="web1")
DB = Domain(uuid=UUID(int=2), name="db1")
MANY = 2 * AT_ONCE + 10


class Scene:
    """Taps vnet1 and so on, of which the inventory knows no domain."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "LONG", 1000.0)  # however slow this machine is
        self.clock = Clock()
        self.inventory = FakeInventory()
        self.table = TapTable(1)
        self.looks = 0
        self.caught_up = 0
        self.following = Assignment(
            self.clock,
            cast(Inventory, self.inventory),
            self.table,
            refresh=self._refresh,
            general=self._looked,
            caught_up=self._caught_up,
        )

    def _refresh(self, state: TapState) -> None:
        state.assign(self.inventory.domain_of(state.tap.name))

    def _looked(self) -> None:
        self.looks += 1

    def _caught_up(self) -> None:
        self.caught_up += 1

    def add(self, *names: str) -> None:
        for tag, name in enumerate(names, len(self.table) + 1):
            state = TapState(Tap(name, 100 + tag, tag, 0.0, True), self.inventory.domain_of(name))
            self.table.add(state)
            self.following.taps_changed(state.tap)

    def remove(self, tag: int) -> None:
        self.following.taps_changed(self.table.remove(tag).tap)

    def all_mean(self, domain: Domain) -> None:
        """The inventory hears that all taps mean *domain*."""
        self.inventory.by_tap = dict.fromkeys(self.table.names, domain)
        self.following.inventory_changed()

    def assign(self, domain: Domain | None) -> int:
        """How many taps mean *domain*."""
        return sum(state.domain is domain for state in self.table)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def test_only_taps_that_a_change_concerns_are_asked_for(scene: Scene) -> None:
    """With thousands of taps, what is done for one must not be done for each."""
    scene.add("vnet1", "vnet2", "vnet3")
    scene.clock.advance(0)
    scene.inventory.told.clear()
    scene.inventory.asked.clear()
    scene.inventory.concerned = {"vnet2", "no tap of ours"}
    scene.inventory.by_tap["vnet2"] = DB
    scene.following.inventory_changed()
    assert set(scene.inventory.asked) == {"vnet2"}
    assert scene.table[2].domain is DB


def test_the_inventory_is_told_once_of_taps_that_came_and_went_in_one_turn(scene: Scene) -> None:
    scene.add("vnet1", "vnet2")
    scene.remove(1)
    assert scene.inventory.told == []
    scene.clock.advance(0)
    assert scene.inventory.told == [({"vnet2"}, {"vnet1"})]
    assert scene.caught_up == 1


def test_a_name_that_another_tap_has_still_is_not_gone(scene: Scene) -> None:
    """Where messages of the kernel were lost, the new one may be heard of before the end of the old one."""
    scene.add("vnet1", "vnet1")
    scene.inventory.concerned = {"vnet1"}
    scene.all_mean(DB)
    assert scene.assign(DB) == 2
    scene.remove(1)
    scene.clock.advance(0)
    assert scene.inventory.told == [({"vnet1"}, set())]
    scene.all_mean(WEB)
    assert scene.assign(WEB) == 1


def test_many_taps_get_their_domain_in_turns_but_lose_it_at_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[Any] = []

    def later(_: float, call: Any) -> Any:
        turns.append(call)
        return call

    monkeypatch.setattr(scene.clock, "callLater", later)
    scene.add(*(f"many{number}" for number in range(MANY)))
    turns.clear()
    scene.all_mean(WEB)
    assert (scene.assign(WEB), len(turns)) == (AT_ONCE, 1)
    turns.pop()()
    assert (scene.assign(WEB), len(turns), scene.caught_up) == (AT_ONCE * 2, 1, 0)
    scene.all_mean(DB)
    assert (scene.assign(WEB), scene.assign(DB)) == (0, AT_ONCE * 2)
    while turns:
        turns.pop()()
    assert scene.assign(DB) == MANY
    assert scene.caught_up == 1


def test_a_domain_that_is_another_but_the_same_vm_waits_for_its_turn(scene: Scene) -> None:
    scene.add(*(f"many{number}" for number in range(MANY)))
    scene.all_mean(WEB)
    scene.clock.advance(0)
    other = evolve(WEB, hostname="other")
    scene.all_mean(other)
    assert (scene.assign(WEB), scene.assign(other)) == (MANY - AT_ONCE, AT_ONCE)
    scene.clock.advance(0)
    assert scene.assign(other) == MANY


def test_after_a_look_that_took_long_the_next_has_to_wait(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONG", -1.0)
    monkeypatch.setattr(module, "REST", 1e9)
    for _ in range(3):
        scene.following.inventory_changed()
    assert scene.looks == 1
    (call,) = scene.clock.getDelayedCalls()
    scene.clock.advance(call.getTime())
    assert scene.looks == 2
    scene.following.inventory_changed()
    scene.following.stop()
    assert scene.clock.getDelayedCalls() == []
