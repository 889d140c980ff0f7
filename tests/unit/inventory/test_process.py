"""Which QEMU process is behind a tap, from a procfs of files."""

from __future__ import annotations

import shutil
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eve_meta.inventory.process import Owner, ProcessTable, identity
from tests.unit.inventory.fakeproc import FakeProc

UUID1 = "1a831fa7-c50b-4693-a16e-fb8171f1b69e"
UUID2 = "2a831fa7-c50b-4693-a16e-fb8171f1b69e"


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    return FakeProc(tmp_path)


def owner_of(proc: FakeProc, tap: str) -> Owner | None:
    return ProcessTable(proc.path).scan([tap]).get(tap)


def identify(*arguments: str) -> tuple[str | None, str | None]:
    uuid, name = identity(b"".join(argument.encode() + b"\0" for argument in ("qemu", *arguments)))
    return (None if uuid is None else str(uuid)), name


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
        ((), (None, None)),
    ],
)
def test_identity(arguments: tuple[str, ...], expected: tuple[str | None, str | None]) -> None:
    assert identify(*arguments) == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ("-uuid", UUID1, "-append", "-uuid", UUID2),
        ("-append", "-uuid", UUID2, "-uuid", UUID1),
        ("-uuid", UUID1, "-name", "mine", "-append", "-name", "yours"),
    ],
)
def test_a_guests_text_that_looks_like_an_option_gives_it_no_other_identity(arguments: tuple[str, ...]) -> None:
    assert identify(*arguments) == (None, None)


def test_a_name_that_is_no_text_is_nobodys() -> None:
    _, name = identity(b"qemu\0-name\0web\xff1\0")
    assert name is not None
    assert not name.isprintable()  # which a domain's name is


@given(cmdline=st.binary(max_size=300))
def test_no_command_line_breaks_it(cmdline: bytes) -> None:
    identity(cmdline)


# -- the process --


def test_the_process_that_holds_the_tap(proc: FakeProc) -> None:
    proc.add(10, "qemu", "-uuid", UUID1, "-name", "guest=web1", taps=["vnet0", "vnet1"], start=77)
    proc.add(11, "qemu", "-uuid", UUID2, taps=["vnet2"])
    found = ProcessTable(proc.path).scan(["vnet0", "vnet1", "vnet3"])
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
def test_what_is_qemu(proc: FakeProc, exe: str, comm: str) -> None:
    proc.add(10, "x", "-name", "web1", taps=["vnet0"], exe=exe, comm=comm)
    assert owner_of(proc, "vnet0") is not None


def test_another_program_is_no_owner_whatever_it_calls_itself(proc: FakeProc) -> None:
    proc.add(10, "qemu-system-x86_64", "-name", "web1", taps=["vnet0"], exe="/usr/sbin/openvpn")
    assert owner_of(proc, "vnet0") is None


def test_qemu_in_another_network_namespace_holds_another_tap_of_this_name(proc: FakeProc) -> None:
    proc.add(10, "qemu", "-name", "web1", taps=["tap0"], netns="net:[4026532000]")
    assert owner_of(proc, "tap0") is None


def test_a_helper_without_identity_is_no_owner(proc: FakeProc) -> None:
    proc.add(10, "qemu-bridge-helper", "--br=br0", taps=["tap0"], exe="/usr/lib/qemu/qemu-bridge-helper")
    assert owner_of(proc, "tap0") is None
    proc.add(11, "qemu", "-name", "web1", taps=["tap0"])
    owner = owner_of(proc, "tap0")
    assert owner is not None
    assert owner.name == "web1"


def test_a_tap_of_two_processes_is_nobodys(proc: FakeProc) -> None:
    proc.add(10, "qemu", "-name", "web1", taps=["tap0", "tap1"])
    proc.add(11, "qemu", "-name", "web2", taps=["tap0"])
    assert set(ProcessTable(proc.path).scan(["tap0", "tap1"])) == {"tap1"}


def test_a_tap_that_was_taken_from_its_descriptor(proc: FakeProc) -> None:
    base = proc.add(10, "qemu", "-name", "web1", taps=["tap0"])
    (base / "fdinfo/2").write_text("pos:\t0\niff:\t\n")  # as the kernel shows a tun without a device
    assert owner_of(proc, "tap0") is None


@pytest.mark.parametrize("missing", ["exe", "comm", "ns/net", "stat", "cmdline", "fd", "fdinfo"])
def test_a_process_that_ends_while_it_is_looked_at(proc: FakeProc, missing: str) -> None:
    base = proc.add(10, "qemu", "-name", "web1", taps=["tap0"])
    proc.add(11, "qemu", "-name", "web2", taps=["tap1"])
    shutil.rmtree(base / missing) if (base / missing).is_dir() else (base / missing).unlink()
    assert set(ProcessTable(proc.path).scan(["tap0", "tap1"])) >= {"tap1"}


def test_a_process_id_that_is_used_again_while_it_is_looked_at(proc: FakeProc, monkeypatch: pytest.MonkeyPatch) -> None:
    proc.add(10, "qemu", "-name", "web1", taps=["tap0"])
    starts = iter([100, 200])
    monkeypatch.setattr(ProcessTable, "start_of", lambda _table, _pid: next(starts))
    assert owner_of(proc, "tap0") is None


def test_garbage_in_procfs_is_no_owner(proc: FakeProc) -> None:
    base = proc.add(10, "qemu", "-name", "web1", taps=["tap0"])
    (base / "stat").write_text("no parenthesis at all")
    (proc.path / "version").touch()
    (proc.path / "12").touch()
    assert owner_of(proc, "tap0") is None


def test_an_identity_is_read_once_in_a_process_life(proc: FakeProc) -> None:
    proc.add(10, "qemu", "-uuid", UUID1, taps=["tap0"])
    table = ProcessTable(proc.path)
    first = table.scan(["tap0"])["tap0"]
    proc.set_cmdline(10, "qemu", "-uuid", UUID2)
    found: dict[str, Owner] = {}
    for _ in table.steps(["tap0"], {(first.pid, first.start): first}, found):
        pass
    assert found == {"tap0": first}


def test_a_process_that_may_not_be_asked_for_its_program(proc: FakeProc, monkeypatch: pytest.MonkeyPatch) -> None:
    proc.add(10, "qemu", "-name", "web1", taps=["tap0"], exe=None)
    readlink = __import__("os").readlink

    def refuse(path: object) -> str:
        if str(path).endswith("/exe"):
            raise PermissionError
        return str(readlink(path))

    monkeypatch.setattr("os.readlink", refuse)
    assert owner_of(proc, "tap0") is not None
