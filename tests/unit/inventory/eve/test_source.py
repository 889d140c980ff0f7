"""EVE-OS's files under a running daemon: real inotify, real files, and the inventory above them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eve_meta.config import InventoryConfig
from eve_meta.inventory import Inventory
from eve_meta.inventory.eve import source as module
from eve_meta.inventory.eve.source import EveSource
from eve_meta.values.content import content_of
from tests.contracts.fake_reader import FakeReader
from tests.evetree import LOCATION, Tree, adapter, uuid
from tests.unit.inventory.conftest import LongestTurn, Until
from tests.unit.inventory.writing import write

Turn = Callable[[float], None]

TAP = "nbu1x1"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


class Watched:
    """A source, and how often it called *changed*."""

    def __init__(self, tree: Tree, reactor: Any) -> None:
        self.source = EveSource(tree.run, False, reactor, FakeReader())
        self.changes = 0

    def start(self) -> None:
        self.source.start(self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def data(self) -> dict[str, bytes | None]:
        (layer,) = self.source.layers()
        return {
            domain.display_name: None if domain.user_data is None else bytes(domain.user_data)
            for domain in layer.domains.values()
        }

    def problems(self) -> list[str]:
        return [str(problem) for problem in self.source.problems()]


@pytest.fixture
def watched(tree: Tree, reactor: Any, turn: Turn) -> Iterator[Watched]:
    watched = Watched(tree, reactor)
    yield watched
    watched.source.stop()
    turn(0.05)


def test_directories_that_appear_after_the_start(watched: Watched, tree: Tree, until: Until, turn: Turn) -> None:
    watched.start()
    until(lambda: watched.changes == 1)
    assert watched.data() == {}
    for number in (1, 2):
        tree.app(number, b"data")
        turn(0.1)
    until(lambda: watched.data() == {"app1": b"data", "app2": b"data"})
    assert watched.problems() == []


def test_an_application_comes_changes_and_goes(watched: Watched, tree: Tree, until: Until) -> None:
    tree.app(1, b"first")
    watched.start()
    until(lambda: watched.data() == {"app1": b"first"})
    tree.config(1, b"second")
    until(lambda: watched.data() == {"app1": b"second"})
    path = tree.config(1)
    path.write_bytes(path.read_bytes()[:30])
    until(lambda: len(watched.problems()) == 1)
    assert watched.problems()[0].endswith("; its last good version holds")
    tree.config(1, b"third")
    until(lambda: watched.data() == {"app1": b"third"})
    assert watched.problems() == []
    tree.take("zedrouter/AppNetworkStatus", uuid(1))
    until(lambda: watched.data() == {})


def test_changed_is_called_for_an_answer_that_equals_the_one_before(watched: Watched, tree: Tree, until: Until) -> None:
    tree.app(1, b"data")
    watched.start()
    watched.source.taps_changed({TAP})
    until(lambda: TAP in watched.source.answers())
    changes = watched.changes
    watched.source.holder_may_have_changed(TAP)
    assert TAP not in watched.source.answers()
    until(lambda: watched.changes > changes)
    assert list(watched.source.answers()) == [TAP]


def test_a_temporary_file_is_no_change(watched: Watched, tree: Tree, until: Until, turn: Turn) -> None:
    tree.app(1, b"data")
    watched.start()
    until(lambda: watched.changes == 1)
    for name in ("tmp123456", "restarted"):
        (tree.run / "zedrouter/AppNetworkStatus" / name).write_text("1")
    turn(0.3)
    assert watched.changes == 1


def test_the_node_restarts_its_agents(watched: Watched, tree: Tree, until: Until) -> None:
    tree.app(1, b"data")
    watched.start()
    until(lambda: watched.data() == {"app1": b"data"})
    shutil.rmtree(tree.run / "zedrouter")
    until(lambda: watched.data() == {})
    tree.app(1, b"again")
    until(lambda: watched.data() == {"app1": b"again"})


def test_a_position_that_changes_all_the_time_is_read_now_and_then(
    tree: Tree, reactor: Any, until: Until, turn: Turn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NODE_DELAY", 0.5)
    fast = Watched(tree, reactor)
    tree.app(1)
    tree.put("wwan/WwanLocationInfo", "global", LOCATION)
    fast.start()
    until(lambda: fast.changes == 1)
    began = time.monotonic()
    latitude = 0.0
    while time.monotonic() - began < 1.6:
        latitude += 0.001
        tree.put("wwan/WwanLocationInfo", "global", {**LOCATION, "Latitude": latitude})
        turn(0.01)
    until(lambda: f'"Latitude":{latitude}'.encode() in (fast.source.node().location or b""))
    elapsed = time.monotonic() - began
    # A change of an application does not wait for the next position.
    tree.put("wwan/WwanLocationInfo", "global", LOCATION)
    turn(0.02)
    tree.config(1, b"changed")
    changes, asked = fast.changes, time.monotonic()
    until(lambda: fast.data() == {"app1": b"changed"})
    waited = time.monotonic() - asked
    fast.source.stop()
    assert 2 <= changes - 1 <= elapsed / 0.5 + 1
    assert waited < 0.4


def test_a_new_tap_has_an_answer_soon_and_only_after_a_scan(watched: Watched, tree: Tree, until: Until) -> None:
    tree.app(1)
    watched.start()
    until(lambda: watched.changes == 1)
    watched.source.taps_changed({TAP})
    assert watched.source.answers() == {}
    until(lambda: watched.changes == 2)
    (origin,) = watched.source.answers()[TAP]
    assert os.path.basename(origin) == f"{uuid(1)}.json"
    watched.source.holder_may_have_changed(TAP)
    assert watched.source.answers() == {}
    until(lambda: TAP in watched.source.answers())


def test_many_large_applications_do_not_block_the_reactor(
    watched: Watched, tree: Tree, longest_turn: LongestTurn
) -> None:
    for number in range(1, 101):
        tree.app(number, os.urandom(500_000))
    watched.start()
    longest = longest_turn(lambda: bool(watched.changes))
    assert len(watched.data()) == 100
    assert longest < 0.5


# -- the inventory --


@pytest.fixture
def inventory(tree: Tree, tmp_path: Path, reactor: Any, turn: Turn) -> Iterator[Inventory]:
    (tmp_path / "domains.d").mkdir(0o700)
    config = InventoryConfig(directory=tmp_path / "domains.d", eve=str(tree.run), process=False)
    inventory = Inventory(config, reactor, FakeReader())
    yield inventory
    inventory.stop()
    turn(0.05)


def name_of(inventory: Inventory, tap: str) -> str | None:
    domain = inventory.domain_of(tap)
    return None if domain is None else domain.name


def test_a_tap_gets_its_application(inventory: Inventory, tree: Tree, until: Until) -> None:
    tree.app(1)
    inventory.start(lambda: None)
    inventory.taps_changed([TAP])
    until(lambda: name_of(inventory, TAP) == "app1")
    assert name_of(inventory, "nbu1x2") is None


def test_a_tap_that_another_application_gets_never_has_the_old_one_again(
    inventory: Inventory, tree: Tree, until: Until, turn: Turn
) -> None:
    tree.app(1, vif=TAP)
    inventory.start(lambda: None)
    inventory.taps_changed([TAP])
    until(lambda: name_of(inventory, TAP) == "app1")
    # All of this before the reactor turns and reads any event.
    tree.take("zedrouter/AppNetworkStatus", uuid(1))
    tree.app(2, vif=TAP)
    inventory.holder_may_have_changed(TAP)
    seen = set()
    until(lambda: seen.add(name_of(inventory, TAP)) or "app2" in seen)  # type: ignore[func-returns-value]
    assert seen == {None, "app2"}


def test_a_tap_of_two_applications_serves_nobody(inventory: Inventory, tree: Tree, until: Until, turn: Turn) -> None:
    tree.app(1, vif=TAP)
    tree.app(2, vif=TAP)
    inventory.start(lambda: None)
    inventory.taps_changed([TAP])
    until(lambda: any(TAP in str(problem) for problem in inventory.problems()))
    assert inventory.domain_of(TAP) is None


def test_a_domain_file_of_an_application_wins_over_eve(
    inventory: Inventory, tree: Tree, tmp_path: Path, until: Until
) -> None:
    tree.app(1, b"of EVE")
    tree.network()
    write(tmp_path / "domains.d/app.yaml", f"uuid: {uuid(1)}\npublic_keys: {{a: ssh-ed25519 AAAA}}\nuser_data: mine\n")
    inventory.start(lambda: None)
    inventory.taps_changed([TAP])
    until(lambda: name_of(inventory, TAP) == "app1")
    domain = inventory.domain_of(TAP)
    assert domain is not None
    assert (domain.user_data, domain.public_keys) == (content_of(b"mine"), {"a": "ssh-ed25519 AAAA"})
    assert domain.eve is not None
    assert [nic.tap for nic in domain.nics] == [TAP]


def test_a_file_of_another_domain_that_names_an_applications_tap_serves_nobody(
    inventory: Inventory, tree: Tree, tmp_path: Path, until: Until
) -> None:
    tree.status(1, adapter(1, TAP))
    tree.config(1)
    write(tmp_path / "domains.d/other.yaml", f"name: other\nnics: [{{tap: {TAP}}}]\n")
    inventory.start(lambda: None)
    inventory.taps_changed([TAP])
    until(lambda: any(TAP in str(problem) for problem in inventory.problems()))
    assert inventory.domain_of(TAP) is None
