"""The inventory as the daemon uses it: files, processes and hypervisors decide about taps together."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from twisted.internet.defer import Deferred, succeed

from eve_meta.config import InventoryConfig
from eve_meta.inventory import Inventory
from eve_meta.inventory.source import InventoryProblem, Layer
from eve_meta.inventory.vmm.process import Owner
from eve_meta.values.domain import Domain
from eve_meta.values.nic import Nic
from tests.contracts.fake_reader import FakeReader
from tests.unit.inventory.conftest import Until
from tests.unit.inventory.fakeproc import FakeProc
from tests.unit.inventory.writing import write

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
    inventory = Inventory(InventoryConfig(directory=directory), reactor, FakeReader(), proc.path)
    yield inventory
    inventory.stop()


def uuid_of(inventory: Inventory, tap: str) -> str | None:
    domain = inventory.domain_of(tap)
    return None if domain is None else str(domain.uuid)


def test_a_tap_gets_the_domain_of_its_process(
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


def test_a_tap_that_a_file_names_waits_for_the_search_for_its_process(
    inventory: Inventory, directory: Path, until: Until
) -> None:
    write(directory / "web1.yaml", f"uuid: {UUID1}\nnics: [{{tap: tap0}}]\n")
    inventory.start(lambda: None)
    until(lambda: bool(list(inventory.domains())))
    assert inventory.domain_of("tap0") is None
    inventory.taps_changed(["tap0"])
    assert inventory.domain_of("tap0") is None
    until(lambda: uuid_of(inventory, "tap0") == UUID1)


def test_a_tap_that_comes_back_waits_for_files_that_changed_before(
    inventory: Inventory, directory: Path, until: Until, turn: Callable[[float], None]
) -> None:
    """It waits for no others: a writer that never stops keeps no tap waiting."""
    write(directory / "web.yaml", f"uuid: {UUID1}\nnics: [{{tap: tap0}}]\n")
    seen: list[str | None] = []
    inventory.start(lambda: seen.append(uuid_of(inventory, "tap0")))
    inventory.holder_may_have_changed("tap0")
    inventory.taps_changed(["tap0"])
    until(lambda: uuid_of(inventory, "tap0") == UUID1)
    inventory.taps_changed([])
    write(directory / "web.yaml", f"uuid: {UUID2}\nnics: [{{tap: tap0}}]\n")
    seen.clear()
    inventory.holder_may_have_changed("tap0")
    inventory.taps_changed(["tap0"])
    until(lambda: uuid_of(inventory, "tap0") == UUID2)
    assert UUID1 not in seen
    # The same content again: the scan changes nothing, and the wait must end all the same.
    write(directory / "web.yaml", f"uuid: {UUID2}\nnics: [{{tap: tap0}}]\n")
    seen.clear()
    inventory.holder_may_have_changed("tap0")
    assert inventory.domain_of("tap0") is None
    until(lambda: UUID2 in seen)
    inventory.holder_may_have_changed("tap0")
    write(directory / "web.yaml", f"uuid: {UUID1}\nnics: [{{tap: tap0}}]\n")
    until(lambda: uuid_of(inventory, "tap0") == UUID2)  # for as long as the search for its process; the file came later


def test_a_file_that_names_the_tap_of_another_domain_serves_nobody(
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


def test_a_stale_file_serves_nobody_before_qemu_gets_the_tap(
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


def test_a_user_who_claims_the_uuid_of_another_domain(
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


def test_a_tap_whose_carrier_changes_has_no_domain_until_the_next_look(
    inventory: Inventory, directory: Path, proc: FakeProc, until: Until, process: subprocess.Popen[bytes]
) -> None:
    write(directory / "web1.yaml", f"uuid: {UUID1}\n")
    proc.add(process.pid, "qemu", "-uuid", UUID1, taps=["tap0"])
    inventory.start(lambda: None)
    inventory.taps_changed(["tap0"])
    until(lambda: uuid_of(inventory, "tap0") == UUID1)
    inventory.holder_may_have_changed("tap0")
    assert inventory.domain_of("tap0") is None
    until(lambda: uuid_of(inventory, "tap0") == UUID1)


def test_without_processes_the_file_alone_decides(directory: Path, reactor: Any, until: Until) -> None:
    write(directory / "web1.yaml", f"uuid: {UUID1}\nnics: [{{tap: tap0}}]\n")
    inventory = Inventory(
        InventoryConfig(directory=directory, process=False), reactor, FakeReader(), Path("/nonexistent")
    )
    inventory.start(lambda: None)
    inventory.taps_changed(["tap0"])
    inventory.holder_may_have_changed("tap0")
    until(lambda: uuid_of(inventory, "tap0") == UUID1)
    assert inventory.owner_of("tap0") is None
    inventory.stop()


def test_after_stop_changed_is_not_called(inventory: Inventory, directory: Path, until: Until) -> None:
    changes: list[None] = []
    inventory.start(lambda: changes.append(None))
    until(lambda: bool(changes))
    inventory.stop()
    count = len(changes)
    write(directory / "web1.yaml", "name: web1\n")
    inventory.taps_changed(["tap0"])
    assert len(changes) == count


# -- with a hypervisor --


class FakeHypervisor:
    """A hypervisor with one domain, whose answers the test gives."""

    def __init__(self) -> None:
        nic = Nic(tap="vnet0", mac="52:54:00:00:00:01")
        self.domains = {"XML": Domain(uuid=UUID(UUID1), name="web1", nics=(nic,))}
        self.claims: dict[str, tuple[str, ...]] = {}
        self.away = False
        self.calls: list[str] = []
        self.changed: Callable[[], None] = lambda: None

    def start(self, changed: Callable[[], None]) -> None:
        self.changed = changed

    def stop(self) -> None:
        self.calls.append("stop")

    def layers(self) -> tuple[Layer, ...]:
        return (Layer(domains=dict(self.domains), written=False),)

    def problems(self) -> tuple[InventoryProblem, ...]:
        return (InventoryProblem(file="XML", message="away", warning=True),) if self.away else ()

    @property
    def phase(self) -> object:
        return self.away

    def awaited(self, tap: str, owner: Owner | None) -> bool:
        return tap not in self.claims and not (self.away and owner is not None and owner.trusted)

    def taps_changed(self, names: Iterable[str]) -> None:
        self.calls.append(" ".join(sorted(names)))

    def holder_may_have_changed(self, tap: str) -> None:
        self.calls.append(f"carrier {tap}")
        self.claims.pop(tap, None)

    def answers(self) -> dict[str, tuple[str, ...]]:
        return self.claims

    def answer(self, tap: str, *origins: str) -> None:
        """Answer that *tap* belongs to the domains of *origins*."""
        self.claims[tap] = origins
        self.changed()


Start = Callable[..., Inventory]


def is_read(inventory: Inventory, path: Path) -> bool:
    """Return whether the domain of the file at *path* is among the domains."""
    return any(str(path) in inventory.sources(domain).values() for domain in inventory.domains())


@pytest.fixture
def hypervisor() -> FakeHypervisor:
    return FakeHypervisor()


@pytest.fixture
def start(hypervisor: FakeHypervisor, directory: Path, proc: FakeProc, reactor: Any) -> Iterator[Start]:
    """A function that starts an inventory with the hypervisor and the tap vnet0."""
    started: list[Inventory] = []

    def start_inventory(*, process: bool) -> Inventory:
        config = InventoryConfig(directory=directory, process=process)
        inventory = Inventory(config, reactor, FakeReader(), proc.path, hypervisors=[hypervisor])
        started.append(inventory)
        inventory.start(lambda: None)
        inventory.taps_changed(["vnet0"])
        return inventory

    yield start_inventory
    for inventory in started:
        inventory.stop()


def test_a_tap_waits_for_the_hypervisors_answer(
    start: Start, hypervisor: FakeHypervisor, directory: Path, until: Until
) -> None:
    write(directory / "web1.yaml", "name: web1\nhostname: h\nnics: [{tap: vnet0}]\n")
    inventory = start(process=False)
    until(lambda: any(domain.hostname == "h" for domain in inventory.domains()))
    assert hypervisor.calls == ["vnet0"]
    assert inventory.domain_of("vnet0") is None
    hypervisor.answer("vnet0", "XML")
    assert uuid_of(inventory, "vnet0") == UUID1
    inventory.holder_may_have_changed("vnet0")
    assert inventory.domain_of("vnet0") is None
    hypervisor.answer("vnet0", "XML")
    assert uuid_of(inventory, "vnet0") == UUID1


def test_a_file_and_the_hypervisor_describe_one_domain(
    start: Start, hypervisor: FakeHypervisor, directory: Path, until: Until
) -> None:
    write(directory / "web1.yaml", "name: web1\nhostname: h\n")
    inventory = start(process=False)
    hypervisor.answer("vnet0", "XML")
    until(lambda: [domain.hostname for domain in inventory.domains()] == ["h"])
    (domain,) = inventory.domains()
    assert inventory.domain_of("vnet0") is domain
    path = str(directory / "web1.yaml")
    assert inventory.sources(domain) == {
        "name": path,
        "hostname": path,
        "uuid": "XML",
        "nics[0].tap": "XML",
        "nics[0].mac": "XML",
    }


def test_a_uuid_that_only_the_process_knows(
    inventory: Inventory, directory: Path, proc: FakeProc, until: Until, process: subprocess.Popen[bytes]
) -> None:
    write(directory / "web1.yaml", "name: web1\n")
    proc.add(process.pid, "qemu", "-uuid", UUID1, "-name", "web1", taps=["tap0"])
    inventory.start(lambda: None)
    inventory.taps_changed(["tap0"])
    until(lambda: uuid_of(inventory, "tap0") == UUID1)
    (domain,) = inventory.domains()
    assert inventory.sources(domain) == {"name": str(directory / "web1.yaml"), "uuid": "process"}


def test_both_the_process_and_the_hypervisor_count(
    start: Start, hypervisor: FakeHypervisor, proc: FakeProc, until: Until, process: subprocess.Popen[bytes]
) -> None:
    proc.add(process.pid, "qemu", "-uuid", UUID2, taps=["vnet0"])
    inventory = start(process=True)
    hypervisor.answer("vnet0", "XML")
    assert inventory.domain_of("vnet0") is None  # no look for the process has ended
    until(lambda: inventory.owner_of("vnet0") is not None)
    assert inventory.domain_of("vnet0") is None
    (problem,) = inventory.problems()
    behind = f"QEMU process {process.pid} behind vnet0"
    assert str(problem) == f"XML: uuid: expected {behind} to have uuid {UUID1}, got {UUID2}: it is not served"


def test_while_the_hypervisor_is_away_a_trusted_process_suffices(
    start: Start, hypervisor: FakeHypervisor, proc: FakeProc, until: Until, process: subprocess.Popen[bytes]
) -> None:
    proc.add(process.pid, "qemu", "-uuid", UUID1, "-name", "web1", taps=["vnet0"])
    inventory = start(process=True)
    until(lambda: inventory.owner_of("vnet0") is not None)
    assert inventory.domain_of("vnet0") is None
    hypervisor.away = True
    assert uuid_of(inventory, "vnet0") == UUID1


def test_while_the_hypervisor_is_away_a_file_does_not_suffice(
    start: Start, hypervisor: FakeHypervisor, directory: Path, until: Until
) -> None:
    """The tap may belong to another domain than the file's, and nothing else could tell."""
    write(directory / "web1.yaml", "name: web1\nnics: [{tap: vnet0}]\n")
    hypervisor.away = True
    for process in (False, True):
        inventory = start(process=process)
        until(partial(is_read, inventory, directory / "web1.yaml"))
        assert inventory.domain_of("vnet0") is None
    # A tap that has an answer keeps it.
    hypervisor.answer("vnet0", "XML")
    until(lambda: uuid_of(inventory, "vnet0") == UUID1)


def test_while_the_hypervisor_is_away_an_untrusted_process_does_not_suffice(
    start: Start, hypervisor: FakeHypervisor, directory: Path, proc: FakeProc, until: Until
) -> None:
    write(directory / "web1.yaml", "name: web1\nnics: [{tap: vnet0}]\n")
    proc.add(os.getpid(), "qemu-x", "-uuid", UUID1, taps=["vnet0"], exe="/home/x/qemu-x", uids=(1000,) * 4)
    hypervisor.away = True
    inventory = start(process=True)
    until(lambda: inventory.owner_of("vnet0") is not None)
    assert inventory.domain_of("vnet0") is None


# -- instance ids --


class Ids:
    """The instance ids that were given, in memory."""

    def __init__(self) -> None:
        self.given: dict[UUID, UUID] = {}

    def get(self, domain: UUID) -> UUID | None:
        return self.given.get(domain)

    def give(self, domain: Collection[UUID], instance_id: UUID | None) -> Deferred[None]:
        for uuid in domain:
            self.given.pop(uuid, None)
            if instance_id is not None:
                self.given[uuid] = instance_id
        return succeed(None)


def test_a_domain_that_is_given_an_instance_id_has_it_until_it_is_taken_back(
    directory: Path, proc: FakeProc, reactor: Any, until: Until, process: subprocess.Popen[bytes]
) -> None:
    inventory = Inventory(InventoryConfig(directory=directory), reactor, FakeReader(), proc.path, instance_ids=Ids())
    write(directory / "web1.yaml", "name: web1\n")
    proc.add(process.pid, "qemu", "-uuid", UUID1, "-name", "web1", taps=["tap0"])
    changes: list[int] = []
    inventory.start(lambda: changes.append(1))
    try:
        inventory.taps_changed(["tap0"])
        until(lambda: uuid_of(inventory, "tap0") == UUID1)
        inventory.take_concerned()
        changes.clear()
        (domain,) = inventory.domains()
        inventory.give_instance_id(domain, UUID(UUID2))
        assert changes == [1]
        assert inventory.take_concerned() is None
        served = inventory.domain_of("tap0")
        assert served is not None
        assert (str(served.instance_uuid), str(served.guest_uuid)) == (UUID1, UUID2)
        assert inventory.domain_of("tap0") is served
        assert inventory.sources(served)["instance_id"] == "eve-meta rerun"
        # The file may name the uuid, which only the process had; and the guest may be off.
        for text in (f"uuid: {UUID1}\nname: web1\nhostname: new\n", "name: web1\nhostname: off\n"):
            write(directory / "web1.yaml", text)
            hostname = text.split()[-1]
            until(lambda: [each.hostname for each in inventory.domains()] == [hostname])  # noqa: B023
            assert [str(each.guest_uuid) for each in inventory.domains()] == [UUID2]
        (domain,) = inventory.domains()
        inventory.give_instance_id(domain, None)
        assert str(next(iter(inventory.domains())).guest_uuid) == UUID1
    finally:
        inventory.stop()
