"""The systemd unit: its capabilities suffice and none is superfluous; and what the daemon reports by sd_notify(3).

tests/package/test_deb.py runs it under systemd itself, with all other settings of the unit.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from attrs import frozen

from eve_meta.runtime.sandbox.identities import FIRST
from eve_meta.steering.doctor.kernel import NEEDED
from harness import SCRIPTS
from harness.guests import LabError
from harness.namespace import RUN_NETNS, Namespace
from harness.pump import open_tap
from harness.service_manager import ServiceManager
from harness.unit import bounded, capabilities
from tests.guest.scene import META_DATA, USER_DATA, Hosts, Scene, domain, eventually, proc_status, scene, uuid_of

NAME = "emg-unit"
QEMU = "qemu-system-x86_64"

ENDS_WITHIN = 8.0
"""Seconds within which the daemon kills a worker that does not end (three seconds), and removes everything."""


@frozen
class Stage:
    """A host with a guest and a QEMU of libvirt's user, and a daemon that is not started yet."""

    scene: Scene
    before: Hosts

    def start(
        self, *, without: str | None = None, prefix: Sequence[str] = (), manager: ServiceManager | None = None
    ) -> None:
        self.scene.daemon.log.write_text("")
        options = {"prefix": (), "pass_fds": ()} if manager is None else manager.start()
        self.scene.daemon.start([*prefix, *options["prefix"], *bounded(without)], options["pass_fds"])

    def stop(self) -> None:
        self.scene.daemon.stop()
        assert self.before.changes() == []

    def log(self) -> str:
        return self.scene.daemon.log.read_text()

    @property
    def worker(self) -> int:
        return int(self.scene.daemon.status()["workers"][0]["pid"] or 0)


@contextlib.contextmanager
def libvirts_user() -> Iterator[int]:
    """Yield the user as whom libvirt runs QEMU on Debian; made for the tests where libvirt is not installed."""
    passwd = Path("/etc/passwd")
    try:
        yield pwd.getpwnam("libvirt-qemu").pw_uid
        return
    except KeyError:
        pass
    changed = Path(f"/run/{NAME}-passwd")
    changed.write_text(passwd.read_text() + "libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin\n")
    subprocess.run(["mount", "--bind", changed, passwd], check=True)  # in the tests' own mount namespace
    try:
        yield 64055
    finally:
        subprocess.run(["umount", passwd], check=True)
        changed.unlink()


@contextlib.contextmanager
def qemu(where: Scene, tap: str, uid: int, uuid: str) -> Iterator[None]:
    """Run a QEMU of the user *uid* that holds *tap* and whose domain has *uuid*."""
    where.lab.host.ip(f"tuntap add {tap} mode tap user {uid}", f"link set {tap} up")
    # Root opens the tap, as libvirt does: only root may be allowed to open this machine's /dev/net/tun.
    descriptor = open_tap(where.lab.host.name, tap)
    try:
        process = where.lab.host.popen(
            *("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"),
            *(QEMU, "-M", "none", "-S", "-nographic", "-display", "none", "-uuid", uuid),
            *("-netdev", f"tap,id=n0,fd={descriptor}"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[descriptor],
        )
    finally:
        os.close(descriptor)
    try:
        yield
    finally:
        process.kill()
        process.wait()
        where.lab.host.ip(f"link delete {tap}")


def _link(where: Scene, name: str) -> str:
    return where.lab.host.run("ip", "link", "show", name).stdout


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    domains = {
        "vm0": domain(0, "vnet0") | {"user_data": None, "user_data_file": "../script"},
        "vm1": domain(1, None),
    }
    with libvirts_user() as uid, scene(NAME, domains, started=False) as stage:
        # As where another user than root owns the domain files: root reads them by capability alone.
        script = stage.daemon.directory / "script"
        script.write_text("#!/bin/sh\n")
        script.chmod(0o600)
        os.chown(script, uid, uid)
        stage.lab.guest("vm0", tap="vnet0", bridge="br0")
        with qemu(stage, "vnet1", uid, uuid_of(1)):
            for link in ("br0", "vnet1"):  # the kernel reports it a second later, and it must not count as a change
                eventually(lambda link=link: " state UP " in _link(stage, link), 20)  # type: ignore[misc]
            yield Stage(stage, Hosts.read(stage.lab))


@pytest.fixture(params=["nft", "legacy"])
def iptables(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both variants of iptables; the legacy one uses a raw socket."""
    for tool in ("iptables-restore", "ip6tables-restore"):
        (tmp_path / tool).symlink_to(shutil.which(f"xtables-{request.param}-multi") or "missing")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return str(request.param)


# -- the capabilities --


def test_everything_works_with_what_the_unit_grants(stage: Stage, iptables: str) -> None:
    stage.start()
    daemon = stage.scene.daemon
    assert daemon.process is not None
    supervisor = proc_status(daemon.process.pid)
    assert supervisor["CapEff"] == supervisor["CapBnd"] == f"{sum(1 << bit for bit in NEEDED.values()):016x}"
    # The guest's domain file is read, and the QEMU of another user is found behind its tap.
    stage.scene.wait_until_known(vnet0=0, vnet1=1)
    guest = stage.scene.lab.guests["vm0"]
    assert guest.get(META_DATA).status == 200
    assert guest.get(USER_DATA).body == b"#!/bin/sh\n"
    worker = proc_status(stage.worker)
    assert {worker[key] for key in ("CapEff", "CapPrm", "CapBnd")} == {"0" * 16}
    uid = worker["Uid"].split()[0]
    assert (int(uid) >= FIRST, worker["Uid"].split()) == (True, [uid] * 4)
    # A tap comes and goes, a worker dies, another does not end, and the daemon ends.
    stage.scene.lab.make_tap("vnet2")
    eventually(lambda: "tap_in" in stage.scene.filters("vnet2"), 5)
    stage.scene.lab.delete_tap("vnet2")
    eventually(lambda: not stage.scene.status_of("vnet2"), 5)
    dead = stage.worker
    os.kill(dead, signal.SIGKILL)
    eventually(lambda: stage.worker not in (0, dead), 5)
    eventually(lambda: _answered(stage), 5)
    os.kill(stage.worker, signal.SIGSTOP)
    stage.stop()
    (error,) = (line for line in stage.log().splitlines() if " error: " in line or " critical: " in line)
    assert f"worker 0 (pid {dead}) ended" in error


def _answered(stage: Stage) -> bool:
    with contextlib.suppress(OSError):
        return stage.scene.lab.guests["vm0"].get(META_DATA).status == 200
    return False


FAILS_TO_START = ("CAP_SYS_ADMIN", "CAP_NET_ADMIN")
"""Without one of these there is no steering."""

WORKER_FAILS = ("CAP_SYS_CHROOT", "CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP")
"""Without one of these a worker cannot be confined, and then does not serve."""

OTHERWISE = {"CAP_NET_RAW", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_KILL"}
"""Each of these has its own test below."""


def test_no_capability_is_superfluous() -> None:
    assert capabilities() == {*FAILS_TO_START, *WORKER_FAILS, *OTHERWISE}


@pytest.mark.parametrize("capability", FAILS_TO_START)
def test_without_the_capability_the_daemon_reports_that_it_cannot_start(stage: Stage, capability: str) -> None:
    with pytest.raises(LabError, match="did not start"):
        stage.start(without=capability)
    stage.stop()
    *_, last = stage.log().splitlines()
    assert last.startswith("eve-meta: ")
    assert "Traceback" not in stage.log()


@pytest.mark.parametrize("capability", [None, *WORKER_FAILS])
def test_without_the_capability_a_worker_cannot_be_confined(capability: str | None, tmp_path: Path) -> None:
    """A worker first confines itself; test_worker.py shows that it serves nobody before."""
    confine = (
        "from eve_meta.runtime.sandbox.confine import confine; from eve_meta.runtime.sandbox.policy import Identity; "
        "from eve_meta.web.confinement import WORKER; from pathlib import Path; "
        f"confine(WORKER, Identity(root=Path({str(tmp_path)!r}), uid=9, gid=9))"
    )
    done = subprocess.run(
        [*bounded(capability), sys.executable, "-c", confine],
        capture_output=True,
        text=True,
        check=False,
    )
    if capability is None:
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert "the worker cannot give up its privileges: " in done.stderr


@pytest.mark.parametrize("iptables", ["legacy"], indirect=True)
def test_without_net_raw_legacy_iptables_fails(stage: Stage, iptables: str) -> None:
    with pytest.raises(LabError, match="iptables-restore refused the rules"):
        stage.start(without="CAP_NET_RAW")
    stage.stop()


@pytest.mark.parametrize("capability", ["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"])
def test_without_the_capability_the_qemu_behind_a_tap_is_not_found(stage: Stage, capability: str) -> None:
    stage.start(without=capability)
    if capability == "CAP_SYS_PTRACE":
        stage.scene.wait_until_known(vnet0=0)
    else:
        eventually(lambda: "user_data_file" in stage.log(), 5)  # nor can it read a file of another user
    time.sleep(1)  # a scan takes milliseconds
    assert stage.scene.domain_is("vnet1", None)
    stage.stop()


def test_without_kill_a_worker_that_does_not_end_keeps_the_daemon(stage: Stage) -> None:
    stage.start(without="CAP_KILL")
    process, worker = stage.scene.daemon.process, stage.worker
    assert process is not None
    os.kill(worker, signal.SIGSTOP)
    process.terminate()
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(ENDS_WITHIN)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGCONT)
    process.wait(ENDS_WITHIN)
    stage.stop()


# -- mounts --

MOUNTS_OF_ITS_OWN = ("unshare", "--mount", "--propagation", "private")
"""The prefix of a daemon to which no mount of the host comes, and from which none goes there; so it is where systemd
itself runs in a container."""


def test_the_host_sees_the_network_namespace_of_a_service_that_has_mounts_of_its_own(stage: Stage) -> None:
    """And it outlives the daemon; tests/package goes over from a service without mounts of its own, and back."""
    assert os.getpid() == 1, "run it by scripts/test: this process stands for systemd"
    daemon = stage.scene.daemon
    with ServiceManager(daemon.directory / "notify") as manager:
        stage.start(prefix=MOUNTS_OF_ITS_OWN, manager=manager)
        first = _named()
        assert "meta0" in Namespace(NAME).run("ip", "link", "show", "meta0").stdout
        # Whoever deletes the name does so on the host, where the daemon restores it.
        subprocess.run(["ip", "netns", "delete", NAME], check=True)
        eventually(lambda: _named() == first, 10)
        assert daemon.process is not None
        daemon.process.kill()
        daemon.process.wait()
        assert _named() == first
        stage.start(prefix=MOUNTS_OF_ITS_OWN, manager=manager)
        assert _named() == first
        stage.scene.wait_until_known(vnet0=0)
        stage.stop()


def _named() -> int | None:
    """Return the inode of what has the private namespace's name; None where nothing has."""
    try:
        return (RUN_NETNS / NAME).stat().st_ino
    except FileNotFoundError:
        return None


def test_the_hosts_tools_see_everything_of_a_daemon_started_as_by_the_unit(stage: Stage) -> None:
    stage.start()
    stage.scene.wait_until_known(vnet0=0)
    assert "meta0" in Namespace(NAME).run("ip", "link", "show", "meta0").stdout
    shown = stage.scene.lab.host.run(
        *("/usr/bin/python3", SCRIPTS / "inspect-steering", "--tap", "vnet0"),
        *("--namespace", NAME, "--config", stage.scene.daemon.config),
        check=False,
    )
    assert (shown.returncode, "MISSING" in shown.stdout) == (0, False), shown.stdout + shown.stderr
    stage.stop()


# -- what the daemon reports --


@pytest.fixture
def manager(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket of the service manager."""
    path = stage.scene.daemon.directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        monkeypatch.setenv("WATCHDOG_USEC", "1000000")
        yield manager
    path.unlink()


def test_the_daemon_reports_ready_when_guests_are_answered_and_that_its_reactor_turns(
    stage: Stage, manager: socket.socket
) -> None:
    daemon = stage.scene.daemon
    process = stage.scene.lab.host.popen(
        *daemon.command("serve"), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        messages = [manager.recv(4096).decode()]
        assert messages == ["STATUS=compiling the programs and making the path for guests"]
        while "READY=1" not in messages[-1]:
            messages.append(manager.recv(4096).decode())
        assert stage.scene.lab.guests["vm0"].get(META_DATA).status in (
            200,
            503,
        )  # 503: its domain is not known yet
        stage.scene.wait_until_known(vnet0=0, vnet1=1)
        _forget(manager)
        beats, until = [], time.monotonic() + 2.2
        while time.monotonic() < until:
            beats.append(manager.recv(4096).decode())
        assert 3 <= len(beats) <= 6  # one every half second; the last may have come after that time
        assert beats[-1] == "WATCHDOG=1\nSTATUS=taps: 2, of a known domain: 2; workers: 1, that accept: 1"
        # A reactor that does not turn sends nothing; WatchdogSec= sets what systemd does then.
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        _forget(manager)
        manager.settimeout(1.2)
        with pytest.raises(TimeoutError):
            manager.recv(4096)
        manager.settimeout(10)
        process.send_signal(signal.SIGCONT)
        assert "WATCHDOG=1" in manager.recv(4096).decode()
        process.terminate()
        while "STOPPING=1" not in (last := manager.recv(4096).decode()):
            pass
        assert last == "STOPPING=1\nSTATUS=removing everything from the host"
    finally:
        process.terminate()
        process.wait(20)
    stage.stop()


def _forget(manager: socket.socket) -> None:
    """Discard what the daemon has reported so far."""
    patience = manager.gettimeout()
    manager.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            manager.recv(4096)
    manager.settimeout(patience)
