"""Passwords across restarts, on a full or slow disk, and in broken files."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from eve_meta.state import files
from eve_meta.state.passwords import DIRECTORY, FAILURE_LOG_EVERY, Passwords
from eve_meta.values.problem import Problem
from eve_meta.wire.password import MAX_PASSWORD, Outcome

DOMAIN, OTHER = UUID(int=1), UUID(int=2)


class Disk:
    """A disk that makes changes when the test calls :meth:`turn`, and a clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self._waiting: list[tuple[Callable[[], None], Deferred[None]]] = []

    def run(self, change: Callable[[], None]) -> Deferred[None]:
        self._waiting.append((change, Deferred()))
        return self._waiting[-1][1]

    def turn(self) -> int:
        """Make all changes that wait, and return their number."""
        (waiting, self._waiting) = (self._waiting, [])
        for change, done in waiting:
            try:
                change()
            except Exception:
                done.errback()
            else:
                done.callback(None)
        return len(waiting)

    def passwords(self, state: Path) -> Passwords:
        """Return the passwords in *state*, on this disk."""
        return Passwords(state, self.run, self.clock.seconds)


@pytest.fixture
def disk() -> Disk:
    """A disk whose changes wait for the test."""
    return Disk()


def outcome(of: Deferred[Outcome]) -> Outcome | None:
    """Return the outcome, None where it is not known yet."""
    outcomes: list[Outcome] = []

    def note(result: Outcome) -> Outcome:
        outcomes.append(result)
        return result

    of.addCallback(note)
    return outcomes[0] if outcomes else None


def set_password(disk: Disk, passwords: Passwords, domain: UUID, text: str) -> Outcome | None:
    """Set a password and return the outcome."""
    result = passwords.set(domain, text)
    disk.turn()
    return outcome(result)


def test_a_password_is_stored_when_it_is_on_the_disk(disk: Disk, tmp_path: Path) -> None:
    passwords = disk.passwords(tmp_path)
    result = passwords.set(DOMAIN, "pässword\n")
    assert (outcome(result), passwords.get(DOMAIN)) == (None, None)
    disk.turn()
    assert (outcome(result), passwords.get(DOMAIN)) == (Outcome.STORED, "pässword\n")
    path = tmp_path / DIRECTORY / str(DOMAIN)
    assert path.read_bytes() == "pässword\n".encode()
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent)] == [0o600, 0o700]
    assert passwords.get(OTHER) is None


def test_a_password_survives_the_daemon(disk: Disk, tmp_path: Path) -> None:
    set_password(disk, disk.passwords(tmp_path), DOMAIN, "x" * MAX_PASSWORD)
    again = disk.passwords(tmp_path)
    assert again.get(DOMAIN) == "x" * MAX_PASSWORD
    assert set_password(disk, again, DOMAIN, "other") is Outcome.ALREADY_SET


def test_a_password_is_set_once(disk: Disk, tmp_path: Path) -> None:
    passwords = disk.passwords(tmp_path)
    first = passwords.set(DOMAIN, "first")
    assert outcome(passwords.set(DOMAIN, "second")) is Outcome.FAILED  # nobody knows yet whether the first one will be
    assert disk.turn() == 1
    assert outcome(first) is Outcome.STORED
    assert set_password(disk, passwords, DOMAIN, "third") is Outcome.ALREADY_SET
    assert passwords.get(DOMAIN) == "first"


def test_a_cleared_password_can_be_set_again(disk: Disk, tmp_path: Path) -> None:
    passwords = disk.passwords(tmp_path)
    passwords.clear(DOMAIN)
    disk.turn()
    set_password(disk, passwords, DOMAIN, "first")
    passwords.clear(DOMAIN)
    disk.turn()
    assert passwords.get(DOMAIN) is None
    assert disk.passwords(tmp_path).get(DOMAIN) is None
    assert set_password(disk, passwords, DOMAIN, "second") is Outcome.STORED


def test_a_password_cannot_be_cleared_while_it_is_being_set(disk: Disk, tmp_path: Path) -> None:
    passwords = disk.passwords(tmp_path)
    passwords.set(DOMAIN, "first")
    with pytest.raises(Problem, match="try again"):
        passwords.clear(DOMAIN)


def test_a_full_disk_costs_one_log_line_a_minute_and_stores_nothing(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords = disk.passwords(tmp_path)

    def full(_path: Path, _content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, capturedLogs() as logged:
        patch.setattr(files, "write", full)
        for _ in range(100):
            assert set_password(disk, passwords, DOMAIN, "secret") is Outcome.FAILED
        assert [event["error"] for event in logged] == ["No space left on device"]
        assert "secret" not in str(logged)
        disk.clock.advance(FAILURE_LOG_EVERY)
        set_password(disk, passwords, DOMAIN, "secret")
        assert len(logged) == 2
    assert passwords.get(DOMAIN) is None
    assert set_password(disk, passwords, DOMAIN, "secret") is Outcome.STORED


def test_a_password_that_cannot_be_removed_stays(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = disk.passwords(tmp_path)
    set_password(disk, passwords, DOMAIN, "first")

    def read_only(_path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(files, "remove", read_only)
    problems: list[str] = []
    passwords.clear(DOMAIN).addErrback(lambda failure: problems.append(str(failure.value)))
    disk.turn()
    assert problems == ["the password cannot be removed: [Errno 30] Read-only file system"]
    assert passwords.get(DOMAIN) == "first"


def test_broken_files_are_logged_and_do_no_harm_to_other_passwords(disk: Disk, tmp_path: Path) -> None:
    set_password(disk, disk.passwords(tmp_path), DOMAIN, "good")
    directory = tmp_path / DIRECTORY
    (directory / str(OTHER)).write_bytes(b"\xff")
    (directory / str(UUID(int=3))).write_bytes(b"x" * (MAX_PASSWORD + 1))
    (directory / str(UUID(int=4))).touch()
    (directory / "notes.txt").write_text("remember the milk")
    (directory / f"{UUID(int=5)}{files.UNFINISHED}").write_bytes(b"half")
    with capturedLogs() as logged:
        passwords = disk.passwords(tmp_path)
    assert len(logged) == 4
    assert [passwords.get(UUID(int=number)) for number in range(1, 6)] == ["good", None, None, None, None]
    assert not (directory / f"{UUID(int=5)}{files.UNFINISHED}").exists()
    assert set_password(disk, passwords, OTHER, "anew") is Outcome.STORED


def test_a_file_in_place_of_the_directory_is_a_problem(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / DIRECTORY).touch()
    with pytest.raises(Problem, match="cannot make the directory"):
        disk.passwords(tmp_path)
