"""While a document is being read, or is unread, nobody is served what it may have changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eve_meta.config import InventoryConfig
from eve_meta.inventory.inventory import Inventory
from eve_meta.inventory.readers.reading import Unread
from tests.contracts.fake_reader import SlowReader
from tests.unit.inventory.conftest import Until
from tests.unit.inventory.writing import write


@pytest.fixture
def reader() -> SlowReader:
    return SlowReader()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "domains.d"
    path.mkdir(0o700)
    write(path / "a.yaml", "name: a\nnics: [{tap: tap0}]\n")
    return path


@pytest.fixture
def inventory(path: Path, reactor: Any, reader: SlowReader, turn: Callable[[float], None]) -> Iterator[Inventory]:
    inventory = Inventory(InventoryConfig(directory=path, process=False), reactor, reader)
    inventory.holder_may_have_changed("tap0")
    inventory.start(lambda: None)
    yield inventory
    inventory.stop()
    turn(0.05)


def name(inventory: Inventory) -> str | None:
    domain = inventory.domain_of("tap0")
    return None if domain is None else domain.name


def test_at_the_start_no_tap_is_settled_until_the_files_are_read(
    inventory: Inventory, reader: SlowReader, until: Until, turn: Callable[[float], None]
) -> None:
    inventory.holder_may_have_changed("tap0")
    until(lambda: bool(reader.waiting))
    turn(0.1)
    assert not inventory.is_settled("tap0")
    assert name(inventory) is None
    reader.go_on()
    until(lambda: inventory.is_settled("tap0"))
    assert name(inventory) == "a"


def test_a_file_that_is_being_read_again_is_as_it_was(
    inventory: Inventory, reader: SlowReader, path: Path, until: Until, turn: Callable[[float], None]
) -> None:
    until(lambda: bool(reader.waiting))
    reader.go_on()
    until(lambda: name(inventory) == "a")
    write(path / "a.yaml", "name: b\nnics: [{tap: tap0}]\n")
    until(lambda: bool(reader.waiting))
    turn(0.1)
    assert name(inventory) == "a"
    reader.go_on()
    until(lambda: name(inventory) == "b")


def test_a_tap_that_changes_hands_while_a_file_is_being_read_waits_for_it(
    inventory: Inventory, reader: SlowReader, path: Path, until: Until, turn: Callable[[float], None]
) -> None:
    until(lambda: bool(reader.waiting))
    reader.go_on()
    until(lambda: name(inventory) == "a")
    write(path / "a.yaml", "name: b\nnics: [{tap: tap0}]\n")
    until(lambda: bool(reader.waiting))
    inventory.holder_may_have_changed("tap0")
    turn(0.1)
    assert not inventory.is_settled("tap0")
    assert name(inventory) is None
    reader.go_on()
    until(lambda: inventory.is_settled("tap0"))
    assert name(inventory) == "b"


def test_the_last_good_version_of_an_unread_file_holds_until_it_is_read(
    inventory: Inventory, reader: SlowReader, path: Path, until: Until, turn: Callable[[float], None]
) -> None:
    until(lambda: bool(reader.waiting))
    reader.go_on()
    until(lambda: name(inventory) == "a")
    reader.unread[str(path / "a.yaml")] = Unread("it takes too long", time.monotonic() + 0.5)
    write(path / "a.yaml", "name: b\nnics: [{tap: tap0}]\n")
    until(lambda: bool(reader.waiting))
    reader.go_on()
    until(lambda: bool(inventory.problems()))
    assert [str(each) for each in inventory.problems()] == [f"{path}/a.yaml: is not read: it takes too long"]
    inventory.holder_may_have_changed("tap0")
    turn(0.1)
    assert inventory.is_settled("tap0")  # nothing waits for the next attempt
    assert name(inventory) == "a"
    # The next attempt comes by itself.
    del reader.unread[str(path / "a.yaml")]
    until(lambda: bool(reader.waiting))
    reader.go_on()
    until(lambda: name(inventory) == "b")
    assert inventory.problems() == ()
