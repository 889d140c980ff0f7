"""The inventory as the daemon sees it: files, processes and taps together."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eve_meta.config import InventoryConfig
from eve_meta.inventory import Inventory
from tests.unit.inventory.conftest import Until
from tests.unit.inventory.fakeproc import FakeProc
from tests.unit.inventory.files import write

UUID1 = "1a831fa7-c50b-4693-a16e-fb8171f1b69e"
UUID2 = "2a831fa7-c50b-4693-a16e-fb8171f1b69e"


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    return FakeProc(tmp_path / "proc")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "domains.d").mkdir(0o700)
    return tmp_path / "domains.d"


@pytest.fixture
def inventory(directory: Path, proc: FakeProc, reactor: Any) -> Iterator[Inventory]:
    inventory = Inventory(InventoryConfig(directory=directory), reactor, proc.path)
    yield inventory
    inventory.stop()


def uuid_of(inventory: Inventory, tap: str) -> str | None:
    domain = inventory.domain_of(tap)
    return None if domain is None else str(domain.uuid)


def test_a_tap_and_its_domain(
    inventory: Inventory, directory: Path, proc: FakeProc, until: Until, process: subprocess.Popen[bytes]
) -> None:
    write(directory / "web1.yaml", "name: web1\n")
    proc.add(process.pid, "qemu", "-uuid", UUID1, "-name", "web1", taps=["tap0"])
    changes: list[str | None] = []
    inventory.start(lambda: changes.append(uuid_of(inventory, "tap0")))
    inventory.taps_changed(["tap0"])
    until(lambda: UUID1 in changes)
    owner = inventory.owner_of("tap0")
    assert owner is not None
    assert owner.pid == process.pid
    assert [domain.name for domain in inventory.domains()] == ["web1"]
    assert inventory.problems() == ()


def test_a_file_that_names_a_tap_waits_until_its_process_was_looked_for(
    inventory: Inventory, directory: Path, until: Until
) -> None:
    write(directory / "web1.yaml", f"uuid: {UUID1}\nnics: [{{tap: tap0}}]\n")
    inventory.start(lambda: None)
    until(lambda: bool(list(inventory.domains())))
    assert inventory.domain_of("tap0") is None
    inventory.taps_changed(["tap0"])
    assert inventory.domain_of("tap0") is None
    until(lambda: uuid_of(inventory, "tap0") == UUID1)


def test_a_file_that_names_another_vms_tap_serves_nobody(
    inventory: Inventory, directory: Path, proc: FakeProc, until: Until, process: subprocess.Popen[bytes]
) -> None:
    write(directory / "web1.yaml", f"uuid: {UUID1}\nnics: [{{tap: tap0}}]\n")
    proc.add(process.pid, "qemu", "-uuid", UUID2, taps=["tap0"])
    served: list[str | None] = []
    inventory.start(lambda: served.append(uuid_of(inventory, "tap0")))
    inventory.taps_changed(["tap0"])
    until(lambda: len(inventory.problems()) == 1)
    assert set(served) == {None}
    assert f"got {UUID2}" in str(inventory.problems()[0])


def test_a_stale_file_and_a_qemu_that_gets_its_tap_later(
    inventory: Inventory,
    directory: Path,
    proc: FakeProc,
    until: Until,
    turn: Callable[[float], None],
    process: subprocess.Popen[bytes],
) -> None:
    """libvirt's names are dynamic: vnet0 was uuid 1's yesterday. libvirtd opens it, QEMU gets it a while later."""
    write(directory / "web1.yaml", f"uuid: {UUID1}\nnics: [{{tap: vnet0}}]\n")
    write(directory / "web2.yaml", f"uuid: {UUID2}\n")
    libvirtd = proc.add(os.getpid(), "libvirtd", taps=["vnet0"], exe="/usr/sbin/libvirtd")
    served: list[str | None] = []
    inventory.start(lambda: served.append(uuid_of(inventory, "vnet0")))
    inventory.taps_changed(["vnet0"])
    turn(0.3)
    assert set(served) == {None}
    proc.add(process.pid, "qemu", "-uuid", UUID2, taps=["vnet0"])
    libvirtd.rename(proc.path / "closed")
    until(lambda: len(inventory.problems()) == 1)
    assert set(served) == {None}


def test_a_user_who_calls_himself_another(
    inventory: Inventory,
    directory: Path,
    proc: FakeProc,
    until: Until,
    process: subprocess.Popen[bytes],
) -> None:
    write(directory / "web1.yaml", f"uuid: {UUID1}\n")
    proc.add(process.pid, "qemu", "-uuid", UUID1, taps=["vnet0"])
    proc.add(os.getpid(), "qemu-x", "-uuid", UUID1, taps=["tap0"], exe="/home/x/qemu-x", uids=(1000,) * 4)
    served: set[str | None] = set()
    inventory.start(lambda: served.add(uuid_of(inventory, "tap0")))
    inventory.taps_changed(["vnet0", "tap0"])
    until(lambda: uuid_of(inventory, "vnet0") == UUID1 and bool(inventory.problems()))
    assert served == {None}
    (problem,) = inventory.problems()
    assert "tap tap0: process" in str(problem)


def test_a_carrier_that_changes_stops_the_serving_until_looked_again(
    inventory: Inventory, directory: Path, proc: FakeProc, until: Until, process: subprocess.Popen[bytes]
) -> None:
    write(directory / "web1.yaml", f"uuid: {UUID1}\n")
    proc.add(process.pid, "qemu", "-uuid", UUID1, taps=["tap0"])
    inventory.start(lambda: None)
    inventory.taps_changed(["tap0"])
    until(lambda: uuid_of(inventory, "tap0") == UUID1)
    inventory.carrier_changed("tap0")
    assert inventory.domain_of("tap0") is None
    until(lambda: uuid_of(inventory, "tap0") == UUID1)


def test_without_processes_the_file_alone_counts(directory: Path, reactor: Any, until: Until) -> None:
    write(directory / "web1.yaml", f"uuid: {UUID1}\nnics: [{{tap: tap0}}]\n")
    inventory = Inventory(InventoryConfig(directory=directory, process=False), reactor, Path("/nonexistent"))
    inventory.start(lambda: None)
    inventory.taps_changed(["tap0"])
    inventory.carrier_changed("tap0")
    until(lambda: uuid_of(inventory, "tap0") == UUID1)
    assert inventory.owner_of("tap0") is None
    inventory.stop()


def test_after_stop_nothing_is_said(inventory: Inventory, directory: Path, until: Until) -> None:
    changes: list[None] = []
    inventory.start(lambda: changes.append(None))
    until(lambda: bool(changes))
    inventory.stop()
    count = len(changes)
    write(directory / "web1.yaml", "name: web1\n")
    inventory.taps_changed(["tap0"])
    assert len(changes) == count
