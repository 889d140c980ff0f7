"""Host keys across restarts, on a full disk, and in broken files; and who can exchange those of a guest."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from eve_meta.state import files
from eve_meta.state.host_keys import DIRECTORY, FAILURE_LOG_EVERY, RETRY_TIME, HostKeys, KeptKeys
from eve_meta.values.host_key import read_host_key

DOMAIN, OTHER, INSTANCE, NEXT = (UUID(int=number) for number in range(1, 5))

ED25519 = read_host_key("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJKOEWEDN3K5WzKNk4Q5Ql1ZFgGQxNQ3Cw0u2mT9yZ9s")
FORGED = read_host_key("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJKOEWEDN3K5WzKNk4Q5Ql1ZFgGQxNQ3Cw0u2mT9yZ9t")

KEPT = KeptKeys(instance=INSTANCE, at=1_700_000_000.25, keys=(ED25519,))


class Disk:
    """A disk that works when the test calls :meth:`turn`, and a clock."""

    def __init__(self, state: Path) -> None:
        self.clock = Clock()
        self._waiting: list[tuple[Callable[[], Any], Deferred[Any]]] = []
        self.state = state
        self.keys = self.restarted()

    def run(self, function: Callable[[], Any]) -> Deferred[Any]:
        self._waiting.append((function, Deferred()))
        return self._waiting[-1][1]

    def restarted(self) -> HostKeys:
        """Return what a daemon that starts now has."""
        return HostKeys(self.state, self.run, self.clock.seconds)

    def turn(self) -> int:
        """Do all work that waits, and return how much it was."""
        (waiting, self._waiting) = (self._waiting, [])
        for function, done in waiting:
            try:
                result = function()
            except Exception:
                done.errback()
            else:
                done.callback(result)
        return len(waiting)

    def all(self) -> dict[UUID, KeptKeys]:
        found: list[dict[UUID, KeptKeys]] = []
        self.restarted().all().addCallback(found.append)
        self.turn()
        return found[0]


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def test_keys_outlive_the_daemon_in_files_of_roots(disk: Disk) -> None:
    disk.keys.keep(DOMAIN, KEPT)
    assert disk.all() == {DOMAIN: KEPT}
    (path,) = (disk.state / DIRECTORY).iterdir()
    assert (path.name, stat.S_IMODE(path.stat().st_mode)) == (str(DOMAIN), 0o600)


def test_the_first_keys_of_an_instance_stay_whoever_sends_others(disk: Disk) -> None:
    forged = evolve(KEPT, at=KEPT.at + 1, keys=(FORGED,))
    disk.keys.keep(DOMAIN, KEPT)
    disk.keys.keep(DOMAIN, forged)  # before the first are on the disk
    disk.turn()
    disk.keys.keep(DOMAIN, forged)
    assert disk.turn() == 0  # a guest that phones home without end costs no work of the disk
    disk.restarted().keep(DOMAIN, forged)
    disk.turn()
    assert disk.all() == {DOMAIN: KEPT}


def test_keys_of_a_new_instance_replace_those_of_the_one_before(disk: Disk) -> None:
    disk.keys.keep(DOMAIN, KEPT)
    disk.keys.keep(OTHER, KEPT)
    disk.turn()
    renewed = evolve(KEPT, instance=NEXT, keys=(FORGED,))
    disk.keys.keep(DOMAIN, renewed)
    disk.turn()
    assert disk.all() == {DOMAIN: renewed, OTHER: KEPT}


def test_a_full_disk_is_tried_again_seldom_and_logged_more_seldom(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as full, capturedLogs() as logged:
        full.setattr(files, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        for _ in range(10):
            disk.keys.keep(DOMAIN, KEPT)
            disk.turn()
            disk.keys.keep(OTHER, KEPT)
            assert disk.turn() == 0
            disk.clock.advance(RETRY_TIME)
    assert len(logged) == 1
    disk.clock.advance(FAILURE_LOG_EVERY)
    disk.keys.keep(DOMAIN, KEPT)
    assert disk.all() == {DOMAIN: KEPT}


@pytest.mark.parametrize(
    "content",
    ["", "null", "[]", "[" * 8000, "{}", '{"instance": 1, "at": 2, "keys": 3}', "\0", '{"keys": ["* ssh-rsa AAAA"]}'],
)
def test_a_broken_file_hides_no_other_and_is_replaced(disk: Disk, content: str) -> None:
    disk.keys.keep(OTHER, KEPT)
    disk.turn()
    (disk.state / DIRECTORY / str(DOMAIN)).write_text(content)
    (disk.state / DIRECTORY / f"{DOMAIN}.new").write_text("half")
    with capturedLogs() as logged:
        found: list[Any] = []
        for _ in range(3):
            disk.keys.all().addCallback(found.append)
            disk.turn()
        assert found == [{OTHER: KEPT}] * 3
    assert len(logged) == 1
    disk.keys.keep(DOMAIN, KEPT)
    assert disk.all() == {DOMAIN: KEPT, OTHER: KEPT}


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_to_which_others_may_write_does_not_count(disk: Disk, mode: int) -> None:
    disk.keys.keep(DOMAIN, KEPT)
    disk.turn()
    os.chmod(disk.state / DIRECTORY / str(DOMAIN), mode)
    assert disk.all() == {}
