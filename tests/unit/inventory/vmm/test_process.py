"""Which VMM process is behind a tap, from a procfs of files."""

from __future__ import annotations

import os
import shutil
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eve_meta.inventory.vmm import process as module
from eve_meta.inventory.vmm import procfs
from eve_meta.inventory.vmm.process import Look, Owner, ProcessTable, identity, trusted_uids
from eve_meta.inventory.vmm.vmms import QEMU, VMMS, Vmm
from tests.unit.inventory.fakeproc import FakeProc

UUID1 = "1a831fa7-c50b-4693-a16e-fb8171f1b69e"
UUID2 = "2a831fa7-c50b-4693-a16e-fb8171f1b69e"


def owner_of(proc: FakeProc, tap: str) -> Owner | None:
    return ProcessTable(proc.path).scan([tap]).owners.get(tap)


def identify(*arguments: str) -> tuple[str | None, str | None] | None:
    claim = identity(b"".join(argument.encode() + b"\0" for argument in ("qemu", *arguments)), QEMU)
    return None if claim is None else (None if claim.uuid is None else str(claim.uuid), claim.name)


# -- the command line --


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("-uuid", UUID1), (UUID1, None)),
        (("--uuid", UUID1.upper(), "--name", "web1"), (UUID1, "web1")),
        (("-name", "guest=web1,debug-threads=on"), (None, "web1")),
        (("-name", "web1,process=qemu-web1"), (None, "web1")),
        (("-name", "debug-threads=on,guest=web1"), (None, "web1")),
        (("-name", "a,,b"), (None, "a,b")),
        (("-name", "guest=a,,b,,,debug-threads=on"), (None, "a,b,")),
        (("-name", "a=b"), (None, None)),
        (("-name", "guest=a=b"), (None, "a=b")),
        (("-name", ""), (None, None)),
        (("-name", "web1", "-name", "web1", "-uuid", UUID1, "-uuid", UUID1), (UUID1, "web1")),
        (("-uuid", "junk"), (None, None)),
        (("-uuid", f"{{{UUID1}}}"), (None, None)),
        (("-uuid",), (None, None)),
        (("-name", "web1,debug-threads=on", "-smbios", f"type=1,uuid={UUID1}"), (UUID1, "web1")),
        (("--smbios", f"uuid={UUID1.upper()},manufacturer=a,,b,type=1"), (UUID1, None)),
        (("-uuid", UUID1, "-smbios", f"type=1,uuid={UUID1}"), (UUID1, None)),
        (("-smbios", f"type=3,uuid={UUID1}"), (None, None)),
        (("-smbios", "type=1,uuid=junk"), (None, None)),
        (("-smbios", "type=1,product=OpenStack Nova"), (None, None)),
        ((), (None, None)),
    ],
)
def test_identity(arguments: tuple[str, ...], expected: tuple[str | None, str | None]) -> None:
    assert identify(*arguments) == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ("-uuid", UUID1, "-append", "-uuid", UUID2),
        ("-uuid", UUID1, "-smbios", f"type=1,uuid={UUID2}"),
        ("-append", "-uuid", UUID2, "-uuid", UUID1),
        ("-uuid", UUID1, "-name", "mine", "-append", "-name", "yours"),
    ],
)
def test_text_that_looks_like_an_option_gives_no_other_identity(arguments: tuple[str, ...]) -> None:
    assert identify(*arguments) is None


def test_a_name_that_is_not_utf8_is_no_domains() -> None:
    claim = identity(b"qemu\0-name\0web\xff1\0", QEMU)
    assert claim is not None
    assert claim.name is not None
    assert not claim.name.isprintable()  # as a domain's name must be


@given(cmdline=st.binary(max_size=300))
@pytest.mark.parametrize("vmm", VMMS, ids=str)
def test_no_command_line_raises(vmm: Vmm, cmdline: bytes) -> None:
    identity(cmdline, vmm)


# -- the process --


def test_the_process_that_holds_the_tap(proc: FakeProc) -> None:
    proc.add(10, "qemu", "-uuid", UUID1, "-name", "guest=web1", taps=["vnet0", "vnet1"], start=77)
    proc.add(11, "qemu", "-uuid", UUID2, taps=["vnet2"])
    found = ProcessTable(proc.path).scan(["vnet0", "vnet1", "vnet3"]).owners
    owner = Owner(pid=10, start=77, uuid=UUID(UUID1), name="web1")
    assert found == {"vnet0": owner, "vnet1": owner}


@pytest.mark.parametrize(
    ("exe", "comm"),
    [
        ("/usr/bin/qemu-system-aarch64", "whatever"),
        ("/usr/libexec/qemu-kvm (deleted)", "whatever"),
        ("/usr/bin/kvm", "kvm"),
        ("/nix/store/x/bin/.qemu-system-x86_64-wrapped", ".qemu-system-x8"),
    ],
)
def test_a_program_that_is_qemu(proc: FakeProc, exe: str, comm: str) -> None:
    proc.add(10, "x", "-name", "web1", taps=["vnet0"], exe=exe, comm=comm)
    assert owner_of(proc, "vnet0") is not None


def test_another_program_is_no_owner_whatever_it_calls_itself(proc: FakeProc) -> None:
    proc.add(10, "qemu-system-x86_64", "-name", "web1", taps=["vnet0"], exe="/usr/sbin/openvpn")
    assert owner_of(proc, "vnet0") is None


def test_qemu_in_another_network_namespace_holds_another_tap_of_this_name(proc: FakeProc) -> None:
    proc.add(10, "qemu", "-name", "web1", taps=["tap0"], netns="net:[4026532000]")
    assert owner_of(proc, "tap0") is None


# -- trust --

Uids = tuple[int, int, int, int]

NOBODY = (65534,) * 4


@pytest.mark.parametrize(
    "uids",
    [
        NOBODY,
        (1000, 0, 0, 0),  # a set-uid program: its user gave it its arguments, and can stop it before it reads them
        (0, 1000, 0, 1000),
        (1000, 1000, 0, 1000),
    ],
)
def test_a_process_of_another_user_is_an_untrusted_owner(proc: FakeProc, uids: tuple[int, int, int, int]) -> None:
    proc.add(10, "qemu-evil", "-uuid", UUID1, taps=["tap0"], exe="/tmp/qemu-evil", uids=uids)
    owner = owner_of(proc, "tap0")
    assert owner is not None
    assert (owner.trusted, owner.uid) == (False, uids[0])


def test_users_that_run_qemu_are_trusted(proc: FakeProc) -> None:
    proc.add(10, "qemu", "-uuid", UUID1, taps=["tap0"], uids=(64055,) * 4)
    owner = ProcessTable(proc.path, trusted={0, 64055}).scan(["tap0"]).owners["tap0"]
    assert owner.trusted
    assert 0 in trusted_uids()


def test_an_untrusted_process_takes_no_tap_from_a_trusted_one(proc: FakeProc) -> None:
    proc.add(10, "qemu", "-uuid", UUID1, taps=["tap0"])
    proc.add(11, "qemu", "-uuid", UUID2, taps=["tap0"], uids=NOBODY)
    proc.add(12, "qemu", "-uuid", UUID1, taps=["tap0"], uids=NOBODY)
    owner = owner_of(proc, "tap0")
    assert owner is not None
    assert owner.pid == 10


@pytest.mark.parametrize(
    ("before", "after", "exe"),
    [
        (NOBODY, (0, 0, 0, 0), None),  # an exec() changes neither process id nor start: a set-uid program
        ((0, 0, 0, 0), (0, 0, 0, 0), "/usr/bin/qemu-io"),
        ((0, 0, 0, 0), NOBODY, "/usr/bin/qemu-io"),
    ],
)
def test_a_process_that_changes_program_or_user_during_the_look_is_withheld(
    proc: FakeProc, monkeypatch: pytest.MonkeyPatch, before: Uids, after: Uids, exe: str | None
) -> None:
    base = proc.add(10, "qemu", "-uuid", UUID1, taps=["tap0"], uids=before)

    def changed(cmdline: bytes, vmm: Vmm) -> object:
        proc.set_uids(10, *after)
        if exe is not None:
            (base / "exe").unlink()
            (base / "exe").symlink_to(exe)
        return identity(cmdline, vmm)

    monkeypatch.setattr(module, "identity", changed)
    look = ProcessTable(proc.path).scan(["tap0"])
    assert look.owners == {}
    assert set(look.withheld) == {"tap0"}


def test_a_qemu_of_roots_that_drops_its_privileges_during_the_look_is_trusted(
    proc: FakeProc, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc.add(10, "qemu", "-uuid", UUID1, "-runas", "nobody", taps=["tap0"])

    def dropped(cmdline: bytes, vmm: Vmm) -> object:
        proc.set_uids(10, *NOBODY)
        return identity(cmdline, vmm)

    monkeypatch.setattr(module, "identity", dropped)
    owner = owner_of(proc, "tap0")
    assert owner is not None
    assert (owner.trusted, owner.uid) == (True, 0)


def test_a_process_that_is_known_to_have_been_roots_wins_over_a_users(proc: FakeProc) -> None:
    proc.add(10, "qemu", "-uuid", UUID1, taps=["tap0"], uids=NOBODY, start=5)
    proc.add(11, "qemu", "-uuid", UUID2, taps=["tap0"], uids=NOBODY)
    known = {(10, 5): Owner(pid=10, start=5, uuid=UUID(UUID1))}
    look = Look()
    for _ in ProcessTable(proc.path).steps(["tap0"], known, look):
        pass
    assert look.owners == {"tap0": known[10, 5]}


def test_a_scan_looks_at_so_many_descriptors_of_an_untrusted_user(
    proc: FakeProc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_UNTRUSTED", 3)
    proc.add(10, "qemu", "-name", "a", taps=["tap0"], uids=NOBODY)  # with three descriptors
    proc.add(11, "qemu", "-name", "b", taps=["tap1"], uids=NOBODY)
    proc.add(12, "qemu", "-name", "c", taps=["tap2"], uids=(1000,) * 4)
    proc.add(13, "qemu", "-name", "d", taps=["tap3", "tap4", "tap5", "tap6"])
    found = ProcessTable(proc.path).scan([f"tap{number}" for number in range(7)]).owners
    assert len(found.keys() & {"tap0", "tap1"}) == 1
    assert found.keys() - {"tap0", "tap1"} == {"tap2", "tap3", "tap4", "tap5", "tap6"}


def test_a_step_looks_at_so_many_descriptors(proc: FakeProc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procfs, "STEP", 10)
    base = proc.add(10, "qemu", "-name", "web1", taps=["tap0"])
    for number in range(100, 1100):
        (base / f"fd/{number}").symlink_to("socket:[7]")
    reads = 0
    readlink = os.readlink

    def counted(path: Any) -> str:
        nonlocal reads
        reads += 1
        return str(readlink(path))

    monkeypatch.setattr(os, "readlink", counted)
    look = Look()
    before = longest = 0
    for _ in ProcessTable(proc.path).steps(["tap0"], {}, look):
        longest, before = max(longest, reads - before), reads
    assert set(look.owners) == {"tap0"}
    assert longest < 20


# -- taps on their way to a QEMU --


@pytest.mark.parametrize(
    ("exe", "comm"),
    [
        ("/usr/sbin/libvirtd", "libvirtd"),
        ("/usr/sbin/libvirtd (deleted)", "libvirtd"),
        ("/usr/sbin/virtqemud", "virtqemud"),
        ("/usr/lib/qemu/qemu-bridge-helper", "qemu-bridge-hel"),
        ("/nix/store/x/bin/.libvirtd-wrapped", ".libvirtd-wrapp"),
    ],
)
def test_a_tap_that_its_giver_holds_is_withheld(proc: FakeProc, exe: str, comm: str) -> None:
    # With arguments as a user might give them to the set-uid helper.
    proc.add(10, "giver", "-uuid", UUID1, "-name", "web1", taps=["tap0", "tap1"], exe=exe, comm=comm)
    proc.add(11, "qemu", "-name", "web1", taps=["tap0"])
    look = ProcessTable(proc.path).scan(["tap0", "tap1"])
    assert {tap: owner.pid for tap, owner in look.owners.items()} == {"tap0": 11}
    assert set(look.withheld) == {"tap1"}


def test_a_tap_that_is_handed_over_during_a_scan_has_an_owner_or_is_withheld(proc: FakeProc) -> None:
    """Whether to a QEMU that was there before or to a new one, and after whichever step of the scan."""
    steps = 0
    while True:
        base = proc.path.with_name(f"{proc.path.name}-{steps}")
        base.mkdir()
        scene = FakeProc(base)
        taker = scene.add(5, "qemu", "-name", "taker", taps=["tap9"])
        giver = scene.add(10, "libvirtd", taps=["tap0", "tap1"], exe="/usr/sbin/libvirtd")
        look = Look()
        scan = ProcessTable(scene.path).steps(["tap0", "tap1"], {}, look)
        done = 0
        for _ in scan:
            if done == steps:
                (taker / "fd/7").symlink_to("/dev/net/tun")
                (taker / "fdinfo/7").write_text("iff:\ttap0\n")
                scene.add(20, "qemu", "-name", "new", taps=["tap1"])
                shutil.rmtree(giver / "fd")
                (giver / "fd").mkdir()
            done += 1
        assert set(look.owners) | set(look.withheld) == {"tap0", "tap1"}, f"after step {steps}"
        if steps > done:
            break
        steps += 1


def test_a_descriptor_that_is_closed_during_the_look_hides_no_other(
    proc: FakeProc, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc.add(10, "libvirtd", taps=["tap0"], exe="/usr/sbin/libvirtd")
    readlink = os.readlink

    def closed(path: Any) -> str:
        if str(path).endswith("/fd/0"):
            raise FileNotFoundError
        return str(readlink(path))

    monkeypatch.setattr(os, "readlink", closed)
    assert set(ProcessTable(proc.path).scan(["tap0"]).withheld) == {"tap0"}


def test_a_qemu_whose_identity_cannot_be_known_is_withheld(proc: FakeProc) -> None:
    proc.add(10, "qemu", "-name", "mine", "-append", "-name", "yours", taps=["tap0"])
    proc.add(11, taps=["tap1"])  # its command line is gone already
    proc.add(12, "qemu", "x" * procfs.MAX_CMDLINE, "-name", "web1", taps=["tap2"])
    look = ProcessTable(proc.path).scan(["tap0", "tap1", "tap2"])
    assert look.owners == {}
    assert set(look.withheld) == {"tap0", "tap1", "tap2"}


def test_a_program_without_an_identity_withholds_nothing(proc: FakeProc) -> None:
    proc.add(10, "qemu", "-M", "q35", taps=["tap0"])  # started by hand
    proc.add(11, "pump.py", taps=["tap1"], exe="/usr/bin/python3.11", comm="python3")
    proc.add(12, "cloud-hypervisor", taps=["tap2"], exe="/usr/bin/cloud-hypervisor", comm="cloud-hyperviso")  # by API
    assert ProcessTable(proc.path).scan(["tap0", "tap1", "tap2", "tap3"]) == Look()


def test_a_tap_of_two_processes_is_withheld(proc: FakeProc) -> None:
    proc.add(10, "qemu", "-name", "web1", taps=["tap0", "tap1"])
    proc.add(11, "qemu", "-name", "web2", taps=["tap0"])
    look = ProcessTable(proc.path).scan(["tap0", "tap1"])
    assert set(look.owners) == {"tap1"}
    assert "10" in look.withheld["tap0"]
    assert "11" in look.withheld["tap0"]


def test_a_descriptor_without_a_tap(proc: FakeProc) -> None:
    base = proc.add(10, "qemu", "-name", "web1", taps=["tap0"])
    (base / "fdinfo/2").write_text("pos:\t0\niff:\t\n")  # as the kernel shows a tun without a device
    assert owner_of(proc, "tap0") is None


@pytest.mark.parametrize("missing", ["exe", "comm", "ns/net", "stat", "status", "cmdline", "fd", "fdinfo"])
def test_a_process_that_ends_during_the_look(proc: FakeProc, missing: str) -> None:
    base = proc.add(10, "qemu", "-name", "web1", taps=["tap0"])
    proc.add(11, "qemu", "-name", "web2", taps=["tap1"])
    shutil.rmtree(base / missing) if (base / missing).is_dir() else (base / missing).unlink()
    assert set(ProcessTable(proc.path).scan(["tap0", "tap1"]).owners) >= {"tap1"}


def test_a_process_id_that_is_used_again_during_the_look(proc: FakeProc, monkeypatch: pytest.MonkeyPatch) -> None:
    proc.add(10, "qemu", "-name", "web1", taps=["tap0"])
    starts = iter([100, 200])
    monkeypatch.setattr(ProcessTable, "start_of", lambda _table, _pid: next(starts))
    look = ProcessTable(proc.path).scan(["tap0"])
    assert look.owners == {}
    assert set(look.withheld) == {"tap0"}


def test_a_broken_entry_of_procfs_is_no_owner(proc: FakeProc) -> None:
    base = proc.add(10, "qemu", "-name", "web1", taps=["tap0"])
    (base / "stat").write_text("no parenthesis at all")
    (proc.path / "version").touch()
    (proc.path / "12").touch()
    assert owner_of(proc, "tap0") is None


def test_the_identity_of_a_process_is_read_once_in_its_life(proc: FakeProc) -> None:
    proc.add(10, "qemu", "-uuid", UUID1, taps=["tap0"])
    table = ProcessTable(proc.path)
    first = table.scan(["tap0"]).owners["tap0"]
    proc.set_cmdline(10, "qemu", "-uuid", UUID2)
    look = Look()
    for _ in table.steps(["tap0"], {(first.pid, first.start): first}, look):
        pass
    assert look == Look(owners={"tap0": first})


def test_a_process_whose_program_may_not_be_read_is_known_by_its_comm(
    proc: FakeProc, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc.add(10, "qemu", "-name", "web1", taps=["tap0"], exe=None)
    readlink = __import__("os").readlink

    def refuse(path: object) -> str:
        if str(path).endswith("/exe"):
            raise PermissionError
        return str(readlink(path))

    monkeypatch.setattr("os.readlink", refuse)
    assert owner_of(proc, "tap0") is not None


def test_guests_are_found_whether_they_have_a_tap_or_not(proc: FakeProc) -> None:
    proc.add(1, "qemu", "-uuid", UUID1, "-name", "web1")
    proc.add(2, "qemu", "-name", "web2", taps=["vnet0"])
    proc.add(3, "qemu", "-S")  # by hand: it is nobody's
    proc.add(4, "qemu", "-name", "web4", uids=(1000, 1000, 1000, 1000))
    proc.add(5, "qemu", "-name", "web5", netns="net:[1]")
    proc.add(6, "libvirtd", "-name", "web6", exe="/usr/sbin/libvirtd")
    found = {guest.pid: (guest.uuid and str(guest.uuid), guest.name) for guest in ProcessTable(proc.path).guests()}
    assert found == {1: (UUID1, "web1"), 2: (None, "web2")}
    (proc.path / "1/cmdline").unlink()
    assert [guest.pid for guest in ProcessTable(proc.path).guests()] == [2]
