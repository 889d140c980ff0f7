"""The owners of taps in a running daemon: the processes that end are real, their entries in /proc are made up."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator
from typing import Any

import pytest

from eve_meta.inventory.vmm import owners as module
from eve_meta.inventory.vmm.owners import ProcessOwners
from tests.unit.inventory.conftest import Until
from tests.unit.inventory.fakeproc import FakeProc

Turn = Callable[[float], None]


class Memory:
    """A memory that is no file."""

    plain: Any = None

    def load(self) -> Any:
        return self.plain

    def store(self, plain: Any, /) -> None:
        self.plain = plain

    store_now = store


class Watched:
    """Owners, and the number of calls of their callback."""

    def __init__(self, proc: FakeProc, reactor: Any, **options: Any) -> None:
        self.owners = ProcessOwners(reactor, proc.path, **options)
        self.changes = 0
        self.owners.start(self._changed)

    def _changed(self, taps: Collection[str]) -> None:
        assert taps
        self.changes += 1

    def names(self) -> dict[str, str | None]:
        return {tap: owner.name for tap, owner in self.owners.owners().items()}


@pytest.fixture
def watched(proc: FakeProc, reactor: Any) -> Iterator[Watched]:
    watched = Watched(proc, reactor)
    yield watched
    watched.owners.stop()


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_tap_that_qemu_has_open(
    watched: Watched, proc: FakeProc, until: Until, process: subprocess.Popen[bytes]
) -> None:
    proc.add(process.pid, "qemu", "-name", "web1", taps=["tap0"])
    watched.owners.taps_changed(["tap0", "tap1"])
    assert "tap0" not in watched.owners.looked()
    until(lambda: watched.names() == {"tap0": "web1"})
    assert set(watched.owners.looked()) == {"tap0", "tap1"}
    assert watched.changes == 1


def test_a_tap_that_qemu_opens_later(
    watched: Watched, proc: FakeProc, until: Until, turn: Turn, process: subprocess.Popen[bytes]
) -> None:
    watched.owners.taps_changed(["tap0"])
    turn(0.1)
    assert set(watched.owners.looked()) == {"tap0"}
    assert watched.changes == 1
    proc.add(process.pid, "qemu", "-name", "web1", taps=["tap0"])
    until(lambda: watched.names() == {"tap0": "web1"})
    assert watched.changes == 2


def test_a_tap_on_its_way_to_qemu_is_withheld_for_as_long_as_it_takes(
    watched: Watched,
    proc: FakeProc,
    until: Until,
    turn: Turn,
    process: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    monkeypatch.setattr(module, "GRACE", 0.2)
    monkeypatch.setattr(module, "DELAYS", (0.0, 0.05))
    giver = proc.add(os.getpid(), "libvirtd", taps=["tap0"], exe="/usr/sbin/libvirtd")
    watched.owners.taps_changed(["tap0"])
    turn(0.1)
    assert set(watched.owners.looked()) == set()
    assert (watched.owners.problems(), watched.changes) == ((), 0)
    turn(0.3)  # which is too long
    assert set(watched.owners.looked()) == set()
    assert [str(problem) for problem in watched.owners.problems()] == [
        f"tap tap0: libvirtd process {os.getpid()} holds it and has handed it to no VMM yet: it is not served"
    ]
    assert watched.changes == 1
    proc.add(process.pid, "qemu", "-name", "web1", taps=["tap0"])
    giver.rename(proc.path / "closed")
    until(lambda: watched.names() == {"tap0": "web1"})
    assert set(watched.owners.looked()) == {"tap0"}
    assert watched.owners.problems() == ()


def test_a_tap_that_its_giver_closes_without_a_qemu_is_nobodys(watched: Watched, proc: FakeProc, until: Until) -> None:
    giver = proc.add(os.getpid(), "libvirtd", taps=["tap0"], exe="/usr/sbin/libvirtd")
    watched.owners.taps_changed(["tap0"])
    until(lambda: watched.owners._searches["tap0"].looks > 0)
    giver.rename(proc.path / "closed")
    until(lambda: set(watched.owners.looked()) == {"tap0"})
    assert watched.names() == {}


def test_a_search_that_begins_anew_looks_at_once(
    watched: Watched, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DELAYS", (0.0, 3600.0))  # a second look would come too late for this test
    watched.owners.taps_changed(["tap0"])
    until(lambda: "tap0" in watched.owners.looked())
    watched.owners.search_again("tap0")
    assert "tap0" not in watched.owners.looked()
    until(lambda: "tap0" in watched.owners.looked())


def test_a_process_that_ends_loses_its_taps_at_once(
    watched: Watched, proc: FakeProc, until: Until, process: subprocess.Popen[bytes]
) -> None:
    before = open_descriptors()
    base = proc.add(process.pid, "qemu", "-name", "web1", taps=["tap0", "tap1"])
    watched.owners.taps_changed(["tap0", "tap1"])
    until(lambda: len(watched.names()) == 2)
    base.rename(proc.path / "ended")
    process.kill()
    until(lambda: watched.names() == {})
    assert open_descriptors() == before


def test_a_tap_that_outlives_its_process_may_belong_to_another(
    watched: Watched, proc: FakeProc, until: Until, process: subprocess.Popen[bytes]
) -> None:
    base = proc.add(process.pid, "qemu", "-name", "web1", taps=["tap0"])
    watched.owners.taps_changed(["tap0"])
    until(lambda: watched.names() == {"tap0": "web1"})
    base.rename(proc.path / "ended")
    process.kill()
    proc.add(os.getpid(), "qemu", "-name", "web2", taps=["tap0"])
    until(lambda: watched.names() == {"tap0": "web2"})


def test_a_process_that_had_ended_before_it_was_watched(
    watched: Watched, proc: FakeProc, until: Until, process: subprocess.Popen[bytes]
) -> None:
    process.kill()
    process.wait()
    base = proc.add(process.pid, "qemu", "-name", "web1", taps=["tap0"])
    watched.owners.taps_changed(["tap0"])
    until(lambda: watched.changes >= 2)  # found, and lost
    base.rename(proc.path / "ended")
    until(lambda: watched.names() == {} and "tap0" in watched.owners.looked())


def test_a_search_that_begins_anew_forgets_the_owner(
    watched: Watched, proc: FakeProc, until: Until, process: subprocess.Popen[bytes]
) -> None:
    base = proc.add(process.pid, "qemu", "-name", "web1", taps=["tap0"])
    watched.owners.taps_changed(["tap0"])
    until(lambda: watched.names() == {"tap0": "web1"})
    base.rename(proc.path / "closed")  # alive, but without the tap
    watched.owners.search_again("tap0")
    assert watched.names() == {}
    assert "tap0" not in watched.owners.looked()
    proc.add(os.getpid(), "qemu", "-name", "web2", taps=["tap0"])
    until(lambda: watched.names() == {"tap0": "web2"})


def test_a_process_cannot_change_its_identity_by_closing_the_tap(
    watched: Watched, proc: FakeProc, until: Until, process: subprocess.Popen[bytes]
) -> None:
    proc.add(process.pid, "qemu", "-name", "web1", taps=["tap0"])
    watched.owners.taps_changed(["tap0"])
    until(lambda: watched.names() == {"tap0": "web1"})
    proc.set_cmdline(process.pid, "qemu", "-name", "victim")
    watched.owners.search_again("tap0")
    until(lambda: "tap0" in watched.owners.looked())
    assert watched.names() == {"tap0": "web1"}
    watched.owners.taps_changed([], ["tap0"])
    watched.owners.taps_changed(["tap0"])
    until(lambda: "tap0" in watched.owners.looked())
    assert watched.names() == {"tap0": "web1"}


def test_a_search_that_begins_anew_during_a_look_looks_again(
    watched: Watched, proc: FakeProc, until: Until, process: subprocess.Popen[bytes], reactor: Any
) -> None:
    proc.add(process.pid, "qemu", "-name", "web1", taps=["tap0"])
    watched.owners.taps_changed(["tap0"])
    until(lambda: watched.owners._scanning is not None or bool(watched.names()))
    watched.owners.search_again("tap0")
    until(lambda: watched.names() == {"tap0": "web1"})


def test_a_tap_that_goes_is_forgotten(
    watched: Watched, proc: FakeProc, until: Until, process: subprocess.Popen[bytes]
) -> None:
    proc.add(process.pid, "qemu", "-name", "web1", taps=["tap0"])
    watched.owners.taps_changed(["tap0"])
    until(lambda: watched.names() == {"tap0": "web1"})
    watched.owners.taps_changed([], ["tap0"])
    assert watched.names() == {}
    watched.owners.search_again("tap0")
    assert set(watched.owners.looked()) == set()


def test_the_search_ends_when_patience_does(
    watched: Watched, proc: FakeProc, turn: Turn, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    watched.owners.taps_changed(["tap0"])
    turn(0.6)
    looks: list[object] = []

    def steps(*arguments: object) -> Iterator[None]:
        looks.append(arguments)
        return iter(())

    monkeypatch.setattr(watched.owners._table, "steps", steps)
    turn(1.0)
    assert not looks
    watched.owners.search_again("tap0")
    until(lambda: bool(looks))


def test_a_look_that_fails_is_repeated(
    watched: Watched, proc: FakeProc, until: Until, process: subprocess.Popen[bytes]
) -> None:
    proc.add(process.pid, "qemu", "-name", "web1", taps=["tap0"])
    hidden = proc.path.rename(proc.path.with_name("hidden"))
    watched.owners.taps_changed(["tap0"])
    until(lambda: watched.owners._searches["tap0"].looks > 0)
    assert set(watched.owners.looked()) == set()
    hidden.rename(proc.path)
    until(lambda: watched.names() == {"tap0": "web1"})


def test_a_process_that_cannot_be_watched_is_no_owner(
    watched: Watched,
    proc: FakeProc,
    until: Until,
    process: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_pid: int) -> int:
        raise OSError(24, "Too many open files")

    proc.add(process.pid, "qemu", "-name", "web1", taps=["tap0"])
    with monkeypatch.context() as patch:
        patch.setattr(os, "pidfd_open", fail)
        watched.owners.taps_changed(["tap0"])
        until(lambda: watched.owners._searches["tap0"].looks > 0)
        assert watched.names() == {}
        assert set(watched.owners.looked()) == set()
    until(lambda: watched.names() == {"tap0": "web1"})


def test_stop_closes_every_descriptor_and_calls_nothing(
    proc: FakeProc, reactor: Any, until: Until, turn: Turn, process: subprocess.Popen[bytes]
) -> None:
    before = open_descriptors()
    watched = Watched(proc, reactor)
    proc.add(process.pid, "qemu", "-name", "web1", taps=["tap0"])
    watched.owners.taps_changed(["tap0", "tap1"])
    until(lambda: watched.names() == {"tap0": "web1"})
    watched.owners.stop()
    changes = watched.changes
    process.kill()
    turn(0.2)
    assert watched.changes == changes
    assert open_descriptors() == before


def test_a_look_for_a_new_tap_looks_at_no_tap_that_nobody_holds(
    watched: Watched, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise each new tap would cost a look at all taps, for a minute after they appeared."""
    monkeypatch.setattr(module, "DELAYS", (0.0, 50.0))
    many = [f"tap{number}" for number in range(3 * module.BATCH)]
    watched.owners.taps_changed(many)
    until(lambda: set(watched.owners.looked()) == set(many))
    assert watched.changes == 3  # in batches
    watched.owners.taps_changed(["new"])
    until(lambda: "new" in watched.owners.looked())
    assert {watched.owners._searches[tap].looks for tap in (*many, "new")} == {1}


def test_taps_that_appear_apart_share_their_next_look() -> None:
    assert module._beat(100.0, 5.0) == module._beat(102.4, 5.0) == 105.0
    assert module._beat(102.5, 5.0) == 107.5
    assert module._beat(1.5, 0.0) == 1.5


NOBODY = (65534,) * 4


def first_daemon(memory: Memory, proc: FakeProc, reactor: Any, until: Until) -> None:
    """Let a daemon see that web1 is behind tap0, and end."""
    watched = Watched(proc, reactor, memory=memory)
    watched.owners.taps_changed(["tap0"])
    until(lambda: watched.names() == {"tap0": "web1"})
    watched.owners.stop()


def test_a_qemu_that_dropped_its_privileges_is_known_to_the_next_daemon(
    proc: FakeProc, reactor: Any, until: Until, process: subprocess.Popen[bytes]
) -> None:
    memory = Memory()
    proc.add(process.pid, "qemu", "-name", "web1", "-runas", "nobody", taps=["tap0"])
    first_daemon(memory, proc, reactor, until)
    proc.set_uids(process.pid, *NOBODY)
    proc.set_cmdline(process.pid, "qemu", "-name", "victim")  # its guest has compromised it
    for _ in range(2):  # the memory survives a daemon that looks at nothing
        Watched(proc, reactor, memory=memory).owners.stop()
    watched = Watched(proc, reactor, memory=memory)
    watched.owners.taps_changed(["tap0"])
    until(lambda: watched.names() == {"tap0": "web1"})
    assert watched.owners.owners()["tap0"].trusted
    watched.owners.stop()


def test_another_process_of_that_id_is_not_the_one_that_is_remembered(
    proc: FakeProc, reactor: Any, until: Until, process: subprocess.Popen[bytes]
) -> None:
    memory = Memory()
    base = proc.add(process.pid, "qemu", "-name", "web1", taps=["tap0"])
    first_daemon(memory, proc, reactor, until)
    shutil.rmtree(base)
    proc.add(process.pid, "qemu", "-name", "web1", taps=["tap0"], start=101, uids=NOBODY)
    watched = Watched(proc, reactor, memory=memory)
    watched.owners.taps_changed(["tap0"])
    until(lambda: watched.names() == {"tap0": "web1"})
    assert not watched.owners.owners()["tap0"].trusted
    watched.owners.stop()


def test_a_users_process_is_not_remembered(
    proc: FakeProc, reactor: Any, until: Until, process: subprocess.Popen[bytes]
) -> None:
    memory = Memory()
    proc.add(process.pid, "qemu", "-name", "web1", taps=["tap0"], uids=NOBODY)
    first_daemon(memory, proc, reactor, until)
    assert memory.plain is None


def test_a_process_is_believed_only_while_its_user_is_configured(
    proc: FakeProc, reactor: Any, until: Until, process: subprocess.Popen[bytes]
) -> None:
    memory = Memory()
    proc.add(process.pid, "qemu", "-name", "web1", taps=["tap0"], uids=NOBODY)
    for users, trusted in (((pwd.getpwuid(65534).pw_name,), True), ((), False)):
        watched = Watched(proc, reactor, memory=memory, users=users)
        watched.owners.taps_changed(["tap0"])
        until(lambda watched=watched: watched.names() == {"tap0": "web1"})  # type: ignore[misc]
        assert watched.owners.owners()["tap0"].trusted is trusted
        watched.owners.stop()


@pytest.mark.parametrize("plain", [5, "x", [5], [{"pid": 1}], [{"pid": "1", "start": 1}], {"a": 1}])
def test_a_memory_of_another_form_is_none(proc: FakeProc, reactor: Any, plain: object) -> None:
    memory = Memory()
    memory.plain = plain
    watched = Watched(proc, reactor, memory=memory)
    assert watched.owners._remembered == {}
    watched.owners.stop()
