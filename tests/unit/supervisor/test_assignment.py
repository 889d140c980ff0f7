"""Which taps are refreshed when the inventory has changed, and when."""

from __future__ import annotations

from typing import cast
from uuid import UUID

import pytest
from attrs import evolve

from eve_meta.inventory.inventory import Inventory
from eve_meta.steering.taps.tap import Tap
from eve_meta.supervisor.assignment import LONG_LOOK, MAX_REST, REST_FACTOR, TAPS_A_TURN, Assignment
from eve_meta.supervisor.tap_state import TapState
from eve_meta.supervisor.tap_table import TapTable
from eve_meta.values.domain import Domain
from eve_meta.wire.messages import LEASE_TIME
from tests.contracts.fake_inventory import FakeInventory
from tests.unit.turns import TurnClock

WEB = Domain(uuid=UUID(int=1), name="web1")
DB = Domain(uuid=UUID(int=2), name="db1")
MANY = 2 * TAPS_A_TURN + 10


class Scene:
    """Taps vnet1 and so on, whose domains the inventory does not know.

    :ivar look_time: seconds that a look at the inventory's changes takes.
    """

    def __init__(self) -> None:
        self.clock = TurnClock()
        self.inventory = FakeInventory()
        self.table = TapTable(1)
        self.looks = 0
        self.look_time = 0.0
        self.caught_up = 0
        self.assignment = Assignment(
            self.clock,
            cast(Inventory, self.inventory),
            self.table,
            refresh=self._refresh,
            refresh_general=self._refresh_general,
            caught_up=self._caught_up,
        )

    def _refresh(self, state: TapState) -> None:
        state.assign(self.inventory.domain_of(state.tap.name), self.clock.seconds())

    def _refresh_general(self) -> None:
        self.looks += 1
        self.clock.rightNow += self.look_time

    def _caught_up(self) -> None:
        self.caught_up += 1

    def add(self, *names: str) -> None:
        for tag, name in enumerate(names, len(self.table) + 1):
            state = TapState(Tap(name, 100 + tag, tag, 0.0, True), self.inventory.domain_of(name))
            self.table.add(state)
            self.assignment.taps_changed(state.tap)

    def remove(self, tag: int) -> None:
        self.assignment.taps_changed(self.table.remove(tag).tap)

    def assign_all(self, domain: Domain) -> None:
        """Have the inventory know *domain* behind all taps."""
        self.inventory.by_tap = dict.fromkeys(self.table.names, domain)
        self.assignment.inventory_changed()

    def assigned_to(self, domain: Domain | None) -> int:
        """Return how many taps are assigned to *domain*."""
        return sum(state.domain is domain for state in self.table)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_change_looks_up_only_the_taps_that_it_concerns(scene: Scene) -> None:
    """With thousands of taps, what is done for one must not be done for each."""
    scene.add("vnet1", "vnet2", "vnet3")
    scene.clock.advance(0)
    scene.inventory.tap_changes.clear()
    scene.inventory.looked_up.clear()
    scene.inventory.concerned = {"vnet2", "no tap of ours"}
    scene.inventory.by_tap["vnet2"] = DB
    scene.assignment.inventory_changed()
    assert set(scene.inventory.looked_up) == {"vnet2"}
    assert scene.table[2].domain is DB


def test_the_inventory_learns_once_of_all_taps_that_appear_and_go_in_one_turn(scene: Scene) -> None:
    scene.add("vnet1", "vnet2")
    scene.remove(1)
    assert scene.inventory.tap_changes == []
    scene.clock.advance(0)
    assert scene.inventory.tap_changes == [({"vnet2"}, {"vnet1"})]
    assert scene.caught_up == 1


def test_a_name_that_another_tap_still_has_is_not_gone(scene: Scene) -> None:
    """Where messages of the kernel were lost, a new tap may appear before the old one of its name goes."""
    scene.add("vnet1", "vnet1")
    scene.inventory.concerned = {"vnet1"}
    scene.assign_all(DB)
    assert scene.assigned_to(DB) == 2
    scene.remove(1)
    scene.clock.advance(0)
    assert scene.inventory.tap_changes == [({"vnet1"}, set())]
    scene.assign_all(WEB)
    assert scene.assigned_to(WEB) == 1


def test_many_taps_get_their_domain_in_turns_but_lose_it_at_once(scene: Scene) -> None:
    scene.add(*(f"many{number}" for number in range(MANY)))
    scene.clock.turn()
    scene.caught_up = 0
    scene.assign_all(WEB)
    assert (scene.assigned_to(WEB), len(scene.clock.calls)) == (TAPS_A_TURN, 1)
    scene.clock.turn()
    assert (scene.assigned_to(WEB), len(scene.clock.calls), scene.caught_up) == (TAPS_A_TURN * 2, 1, 0)
    scene.assign_all(DB)
    assert (scene.assigned_to(WEB), scene.assigned_to(DB)) == (0, TAPS_A_TURN * 2)
    scene.clock.turns()
    assert scene.assigned_to(DB) == MANY
    assert scene.caught_up == 1


def test_a_changed_value_of_the_same_domain_waits_for_its_turn(scene: Scene) -> None:
    scene.add(*(f"many{number}" for number in range(MANY)))
    scene.assign_all(WEB)
    scene.clock.advance(0)
    changed = evolve(WEB, hostname="other")
    scene.assign_all(changed)
    assert (scene.assigned_to(WEB), scene.assigned_to(changed)) == (MANY - TAPS_A_TURN, TAPS_A_TURN)
    scene.clock.advance(0)
    assert scene.assigned_to(changed) == MANY


def test_after_a_look_that_took_long_the_next_has_to_wait(scene: Scene) -> None:
    scene.look_time = 2 * LONG_LOOK
    for _ in range(3):
        scene.assignment.inventory_changed()
    assert scene.looks == 1
    scene.clock.advance(REST_FACTOR * scene.look_time * 0.99)
    assert scene.looks == 1
    scene.clock.advance(REST_FACTOR * scene.look_time * 0.01)
    assert scene.looks == 2
    scene.assignment.inventory_changed()
    scene.assignment.stop()
    assert scene.clock.getDelayedCalls() == []


def test_the_table_is_true_until_the_first_change_that_was_not_looked_at(scene: Scene) -> None:
    scene.look_time = 2 * LONG_LOOK
    assert scene.assignment.true_at == scene.clock.seconds()
    scene.assignment.inventory_changed()
    looked = scene.clock.seconds()
    assert scene.assignment.true_at == looked
    scene.clock.advance(LONG_LOOK)
    scene.assignment.inventory_changed()
    scene.clock.advance(LONG_LOOK)
    scene.assignment.inventory_changed()
    assert scene.assignment.true_at == looked + LONG_LOOK
    scene.clock.advance(REST_FACTOR * scene.look_time)
    assert scene.assignment.true_at == scene.clock.seconds()


def test_no_rest_keeps_the_table_behind_for_as_long_as_the_lease_lasts(scene: Scene) -> None:
    scene.look_time = 10.0
    scene.assignment.inventory_changed()
    scene.assignment.inventory_changed()
    scene.clock.advance(MAX_REST)
    assert scene.looks == 2
    assert MAX_REST < LEASE_TIME / 2


def test_after_a_look_that_was_quick_the_next_is_taken_at_once(scene: Scene) -> None:
    scene.look_time = LONG_LOOK / 2
    for _ in range(3):
        scene.assignment.inventory_changed()
    assert scene.looks == 3


def test_nothing_is_refreshed_once_it_is_stopped(scene: Scene) -> None:
    scene.add("vnet1")
    scene.assignment.stop()
    scene.clock.advance(0)
    scene.assign_all(WEB)
    assert (scene.inventory.tap_changes, scene.assigned_to(WEB), scene.clock.getDelayedCalls()) == ([], 0, [])
