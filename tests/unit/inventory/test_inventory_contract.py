"""The real inventory and the supervisor's fake honour one contract."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from eve_meta.config import InventoryConfig
from eve_meta.inventory import Inventory
from eve_meta.values.domain import Domain
from tests.contracts.fake_inventory import FakeInventory
from tests.contracts.fake_reader import FakeReader
from tests.contracts.inventory_contract import InventoryContract
from tests.unit.inventory.conftest import Until
from tests.unit.inventory.fakeproc import FakeProc
from tests.unit.inventory.writing import write


class Fake:
    """The fake as a :class:`~tests.contracts.inventory_contract.World`. Time does not pass."""

    def __init__(self) -> None:
        self.inventory = FakeInventory()

    def until(self, condition: Callable[[], bool]) -> None:
        assert condition()

    def assign(self, tap: str, name: str | None) -> None:
        self.inventory.by_tap.pop(tap, None)
        if name is not None:
            self.inventory.by_tap[tap] = Domain(uuid=UUID(int=sum(name.encode())), name=name)
        self.inventory.change()

    def withhold(self, tap: str) -> None:
        self.inventory.unsettled.add(tap)
        self.inventory.change()

    def release(self, tap: str) -> None:
        self.inventory.unsettled.discard(tap)
        self.inventory.change()


class Real:
    """The real inventory as a :class:`~tests.contracts.inventory_contract.World`, with files and made-up processes."""

    def __init__(self, path: Path, reactor: Any, until: Until) -> None:
        self.domains = path / "domains.d"
        self.domains.mkdir(0o700)
        self.proc = FakeProc(path / "proc")
        self.inventory = Inventory(InventoryConfig(directory=self.domains), reactor, FakeReader(), self.proc.path)
        self.until = until

    def assign(self, tap: str, name: str | None) -> None:
        if name is None:
            (self.domains / f"{tap}.yaml").unlink()
        else:
            write(self.domains / f"{tap}.yaml", f"name: {name}\nnics: [{{tap: {tap}}}]\n")

    def withhold(self, tap: str) -> None:
        # libvirtd holds the tap, and nobody knows yet which QEMU will get it.
        self.proc.add(os.getpid(), "libvirtd", taps=[tap], exe="/usr/sbin/libvirtd")
        self.inventory.holder_may_have_changed(tap)

    def release(self, tap: str) -> None:
        (self.proc.path / str(os.getpid())).rename(self.proc.path / "closed")


class TestFakeInventory(InventoryContract):
    """The whole contract, on the fake."""

    @pytest.fixture
    def world(self) -> Fake:
        return Fake()


class TestInventory(InventoryContract):
    """The whole contract, on the real inventory."""

    @pytest.fixture
    def world(self, tmp_path: Path, reactor: Any, until: Until) -> Iterator[Real]:
        world = Real(tmp_path, reactor, until)
        yield world
        world.inventory.stop()
