"""Real QEMU processes on real taps, and stubs of other VMMs, in a network namespace of the test's own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.pump import open_tap

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="taps and network namespaces need root")

QEMU = "qemu-system-x86_64"
UUID1 = "1a831fa7-c50b-4693-a16e-fb8171f1b69e"
UUID2 = "2a831fa7-c50b-4693-a16e-fb8171f1b69e"

SERVE = """
import json, sys, time
from pathlib import Path
from eve_meta.config import InventoryConfig
from eve_meta.inventory import Inventory
from eve_meta.inventory.readers.process import ReaderProcess
from eve_meta.runtime.reactor import reactor
from eve_meta.state.remembered import Remembered
from twisted.internet.threads import deferToThreadPool

def report():
    domains = {tap: inventory.domain_of(tap) for tap in taps}
    served = {tap: domain and domain.name for tap, domain in domains.items()}
    print(json.dumps({"owners": served, "problems": [str(each) for each in inventory.problems()]}), flush=True)

def in_thread(change):
    return deferToThreadPool(reactor, reactor.getThreadPool(), change)

directory, *taps = sys.argv[1:]
memory = Remembered(Path(directory).with_name("processes"), in_thread)
reader = ReaderProcess(reactor, None)
reader.start()
inventory = Inventory(InventoryConfig(directory=Path(directory)), reactor, reader, memory=memory)
inventory.start(report)
inventory.taps_changed(taps)
reactor.run()
"""
"""A larger part of the daemon: it prints the name of the domain behind each tap whenever something changes."""

LIBVIRTD = """
import fcntl, os, struct, subprocess, sys, time
tap, delay, *command = sys.argv[1:]
fd = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", tap.encode(), 0x1002))  # TUNSETIFF, IFF_TAP | IFF_NO_PI
print("open", flush=True)
time.sleep(float(delay))
command = ["setpriv", "--pdeathsig", "KILL", *command, "-netdev", f"tap,id=n0,fd={fd}"]
process = subprocess.Popen(command, pass_fds=[fd], stdout=subprocess.DEVNULL)
time.sleep(0.5)
os.close(fd)
process.wait()
"""
"""What libvirtd does: open a tap, set things up, and start a QEMU that inherits the tap."""

HOLD = """
import time
print("open", flush=True)
time.sleep(100)
"""
"""A program that has inherited a tap, and holds it."""

WATCH = """
import json, sys, time
from eve_meta.inventory.vmm.owners import ProcessOwners
from eve_meta.runtime.reactor import reactor

def report(taps):
    held = {tap: [str(owner.uuid), owner.name] for tap, owner in owners.owners().items()}
    print(json.dumps({"owners": held, "at": time.time()}), flush=True)

owners = ProcessOwners(reactor)
owners.start(report)
owners.taps_changed(sys.argv[1:])
reactor.run()
"""
"""A small part of the daemon: it prints the owners whenever they change."""


@pytest.fixture
def namespace() -> Iterator[str]:
    """A network namespace with the taps tap0 and tap1, which outlive what opens them."""
    name = f"em-proc-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    for tap in ("tap0", "tap1"):
        subprocess.run(["ip", "-n", name, "tuntap", "add", tap, "mode", "tap"], check=True)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture
def start(namespace: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a program within the namespace, with the tap *holding* open; end it with the test."""
    processes: list[subprocess.Popen[str]] = []

    def start_process(*command: str, holding: str | None = None) -> subprocess.Popen[str]:
        # Root opens the tap for the program: only root may be allowed to open this machine's /dev/net/tun.
        taps = [] if holding is None else [open_tap(namespace, holding)]
        process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, *command], pass_fds=taps, stdout=subprocess.PIPE, text=True
        )
        for tap in taps:
            os.close(tap)
        processes.append(process)
        return process

    yield start_process
    for process in processes:
        process.kill()
        process.communicate(timeout=10)


def qemu(*arguments: str, tap: str) -> list[str]:
    assert shutil.which(QEMU), f"{QEMU} is missing: install the package qemu-system-x86"
    netdev = f"tap,id=n0,ifname={tap},script=no,downscript=no"
    return [QEMU, "-M", "none", "-S", "-nographic", "-display", "none", *arguments, "-netdev", netdev]


def watch(start: Callable[..., subprocess.Popen[str]]) -> subprocess.Popen[str]:
    return start(sys.executable, "-c", WATCH, "tap0", "tap1")


def wait_for(watcher: subprocess.Popen[str], owners: dict[str, Any]) -> float:
    """Wait until the watcher prints these *owners*; return the time at which it did."""
    assert watcher.stdout is not None
    end = time.monotonic() + 20
    for line in watcher.stdout:
        printed = json.loads(line)
        if printed["owners"] == owners:
            return float(printed["at"])
        assert time.monotonic() < end, f"expected {owners}, got {printed}"
    raise AssertionError("the watcher ended")


def test_qemu_that_runs_already(start: Callable[..., subprocess.Popen[str]]) -> None:
    start(*qemu("-uuid", UUID1, "-name", "guest=web,,1,debug-threads=on", tap="tap0"))
    # As Proxmox starts it.
    start(*qemu("-smbios", f"type=1,uuid={UUID2}", "-name", "web2,process=renamed", tap="tap1"))
    wait_for(watch(start), {"tap0": [UUID1, "web,1"], "tap1": [UUID2, "web2"]})


def test_qemu_that_starts_later_and_ends(start: Callable[..., subprocess.Popen[str]]) -> None:
    watcher = watch(start)
    wait_for(watcher, {})
    process = start(*qemu("-uuid", UUID1, "-name", "web1", tap="tap0"))
    wait_for(watcher, {"tap0": [UUID1, "web1"]})
    killed = time.time()
    process.kill()
    assert wait_for(watcher, {}) - killed < 0.5
    # The tap still exists, and another VM may get it.
    start(*qemu("-uuid", UUID2, "-name", "web2", tap="tap0"))
    wait_for(watcher, {"tap0": [UUID2, "web2"]})


@pytest.fixture
def program() -> Iterator[Callable[[str], str]]:
    """A copy of Python under another name, which anyone may run: a process is named after its executable."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)

        def copy(name: str) -> str:
            return shutil.copy(os.path.realpath("/usr/bin/python3"), f"{directory}/{name}")

        yield copy


@pytest.fixture
def domains(tmp_path: Path) -> Path:
    """A directory for domain files that only root can write to."""
    (tmp_path / "domains.d").mkdir(0o700)
    return tmp_path / "domains.d"


def serve(start: Callable[..., subprocess.Popen[str]], domains: Path) -> subprocess.Popen[str]:
    return start(sys.executable, "-c", SERVE, str(domains), "tap0", "tap1")


def write(path: Path, text: str) -> None:
    path.touch(0o600)
    path.write_text(text)


def printed_until(server: subprocess.Popen[str], *problems: str, **served: str | None) -> list[dict[str, Any]]:
    """Return all that the server prints until it serves *served* and its problems contain *problems*."""
    assert server.stdout is not None
    printed: list[dict[str, Any]] = []
    end = time.monotonic() + 20
    for line in server.stdout:
        printed.append(json.loads(line))
        last = printed[-1]
        if last["owners"] == served and len(last["problems"]) == len(problems):
            assert all(part in text for part, text in zip(problems, last["problems"], strict=True)), last
            return printed
        assert time.monotonic() < end, f"expected {served}, got {last}"
    raise AssertionError("the server ended")


def test_a_user_who_calls_his_process_qemu_and_another_domain(
    namespace: str, start: Callable[..., subprocess.Popen[str]], program: Callable[[str], str], domains: Path
) -> None:
    write(domains / "victim.yaml", f"name: victim\nuuid: {UUID1}\n")
    subprocess.run(["ip", "-n", namespace, "tuntap", "del", "tap1", "mode", "tap"], check=True)
    subprocess.run(["ip", "-n", namespace, "tuntap", "add", "tap1", "mode", "tap", "user", "nobody"], check=True)
    as_nobody = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
    fake = start(*as_nobody, program("qemu-fake"), "-c", HOLD, "-uuid", UUID1, holding="tap1")
    assert fake.stdout is not None
    assert fake.stdout.readline() == "open\n"
    server = serve(start, domains)
    printed = printed_until(server, "is not trusted to claim a domain", tap0=None, tap1=None)
    # The real QEMU gets its own domain, whatever the other process claims.
    start(*qemu("-uuid", UUID1, tap="tap0"))
    printed += printed_until(server, "is not trusted to claim a domain", tap0="victim", tap1=None)
    assert {each["owners"]["tap1"] for each in printed} == {None}


DROP = """
import os, signal, sys
signal.signal(signal.SIGUSR1, lambda *_: None)
print("open", flush=True)
signal.pause()
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
print("dropped", flush=True)
while True:
    signal.pause()
"""
"""What a QEMU with ``-runas`` does: it opens its tap as root, and drops its privileges some time later, here on a
signal."""


def test_a_qemu_that_drops_its_privileges_is_the_same_domain_after_a_restart_of_the_daemon(
    start: Callable[..., subprocess.Popen[str]], program: Callable[[str], str], domains: Path
) -> None:
    write(domains / "web1.yaml", f"name: web1\nuuid: {UUID1}\n")
    qemu_like = start(program("qemu-like"), "-c", DROP, "-uuid", UUID1, "-runas", "nobody", holding="tap0")
    assert qemu_like.stdout is not None
    assert qemu_like.stdout.readline() == "open\n"
    server = serve(start, domains)
    printed_until(server, tap0="web1", tap1=None)
    qemu_like.send_signal(signal.SIGUSR1)
    assert qemu_like.stdout.readline() == "dropped\n"
    for _ in range(2):
        time.sleep(0.5)  # by now it is remembered
        server.kill()
        server.wait()
        server = serve(start, domains)
        printed_until(server, tap0="web1", tap1=None)
    # Whoever has no memory of it cannot tell it from a process that nobody started.
    server.kill()
    server.wait()
    (domains.parent / "processes").unlink()
    printed_until(serve(start, domains), "name it in [inventory] process_users", tap0=None, tap1=None)


def test_a_tap_with_a_stale_file_that_libvirt_gives_to_another_domain(
    start: Callable[..., subprocess.Popen[str]], program: Callable[[str], str], domains: Path
) -> None:
    write(domains / "old.yaml", f"name: old\nuuid: {UUID1}\nnics: [{{tap: tap0}}]\n")
    write(domains / "new.yaml", f"name: new\nuuid: {UUID2}\n")
    command = (QEMU, "-M", "none", "-S", "-nographic", "-display", "none", "-uuid", UUID2)
    libvirtd = start(program("libvirtd"), "-c", LIBVIRTD, "tap0", "1", *command)
    assert libvirtd.stdout is not None
    assert libvirtd.stdout.readline() == "open\n"
    printed = printed_until(serve(start, domains), f"got {UUID2}", tap0=None, tap1=None)
    assert {each["owners"]["tap0"] for each in printed} == {None}


def test_other_vmms_are_the_domains_that_their_command_lines_tell(
    start: Callable[..., subprocess.Popen[str]], program: Callable[[str], str], domains: Path
) -> None:
    write(domains / "web1.yaml", f"name: web1\nuuid: {UUID1}\n")
    write(domains / "web2.yaml", "name: web2\n")
    platform = f"serial_number=x,uuid={UUID1}"
    holders = (
        start(program("cloud-hypervisor"), "-c", HOLD, "--kernel", "x", "--platform", platform, holding="tap0"),
        start(program("firecracker"), "-c", HOLD, "--id", "web2", "--api-sock", "x", holding="tap1"),
    )
    for holder in holders:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
    server = serve(start, domains)
    printed_until(server, tap0="web1", tap1="web2")
    holders[0].kill()
    printed_until(server, tap0=None, tap1="web2")


def test_a_tap_that_another_hypervisor_holds_belongs_to_the_domain_of_its_file(
    start: Callable[..., subprocess.Popen[str]], program: Callable[[str], str], domains: Path
) -> None:
    write(domains / "web1.yaml", "name: web1\nnics: [{tap: tap0}]\n")
    holder = start(program("cloud-hypervisor"), "-c", HOLD, holding="tap0")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    printed_until(serve(start, domains), tap0="web1", tap1=None)


def test_qemu_in_another_namespace_is_not_behind_our_tap(
    namespace: str, start: Callable[..., subprocess.Popen[str]]
) -> None:
    other = f"{namespace}-b"
    subprocess.run(["ip", "netns", "add", other], check=True)
    try:
        subprocess.run(["ip", "-n", other, "tuntap", "add", "tap0", "mode", "tap"], check=True)
        start("ip", "netns", "exec", other, *qemu("-uuid", UUID2, "-name", "other", tap="tap0"))
        start(*qemu("-uuid", UUID1, "-name", "web1", tap="tap1"))
        # Both have been started before the watcher finds ours.
        wait_for(watch(start), {"tap1": [UUID1, "web1"]})
    finally:
        subprocess.run(["ip", "netns", "del", other], check=True)
