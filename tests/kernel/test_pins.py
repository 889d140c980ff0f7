"""Pins outlive the daemon: which daemon takes them over, and which must not."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from attrs import evolve

from eve_meta.steering.bpf import loader
from eve_meta.steering.bpf.libbpf import Map, ProgramInfo, info_of, is_program
from eve_meta.steering.bpf.maps import MAPS, PROGRAMS, Maps, ReturnPath, Sightings, TapDhcp
from eve_meta.steering.bpf.pins import Pins
from eve_meta.values.dhcp import DhcpTemplate
from eve_meta.values.problem import Problem

NAME = "emtest-pins"
DIRECTORY = Path("/sys/fs/bpf") / NAME
LEASE = TapDhcp(DhcpTemplate(IPv4Address("10.0.0.5"), 3600, b"\x01\x04\xff\xff\xff\x00"), deny_servers=True)


@pytest.fixture(autouse=True)
def clean(bpffs: Path) -> Iterator[None]:
    yield
    if DIRECTORY.exists():
        loader.unpin(DIRECTORY)
        DIRECTORY.rmdir()


@contextlib.contextmanager
def opened() -> Iterator[Maps]:
    """Open the pins as a daemon does, then end it as a crash does: the pins stay, the lock is released."""
    owner = Pins(NAME)
    with contextlib.closing(owner.open()) as maps:
        yield maps
    owner.close()


def program_id() -> str:
    shown = subprocess.run(
        ["bpftool", "prog", "show", "pinned", str(DIRECTORY / "tap_in")], capture_output=True, text=True, check=True
    )
    return shown.stdout.split(":")[0]


def test_programs_and_tags_of_a_daemon_that_died_are_taken_over() -> None:
    with opened() as maps:
        maps.add_tap(7, 4711)
        first = program_id()
    with opened() as maps:
        assert maps.tags() == {4711: 7}
        assert program_id() == first


def test_programs_of_other_sources_are_replaced_and_the_taps_keep_their_tags() -> None:
    with opened() as maps:
        maps.add_tap(7, 4711, 0x10003)
        maps.write_dhcp(7, LEASE)
        maps.write_settings(evolve(maps.settings(), build=1, next_tag=8))
        first = program_id()
    with opened() as maps:
        assert maps.tags() == {4711: 7}
        assert maps.dhcp(7) == LEASE
        assert maps.tap(7) == ReturnPath(4711, bytes(6), 3)
        maps.write_losses(7, 4)
        maps.learn(7, ReturnPath(4711, b"\2\0\0\0\0\1"))
        assert maps.tap(7) == ReturnPath(4711, b"\2\0\0\0\0\1", 4)
        assert maps.settings().next_tag == 8
        assert program_id() != first


def test_guests_macs_are_taken_over_at_once_and_those_learnt_meanwhile_too() -> None:
    """A guest that waits for its answer sends nothing from which its MAC could be learnt again."""
    mac, other = bytes.fromhex("525400000001"), bytes.fromhex("525400000002")

    def learn(maps: Maps, tag: int, mac: bytes) -> None:
        maps.learn(tag, ReturnPath(4700 + tag, mac))

    with opened() as old:
        for tag in range(1, 5):
            old.add_tap(tag, 4700 + tag)
        learn(old, 1, mac)
        old.write_settings(evolve(old.settings(), build=1))
    owner = Pins(NAME)
    with contextlib.closing(Maps(DIRECTORY)) as old, contextlib.closing(owner.open()) as maps:
        assert [maps.tap(tag).mac for tag in (1, 2)] == [mac, bytes(6)]
        for tag in (2, 3, 4):
            learn(old, tag, mac)
        learn(maps, 3, other)  # the guest has sent through the new ones already
        maps.remove_tap(4, 4704)
        owner.forget_old(maps)
        assert [maps.tap(tag) for tag in (2, 3, 4)] == [
            ReturnPath(4702, mac),
            ReturnPath(4703, other),
            ReturnPath(0, bytes(6)),
        ]
        learn(old, 2, other)
        owner.forget_old(maps)
        assert maps.tap(2).mac == mac
    owner.close()


def test_taps_keep_their_tags_when_an_upgrade_changes_the_layout_of_maps() -> None:
    with opened() as maps:
        maps.add_tap(7, 4711)
        maps.write_settings(evolve(maps.settings(), build=1, next_tag=8))
        maps.write_dhcp(7, LEASE)
    # Version 0.1 had no map "dhcp".
    for name in ("counters", "guests", "dhcp"):
        (DIRECTORY / name).unlink()
    command = f"bpftool map create {DIRECTORY / 'counters'} type hash key 4 value 8 entries 9 name counters"
    subprocess.run(command.split(), check=True)
    with opened() as maps:
        assert maps.tags() == {4711: 7}
        assert maps.settings().next_tag == 8
        assert set(maps.counters(7).values()) == {0}
        assert maps.sightings(7) == Sightings()
        assert maps.dhcp(7) == TapDhcp()


def test_when_a_map_is_gone_all_are_made_anew_and_the_tags_stay() -> None:
    with opened() as maps:
        maps.add_tap(7, 4711)
    (DIRECTORY / "taps").unlink()
    with opened() as maps:
        assert maps.tags() == {4711: 7}
        assert maps.tap(7).ifindex == 4711


def test_pins_that_a_crash_left_incomplete_are_made_anew() -> None:
    with opened():
        pass
    (DIRECTORY / "host_in").unlink()
    (DIRECTORY / "tags").unlink()
    with opened() as maps:
        assert maps.tags() == {}
        assert all((DIRECTORY / name).exists() for name in PROGRAMS)


def test_a_map_of_another_size_is_never_read(bpffs: Path) -> None:
    path = DIRECTORY / "settings"
    DIRECTORY.mkdir()
    command = f"bpftool map create {path} type array key 4 value 64 entries 1 name settings"
    subprocess.run(command.split(), check=True)
    with pytest.raises(OSError, match="values of 64 bytes"):
        Map(path, 4, 16)


# -- where everybody may make files in the BPF file system, as in one that the kernel mounts without options --

NOBODY = 65534


@contextlib.contextmanager
def sticky() -> Iterator[None]:
    """Let everybody make files in the BPF file system, as the kernel's own mode 1777 does."""
    mode = DIRECTORY.parent.stat().st_mode & 0o7777
    DIRECTORY.parent.chmod(0o1777)
    try:
        yield
    finally:
        DIRECTORY.parent.chmod(mode)
        for aside in DIRECTORY.parent.glob(f"{NAME}-not-ours-*"):
            if aside.is_dir() and not aside.is_symlink():
                shutil.rmtree(aside)
            else:
                aside.unlink()


def as_nobody(program: str) -> subprocess.Popen[str]:
    """Start a Python program as user nobody, and wait until it prints a line."""
    command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "/usr/bin/python3", "-c", program]
    started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    return started


IN_PLACE = {
    "a folder, and its lock": f"""
import fcntl, os
os.mkdir({str(DIRECTORY)!r})
fcntl.flock(os.open({str(DIRECTORY)!r}, os.O_RDONLY), fcntl.LOCK_EX)
""",
    "a folder that root may not enter": f"""
import os
os.mkdir({str(DIRECTORY)!r})
os.mkdir({str(DIRECTORY / "tap_in")!r})
os.chmod({str(DIRECTORY)!r}, 0)
""",
    "a link to a folder of its own": f"""
import os
os.mkdir({str(DIRECTORY) + "-not-ours-link"!r})
os.symlink({str(DIRECTORY) + "-not-ours-link"!r}, {str(DIRECTORY)!r})
""",
}


@pytest.mark.parametrize("what", IN_PLACE)
def test_a_user_who_makes_our_folder_first_stops_nobody(what: str) -> None:
    with sticky():
        intruder = as_nobody(f"{IN_PLACE[what]}\nprint('ready', flush=True)\ninput()")
        try:
            with opened() as maps:
                maps.add_tap(7, 4711)
                status = DIRECTORY.lstat()
                assert (status.st_uid, status.st_mode & 0o7777) == (0, 0o700)
                for change in (
                    f"os.rename({str(DIRECTORY)!r}, {str(DIRECTORY) + '-not-ours-mine'!r})",
                    f"os.rmdir({str(DIRECTORY)!r})",
                    f"os.listdir({str(DIRECTORY)!r})",
                    f"os.chmod({str(DIRECTORY)!r}, 0o777)",
                ):
                    refused = f"""
import os
try:
    {change}
except PermissionError:
    print('ready', flush=True)
"""
                    as_nobody(refused).communicate("")
            with opened() as maps:
                assert maps.tags() == {4711: 7}
        finally:
            intruder.communicate("\n")


def test_a_user_who_makes_our_folder_again_and_again_while_the_daemon_runs_takes_nothing() -> None:
    owner = Pins(NAME)
    with sticky(), contextlib.closing(owner.open()) as maps:
        maps.add_tap(7, 4711)
        loader.unpin(DIRECTORY)
        DIRECTORY.rmdir()  # by root's mistake
        as_nobody(f"import os; os.mkdir({str(DIRECTORY)!r}); print('ready', flush=True)").communicate("")
        assert len(owner.missing()) == len(PROGRAMS) + len(MAPS)
        owner.restore()
        assert owner.missing() == []
        assert DIRECTORY.stat().st_uid == 0
        assert maps.tags() == {4711: 7}
        owner.remove()
    assert not DIRECTORY.exists()


def test_a_folder_in_which_others_may_write_is_not_used() -> None:
    """Whatever is pinned there may be anybody's."""
    with opened() as maps:
        maps.add_tap(7, 4711)
    DIRECTORY.chmod(0o777)
    with sticky(), opened() as maps:
        assert maps.tags() == {}
        assert DIRECTORY.stat().st_mode & 0o7777 == 0o700


def test_programs_that_are_not_what_their_names_say_are_not_attached() -> None:
    with opened() as maps:
        maps.add_tap(7, 4711)
    for one, other in (("tap_in", "swap"), ("host_in", "tap_in"), ("swap", "host_in")):
        (DIRECTORY / one).rename(DIRECTORY / other)
    owner = Pins(NAME)
    with contextlib.closing(owner.open()) as maps:
        for name in PROGRAMS:
            assert info_of(owner.program(name), ProgramInfo).name == name.encode()
        assert maps.tags() == {4711: 7}
    owner.close()


@pytest.mark.parametrize("what", ["a map", "a program"])
def test_a_pin_of_another_kind_is_not_taken_for_ours(what: str) -> None:
    with opened():
        pass
    if what == "a map":
        (DIRECTORY / "tap_in").unlink()
        command = f"bpftool map create {DIRECTORY / 'tap_in'} type array key 4 value 4 entries 1 name tap_in"
        subprocess.run(command.split(), check=True)
    else:
        (DIRECTORY / "settings").unlink()
        (DIRECTORY / "ns_out").rename(DIRECTORY / "settings")
    owner = Pins(NAME)
    owner.open().close()
    assert owner.missing() == []
    for name in PROGRAMS:
        assert is_program(owner.program(name))
    owner.remove()


def test_a_map_of_another_type_is_not_taken_over() -> None:
    with opened():
        pass
    (DIRECTORY / "tags").unlink()
    command = f"bpftool map create {DIRECTORY / 'tags'} type lru_hash key 4 value 4 entries 2 name tags"
    subprocess.run(command.split(), check=True)
    with opened() as maps:
        for ifindex in range(5):
            maps.add_tap(7 + ifindex, 4711 + ifindex)
        assert len(maps.tags()) == 5


def test_what_we_mount_is_closed_to_others_and_runs_nothing() -> None:
    program = """
import subprocess
from eve_meta.steering.bpf.pins import Pins
subprocess.run(["umount", "--lazy", "/sys/fs/bpf"], check=True)
pins = Pins("emtest-mount")
pins._mount()
print(next(line for line in open("/proc/self/mountinfo") if " /sys/fs/bpf " in line))
"""
    shown = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert {"nosuid", "nodev", "noexec"} <= set(shown.split()[5].split(","))
    assert "mode=700" in shown


def test_a_second_daemon_of_the_same_namespace_is_an_error_and_changes_nothing() -> None:
    with opened() as maps:
        maps.add_tap(7, 4711)
        with pytest.raises(Problem, match=f"another eve-meta runs with the namespace '{NAME}'"):
            Pins(NAME).open()
        assert maps.tags() == {4711: 7}
        assert DIRECTORY.exists()


def test_removing_leaves_nothing() -> None:
    owner = Pins(NAME)
    owner.open().close()
    owner.remove()
    assert not DIRECTORY.exists()


@pytest.mark.parametrize(
    ("hidden", "message"),
    [
        ("headers", "bcc needs kernel headers, and neither those of this kernel"),
        ("bcc", "install the distribution's package python3-bpfcc"),
        ("sources", "the BPF sources are missing"),
    ],
)
def test_a_missing_piece_is_an_error_of_one_line_and_nothing_is_left(
    hidden: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the loader alone; tests/guest has such tests of the whole daemon."""
    if hidden == "headers":
        monkeypatch.setattr(loader, "_installed_headers", lambda source: [])
        monkeypatch.setattr("platform.release", lambda: "no-such-kernel")
    elif hidden == "bcc":
        monkeypatch.setitem(__import__("sys").modules, "bcc", None)
    else:
        monkeypatch.setattr("eve_meta.__file__", str(tmp_path / "eve_meta" / "__init__.py"))
    with pytest.raises(Problem, match=message) as caught:
        loader.load(DIRECTORY)
    assert "\n" not in str(caught.value)
    assert not DIRECTORY.exists()


def test_a_program_that_the_compiler_refuses_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "eve_meta"
    package.mkdir()
    shutil.copytree(loader.source_directory(), tmp_path / "bpf")
    source = tmp_path / "bpf" / "steer.c"
    source.write_text(source.read_text().replace("int ns_in(", "int ns_in(no such thing", 1))
    monkeypatch.setattr("eve_meta.__file__", str(package / "__init__.py"))
    with pytest.raises(Problem, match=r"the BPF programs in .* do not load"):
        loader.load(DIRECTORY)
    assert not DIRECTORY.exists()


def test_debians_headers_in_two_trees_are_joined(tmp_path: Path) -> None:
    common = tmp_path / "linux-headers-6.1.0-9-common"
    machine = tmp_path / "linux-headers-6.1.0-9-amd64"
    (common / "include" / "linux").mkdir(parents=True)
    (common / "include" / "linux" / "kconfig.h").touch()
    (machine / "include" / "generated").mkdir(parents=True)
    (machine / "include" / "generated" / "autoconf.h").touch()
    assert loader._installed_headers(tmp_path) == [common, machine]
    (machine / "include" / "linux").symlink_to(common / "include" / "linux")
    assert loader._installed_headers(tmp_path) == [machine]


def test_a_compiler_that_crashes_is_an_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """bcc's compiler crashes where kernel headers lack files that it includes itself."""
    (tmp_path / "include/linux").mkdir(parents=True)
    (tmp_path / "include/linux/kconfig.h").touch()
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(tmp_path))
    with pytest.raises(Problem, match=r"^the (BPF )?programs .*do not load: "):
        Pins(NAME).open()
    assert "linux/types.h" in capfd.readouterr().err
    assert not DIRECTORY.exists()
