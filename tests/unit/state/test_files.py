"""Files of the state directory: on a full disk, after a daemon died while it wrote, and beside other users."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eve_meta.state import files
from eve_meta.values.problem import Problem


def fail(number: int) -> Callable[..., Any]:
    """Make a system call that fails with the error *number*."""

    def call(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        files.write(tmp_path / "a", b"secret\0")
    finally:
        os.umask(before)
    assert (tmp_path / "a").read_bytes() == b"secret\0"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("call", ["fsync", "open"])
@pytest.mark.parametrize("before", [None, b"before"])
def test_a_full_disk_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, before: bytes | None
) -> None:
    path = tmp_path / "a"
    if before is not None:
        files.write(path, before)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail(errno.ENOSPC))
        with pytest.raises(OSError, match="No space left"):
            files.write(path, b"after")
    assert names(tmp_path) == ([] if before is None else ["a"])
    files.write(path, b"after")
    assert path.read_bytes() == b"after"


def test_an_unfinished_file_of_a_killed_daemon_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / f"a{files.UNFINISHED}").write_bytes(b"half a secret, and longer than the next")
    files.write(tmp_path / "a", b"whole")
    assert (names(tmp_path), (tmp_path / "a").read_bytes()) == (["a"], b"whole")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"precious")
    (tmp_path / f"a{files.UNFINISHED}").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic links"):
        files.write(tmp_path / "a", b"x")
    assert (tmp_path / "target").read_bytes() == b"precious"


def test_the_directory_entry_is_synced_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    files.write(tmp_path / "a", b"x")
    files.remove(tmp_path / "a")
    assert synced == [str(tmp_path / f"a{files.UNFINISHED}"), str(tmp_path), str(tmp_path)]


def test_a_missing_file_can_be_removed(tmp_path: Path) -> None:
    files.remove(tmp_path / "a")


def test_a_directory_is_made_for_root_alone_and_an_existing_one_kept(tmp_path: Path) -> None:
    files.make_directory(tmp_path / "state")
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    (tmp_path / "state").chmod(0o755)  # systemd's StateDirectory=
    files.make_directory(tmp_path / "state")
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o755


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o1777, 0o702])
def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "state"
    path.mkdir()
    path.chmod(mode)
    with pytest.raises(Problem, match=f"others than root may write to the directory {path}"):
        files.make_directory(path)


def test_a_directory_that_cannot_be_made_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Problem, match=r"cannot make the directory .*: File exists"):
        files.make_directory(tmp_path / "file")
    with pytest.raises(Problem, match=r"cannot make the directory .*: No such file or directory"):
        files.make_directory(tmp_path / "missing" / "state")
