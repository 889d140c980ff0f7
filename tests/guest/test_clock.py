"""A clock that jumps while the daemon runs, as when NTP corrects it: by hours or years, forwards and back.

The tests must not set the clock of the machine that they run on. So the daemon and its workers have a wall clock of
their own: a library that every program loads before libc, in the daemon's mount namespace alone.
"""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import json
import mmap
import os
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from harness.guests import Guest
from tests.guest.scene import META_DATA, Identity, KeepAlive, Scene, domain, eventually, scene

SOURCE = Path(__file__).with_name("jumping_clock.c")

HOUR = 3600
YEAR = 365 * 24 * HOUR
AT_ONCE = 1.0
"""Seconds within which a change takes effect."""

JUMPS = {"ahead": (HOUR, 10 * YEAR), "back": (-HOUR, -26 * YEAR)}
"""Seconds by which the clock is wrong at first, and by which it is wrong after the jump."""


@frozen
class Stage(Scene):
    """A daemon with one guest and a wall clock of its own."""

    clock: mmap.mmap

    @property
    def guest(self) -> Guest:
        return self.lab.guests["vm0"]

    def jump(self, ahead: int) -> None:
        """Set the daemon's clock *ahead* of the machine's, in seconds."""
        self.clock[:8] = struct.pack("=q", ahead)

    def now(self) -> float:
        return time.time() + float(struct.unpack("=q", self.clock[:8])[0])

    def asked(self, *arguments: str) -> Any:
        """Return what ``eve-meta ARGUMENTS --json`` prints; for events, a list with an object for each line."""
        done = subprocess.run(self.daemon.command(*arguments, "--json"), capture_output=True, check=True, text=True)
        return (
            [json.loads(line) for line in done.stdout.splitlines()]
            if arguments == ("events",)
            else json.loads(done.stdout)
        )


@pytest.fixture(scope="module")
def module_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("clock")
    directory.chmod(0o755)
    ahead, library, etc = directory / "ahead", directory / "jumping_clock.so", directory / "etc"
    ahead.write_bytes(bytes(mmap.PAGESIZE))
    subprocess.run(
        [
            "gcc",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-O1",
            "-shared",
            "-fPIC",
            f'-DCLOCK_FILE="{ahead}"',
            "-o",
            library,
            SOURCE,
        ],
        check=True,
    )
    # Only this file reaches a worker, which has no environment (ld.so(8)).
    subprocess.run(["cp", "-a", "/etc", etc], check=True)
    (etc / "ld.so.preload").write_text(f"{library}\n")
    prefix: list[str | Path] = [
        "unshare",
        "--mount",
        "--propagation",
        "slave",
        "sh",
        "-ec",
        'mount --bind "$0" /etc; exec "$@"',
        etc,
    ]
    with (
        ahead.open("r+b") as file,
        mmap.mmap(file.fileno(), 0) as clock,
        scene("emg-clock", {"vm0": domain(0, "vnet0")}, started=False) as running,
    ):
        running.daemon.start(prefix)
        running.lab.guest("vm0", tap="vnet0", bridge="br0")
        running.wait_until_known(vnet0=0)
        yield Stage(running.lab, running.daemon, clock)


@pytest.fixture
def stage(module_stage: Stage) -> Iterator[Stage]:
    module_stage.daemon.write_domain("vm0", domain(0, "vnet0"))
    hostname = Identity.of(0).hostname.encode()
    eventually(lambda: hostname in module_stage.guest.get(META_DATA).body, AT_ONCE)
    yield module_stage
    module_stage.jump(0)


def token(guest: Guest, seconds: int) -> dict[str, str]:
    """Get a session token, and return it as a header field."""
    answer = guest.get(
        "/latest/api/token", method="PUT", headers={"X-aws-ec2-metadata-token-ttl-seconds": str(seconds)}
    )
    assert answer.status == 200
    return {"X-aws-ec2-metadata-token": answer.body.decode()}


def statuses(guest: Guest, headers: dict[str, str]) -> set[int]:
    """Return the statuses of two requests of *guest* with *headers*."""
    return {guest.get(META_DATA, headers=headers).status for _ in range(2)}


def is_answered(guest: Guest) -> bool:
    with contextlib.suppress(OSError):
        return guest.get(META_DATA, timeout=0.2).status == 200
    return False


def date_of(guest: Guest) -> datetime.datetime:
    return email.utils.parsedate_to_datetime(guest.get(META_DATA).headers["date"])


@pytest.mark.parametrize("jump", JUMPS)
def test_nothing_ends_early_or_late_when_the_clock_jumps(stage: Stage, jump: str) -> None:
    guest = stage.guest
    stage.daemon.write_domain("vm0", domain(0, "vnet0", tokens="required"))
    eventually(lambda: guest.get(META_DATA).status == 401, AT_ONCE)
    began = time.monotonic()
    tokens = {2: [token(guest, 2)], 600: [token(guest, 600)]}
    with KeepAlive(guest) as connection:
        for ahead in JUMPS[jump]:
            assert connection.get(META_DATA).status == 401
            stage.jump(ahead)
            # Otherwise the rest would show nothing: this is the time that workers read.
            assert abs(date_of(guest).timestamp() - stage.now()) < 3
            assert {status for of in tokens.values() for each in of for status in statuses(guest, each)} == {200}
            assert connection.get(META_DATA).status == 401  # the idle connection is not taken to have waited for years
            for seconds, of in tokens.items():
                of.append(token(guest, seconds))
    assert time.monotonic() < began + 2, "this machine is too busy to show it"
    stage.jump(0)
    time.sleep(2.1)
    # No token outlives its time, whichever clock it was issued by.
    assert [statuses(guest, each) for each in tokens[2]] == [{401}] * 3
    assert [statuses(guest, each) for each in tokens[600]] == [{200}] * 3


@pytest.mark.parametrize("jump", JUMPS)
def test_changes_take_effect_at_once_after_a_jump(stage: Stage, jump: str) -> None:
    guest = stage.guest
    for ahead in JUMPS[jump]:
        stage.jump(ahead)
        stage.daemon.write_domain("vm0", domain(0, "vnet0", hostname=f"name{ahead}"))
        eventually(lambda ahead=ahead: f'"name{ahead}"'.encode() in guest.get(META_DATA).body, AT_ONCE)  # type: ignore[misc]
    guest.unplug()
    guest.plug("vnet0")
    eventually(lambda: is_answered(guest), 2)
    (worker,) = stage.daemon.status()["workers"]
    os.kill(worker["pid"], signal.SIGKILL)
    eventually(lambda: is_answered(guest), 5)
    assert stage.daemon.status()["workers"] != [worker]
    assert stage.daemon.problems() == []
    assert "Traceback" not in stage.daemon.log.read_text()


@pytest.mark.parametrize("jump", JUMPS)
def test_commands_show_times_by_the_current_clock(stage: Stage, jump: str) -> None:
    """What happened before the jump is shown as the same number of seconds ago."""
    for ahead in JUMPS[jump]:
        stage.guest.get(META_DATA)
        stage.jump(ahead)
    eventually(lambda: stage.status_of("vnet0")["asked"], 2)
    for asked in stage.status_of("vnet0")["asked"]:
        assert stage.now() - 300 < asked["first"] <= asked["last"] <= stage.now() + 1
    for seen in filter(None, stage.status_of("vnet0")["seen"].values()):
        assert stage.now() - 300 < seen["first"] <= seen["last"] <= stage.now() + 1
    (timeline,) = stage.asked("timeline", "vnet0")
    moments = [moment["after"] for moment in timeline["moments"]]
    assert moments == sorted(moments)
    assert 0 <= moments[0] <= moments[-1] < 300
    stage.guest.unplug()
    stage.guest.plug("vnet0")
    stage.wait_until_known(vnet0=0)
    *_, latest = stage.asked("events")
    assert abs(datetime.datetime.fromisoformat(latest["time"].replace("Z", "+00:00")).timestamp() - stage.now()) < 5


def test_a_clock_that_was_never_set_lists_no_versions_but_serves_them(stage: Stage) -> None:
    """nova lists no version of the future; a client that finds none that it knows reads "latest"."""
    stage.jump(-26 * YEAR)
    assert stage.guest.get("/openstack").body == b"latest"
    for version in ("latest", "2018-08-27"):
        assert json.loads(stage.guest.get(f"/openstack/{version}/meta_data.json").body)["name"] == "vm0"
