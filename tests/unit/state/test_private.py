"""The state directory after a copy, a backup or a chmod that let other users read it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from twisted.internet.defer import succeed
from twisted.logger import ILogObserver, LogEvent, eventAsText, globalLogPublisher
from zope.interface import implementer

from eve_meta.state import tokenkeys
from eve_meta.state.passwords import Passwords
from eve_meta.state.private import open_state
from eve_meta.values.problem import Problem

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")

DOMAIN = UUID("1a831fa7-c50b-4693-a16e-fb8171f1b69e")


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """The lines of the log, as they come."""
    lines: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        lines.append(eventAsText(event, includeTimestamp=False, includeSystem=False))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory as a copy with a umask of 022 leaves it."""
    path = tmp_path / "state"
    (path / "passwords").mkdir(parents=True)
    (path / "token.key").write_bytes(bytes(32))
    (path / "passwords" / str(DOMAIN)).write_text("hunter2")
    for each in (path, *path.rglob("*")):
        each.chmod(0o755 if each.is_dir() else 0o644)
    return path


def modes(state: Path) -> list[int]:
    return [stat.S_IMODE(each.stat().st_mode) for each in (state, *sorted(state.rglob("*")))]


def passwords(state: Path) -> Passwords:
    return Passwords(state, lambda _: succeed(None), lambda: 0.0)


def test_what_every_user_could_read_is_private_from_then_on_and_logged_once(state: Path, warnings: list[str]) -> None:
    open_state(state)
    assert modes(state) == [0o700, 0o700, 0o600, 0o600]
    (line,) = warnings
    assert line.startswith(f"other users were allowed to read {state}, {state}/token.key, {state}/passwords, ")
    open_state(state)
    assert len(warnings) == 1
    assert (tokenkeys.load(state).secret, passwords(state).get(DOMAIN)) == (bytes(32), "hunter2")


def test_a_new_directory_is_private_and_not_worth_a_line(tmp_path: Path, warnings: list[str]) -> None:
    before = os.umask(0)
    try:
        open_state(tmp_path / "state")
    finally:
        os.umask(before)
    assert (modes(tmp_path / "state"), warnings) == ([0o700], [])


def test_a_directory_that_others_use_too_keeps_its_mode(state: Path) -> None:
    (state / "of somebody else").touch(0o644)
    open_state(state)
    assert modes(state) == [0o755, 0o644, 0o700, 0o600, 0o600]


def test_a_state_directory_may_be_a_link_and_a_file_in_it_may_not(state: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.touch(0o644)
    (state / "token.key").unlink()
    (state / "token.key").symlink_to(outside)
    (tmp_path / "link").symlink_to(state)
    open_state(tmp_path / "link")
    assert (stat.S_IMODE(state.stat().st_mode), stat.S_IMODE(outside.stat().st_mode)) == (0o700, 0o644)


@ROOT_ONLY
def test_a_secret_of_another_user_is_refused(state: Path) -> None:
    os.chown(state / "token.key", 65534, -1)
    open_state(state)
    with pytest.raises(Problem, match=r"expected a file of root's, got one of uid 65534: remove it"):
        tokenkeys.load(state)


def test_passwords_that_others_may_have_written_are_ignored(state: Path, warnings: list[str]) -> None:
    (state / "passwords" / str(DOMAIN)).chmod(0o666)
    open_state(state)
    assert passwords(state).get(DOMAIN) is None
    assert warnings[-1].endswith("others than root own it or may write to it; it is ignored")


def test_a_directory_of_passwords_to_which_others_may_write_is_refused(state: Path) -> None:
    (state / "passwords").chmod(0o777)
    with pytest.raises(Problem, match=f"others than root may write to the directory {state}/passwords"):
        open_state(state)
