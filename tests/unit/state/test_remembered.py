"""What one daemon remembers for the next: until the host boots, and only where root alone wrote it."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from eve_meta.state import remembered as module
from eve_meta.state.remembered import Remembered


def at_once(change: Callable[[], None]) -> Deferred[None]:
    try:
        change()
    except OSError as error:
        return fail(error)
    return succeed(None)


def test_the_next_daemon_reads_what_was_stored(tmp_path: Path) -> None:
    path = tmp_path / "a"
    Remembered(path, at_once).store([1])
    assert Remembered(path, at_once).load() == [1]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_stored_while_a_disk_is_slow_is_stored_afterwards(tmp_path: Path) -> None:
    waiting: list[tuple[Callable[[], None], Deferred[None]]] = []

    def later(change: Callable[[], None]) -> Deferred[None]:
        waiting.append((change, Deferred()))
        return waiting[-1][1]

    remembered = Remembered(tmp_path / "a", later)
    for number in range(3):
        remembered.store([number])
    for _ in range(2):
        change, done = waiting.pop(0)
        change()
        done.callback(None)
    assert (remembered.load(), waiting) == ([2], [])


def test_nothing_is_remembered_over_a_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Remembered(tmp_path / "a", at_once).store([1])
    boot = tmp_path / "boot_id"
    boot.write_text("1a831fa7-c50b-4693-a16e-fb8171f1b69e\n")
    monkeypatch.setattr(module, "BOOT_ID", boot)
    assert Remembered(tmp_path / "a", at_once).load() is None


@pytest.mark.parametrize("content", ["", "[]", "{", '{"boot": 5}', '{"remembered": []}', "\0", "[" * 100_000])
def test_a_broken_file_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "a").write_text(content)
    (tmp_path / "a").chmod(0o600)
    assert Remembered(tmp_path / "a", at_once).load() is None


def test_a_file_to_which_others_may_write_is_none(tmp_path: Path) -> None:
    remembered = Remembered(tmp_path / "a", at_once)
    remembered.store([1])
    (tmp_path / "a").chmod(0o620)
    assert remembered.load() is None


def test_a_disk_that_is_full_is_no_reason_to_stop(tmp_path: Path) -> None:
    remembered: Any = Remembered(tmp_path / "missing" / "a", at_once)
    remembered.store([1])
    (tmp_path / "missing").mkdir()
    remembered.store([2])
    assert remembered.load() == [2]
