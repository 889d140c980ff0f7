"""Passwords through the whole path: posted once, and kept whatever happens to the daemon and its disk."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from eve_meta.values.tag import worker_of_tag
from harness.guests import Guest, Lab
from tests.guest.scene import Identity, Scene, domain, eventually, scene, uuid_of

NAME = "empass"
PASSWORD = "/openstack/latest/password"
COUNT = 4
WORKERS = 2

DISK = 256 * 1024
"""Bytes of the disk that holds the state."""

INODES = 64
"""The number of files and directories that the disk can have."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Scene]:
    """Guests, two workers, and a state directory on a small disk. The third domain has two NICs."""
    domains = {f"vm{number}": domain(number, f"vnet{number}") for number in range(1, COUNT + 1)}
    domains["vm3"]["nics"] = [{"tap": "vnet3"}, {"tap": "vnet33"}]
    # The two taps of the third domain have consecutive tags, and so different workers.
    taps = {"vnet1": 1, "vnet2": 2, "vnet3": 3, "vnet33": 3, "vnet4": 4}
    disk = Path("/run") / f"{NAME}-disk"
    disk.mkdir(mode=0o700)
    try:
        options = f"size={DISK},nr_inodes={INODES},mode=700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, NAME, disk], check=True)
        try:
            with scene(NAME, domains, started=False, settings=f"[web]\nworkers = {WORKERS}\n") as stage:
                config = stage.daemon.config
                config.write_text(
                    config.read_text().replace(str(stage.daemon.directory / "state"), str(disk / "state"))
                )
                stage.daemon.start()
                for tap in taps:
                    stage.lab.guest(tap.replace("vnet", "vm"), tap=tap, bridge="br0")
                stage.wait_until_known(**taps)
                yield stage
        finally:
            subprocess.run(["umount", disk], check=True)
    finally:
        disk.rmdir()


@pytest.fixture
def disk() -> Path:
    return Path("/run") / f"{NAME}-disk"


def guest(stage: Scene, number: int) -> Guest:
    return stage.lab.guests[f"vm{number}"]


def post(guest: Guest, body: bytes) -> int:
    return guest.get(PASSWORD, method="POST", body=body).status


def read(guest: Guest) -> set[bytes]:
    """Return the set of answers that the guest reads in several requests."""
    return {guest.get(PASSWORD).body for _ in range(20)}


def command(stage: Scene, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``eve-meta password ARGUMENTS``."""
    return subprocess.run(
        stage.daemon.command("password", *arguments), capture_output=True, text=True, check=False, timeout=30
    )


def clear(stage: Scene, number: int) -> None:
    done = command(stage, f"vm{number}", "--clear")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_password_is_posted_once_and_kept(stage: Scene, disk: Path) -> None:
    asking = guest(stage, 1)
    assert read(asking) == {b""}
    for number in range(10):
        secret = f"pässword {number}".encode()
        began = time.monotonic()
        assert post(asking, secret) == 200
        print(f"\nkept in {1000 * (time.monotonic() - began):.1f} ms")
        assert read(asking) == {secret}
        assert {post(asking, b"another") for _ in range(5)} == {409}
        path = disk / "state/passwords" / uuid_of(1)
        assert path.read_bytes() == secret
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        clear(stage, 1)
    assert read(asking) == {b""}
    assert read(guest(stage, 2)) == {b""}


def test_a_password_is_posted_once_and_every_worker_knows_it_at_once(stage: Scene) -> None:
    """So does the worker that answers another tap of the same domain."""
    tags = {stage.status_of(tap)["tag"] for tap in ("vnet3", "vnet33")}
    assert {worker_of_tag(tag, WORKERS) for tag in tags} == set(range(WORKERS))
    for posting, reading in ((3, 33), (33, 3)) * 5:
        assert post(guest(stage, posting), b"secret") == 200
        assert read(guest(stage, reading)) == {b"secret"}
        assert post(guest(stage, reading), b"another") == 409
        clear(stage, 3)
        assert read(guest(stage, reading)) == {b""}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_password_survives_the_daemon(stage: Scene, how: signal.Signals) -> None:
    asking = guest(stage, 1)
    secret = f"before {how.name}".encode()
    assert post(asking, secret) == 200
    process = stage.daemon.process
    assert process is not None
    os.kill(process.pid, how)
    process.wait(20)
    done = command(stage, "vm1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "start it with 'eve-meta serve'" in done.stderr
    stage.daemon.start()
    stage.wait_until_known(vnet1=1)
    eventually(lambda: read(asking) == {secret}, 5)
    assert post(asking, b"another") == 409
    assert command(stage, "vm1").stdout == secret.decode() + "\n"
    clear(stage, 1)


def test_a_password_survives_a_worker_that_dies_while_it_is_posted(stage: Scene) -> None:
    """The guest may get no answer, but an answer that it gets is true."""
    asking = guest(stage, 2)
    pids = [worker["pid"] for worker in stage.daemon.status()["workers"]]
    statuses: list[int] = []

    def try_to_post() -> None:
        try:
            statuses.append(post(asking, b"posted"))
        except OSError:
            statuses.append(0)

    threads = [threading.Thread(target=try_to_post) for _ in range(8)]
    for thread in threads:
        thread.start()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for thread in threads:
        thread.join()
    print("\n", sorted(statuses))
    assert set(statuses) <= {0, 200, 409, 503}
    assert statuses.count(200) <= 1
    if 200 not in statuses and 409 not in statuses:
        eventually(lambda: post(asking, b"posted") in (200, 409), 5)
    assert read(asking) == {b"posted"}
    clear(stage, 2)


@contextlib.contextmanager
def full(disk: Path) -> Iterator[str]:
    filler = disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(bytes(2 * DISK))
    try:
        yield "No space left on device"
    finally:
        filler.unlink()


@contextlib.contextmanager
def without_inodes(disk: Path) -> Iterator[str]:
    fillers = disk / "fillers"
    fillers.mkdir()
    try:
        for number in range(os.statvfs(disk).f_ffree):
            (fillers / str(number)).touch()
        with pytest.raises(OSError, match="No space left"):
            (fillers / "one too many").touch()
        yield "No space left on device"
    finally:
        shutil.rmtree(fillers)


@contextlib.contextmanager
def read_only(disk: Path) -> Iterator[str]:
    """Make the disk read-only, as ext4 does after an error (errors=remount-ro)."""
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    try:
        yield "Read-only file system"
    finally:
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)


@pytest.mark.parametrize("fault", [full, without_inodes, read_only], ids=lambda fault: fault.__name__)
def test_a_disk_that_cannot_be_written_loses_no_password_and_stores_none_in_part(
    stage: Scene, disk: Path, fault: Callable[[Path], AbstractContextManager[str]]
) -> None:
    asking, kept = guest(stage, 1), guest(stage, 4)
    assert post(kept, b"kept") == 200
    logged = len(stage.daemon.log.read_text().splitlines())
    with fault(disk) as why:
        answers = [asking.get(PASSWORD, method="POST", body=b"x" * 1020) for _ in range(20)]
        assert {answer.status for answer in answers} == {503}
        assert {answer.headers["retry-after"] for answer in answers} == {"1"}
        assert sorted(path.name for path in (disk / "state/passwords").iterdir()) == [uuid_of(4)]
        assert (read(asking), read(kept)) == ({b""}, {b"kept"})
        assert command(stage, "vm4").stdout == "kept\n"
        # A guest that asks for a missing password learns that it is missing, not that the disk is full.
        assert command(stage, "vm1").returncode == 1
        assert Identity.asked_by(asking) == Identity.of(1)
        # The log has one line a minute.
        lines = [line for line in stage.daemon.log.read_text().splitlines()[logged:] if " info: " not in line]
        assert len(lines) <= 1
        assert all("could not be kept" in line and why in line for line in lines)
    began = time.monotonic()
    eventually(lambda: post(asking, b"x" * 1020) == 200, 5)
    print(f"\nkept {time.monotonic() - began:.1f} s after there was room again")
    assert read(asking) == {b"x" * 1020}
    assert command(stage, "vm1").stdout == "x" * 1020 + "\n"
    assert command(stage, "vm4").stdout == "kept\n"
    for number in (1, 4):
        clear(stage, number)


def test_a_password_that_cannot_be_cleared_stays(stage: Scene, disk: Path) -> None:
    """The guest cannot set another one while the old one would return with a restart."""
    asking = guest(stage, 1)
    assert post(asking, b"stays") == 200
    with read_only(disk):
        done = command(stage, "vm1", "--clear")
        assert done.returncode == 1
        assert "Read-only file system" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert post(asking, b"another") == 409
        assert command(stage, "vm1").stdout == "stays\n"
    clear(stage, 1)


def test_what_a_hostile_guest_posts(stage: Scene) -> None:
    asking = guest(stage, 1)
    bodies = {b"": 200, b"x" * 1021: 400, b"\xff": 400, b"x" * 65536: 400, b"x" * 65537: 413}
    assert {body: post(asking, body) for body in bodies} == bodies
    for path, status in {"/openstack/2012-08-10/password": 404, "/openstack/2013-04-04/password": 409}.items():
        assert post(asking, b"x") in (200, 409)
        assert asking.get(path, method="POST", body=b"y").status == status
    assert asking.get(PASSWORD, method="PUT").headers["allow"] == "GET, HEAD, POST"
    assert read(asking) == {b"x"}
    clear(stage, 1)


def test_a_domain_is_named_by_its_uuid_too_and_one_that_is_gone_only_by_that(stage: Scene) -> None:
    assert post(guest(stage, 4), b"left behind") == 200
    stage.daemon.domains.joinpath("vm4.yaml").unlink()
    try:
        eventually(lambda: stage.domain_is("vnet4", None), 5)
        assert command(stage, "vm4").returncode == 1
        done = command(stage, uuid_of(4).upper(), "--json")
        assert json.loads(done.stdout) == {"uuid": uuid_of(4), "password": "left behind"}
        assert command(stage, uuid_of(4), "--clear").returncode == 0
        assert command(stage, uuid_of(4)).stderr.startswith("eve-meta: no domain ")
    finally:
        stage.daemon.write_domain("vm4", domain(4, "vnet4"))
    stage.wait_until_known(vnet4=4)


def test_a_second_daemon_does_not_write_where_the_first_one_does(stage: Scene, disk: Path) -> None:
    """The second daemon has its own namespace and run directory, but the same state directory."""
    with Lab(f"{NAME}-two") as lab:
        run = lab.directory / "run"
        config = lab.directory / "eve-meta.toml"
        config.write_text(
            f'[steering]\nnamespace = "{lab.name}"\n[admin]\nsocket = "{lab.directory}/s"\n'
            f'[paths]\nrun = "{run}"\nstate = "{disk}/state"\n'
        )
        second = lab.host.run(*stage.daemon.command("serve")[:2], "--config", config, check=False, timeout=30)
    assert second.returncode == 1
    assert second.stderr == (
        f"eve-meta: another eve-meta runs with the directory {disk}/state: "
        "stop it, or give this one another [paths] state\n"
    )
