"""The folder that is a confined process's whole file system; tests/guest/test_sandbox.py has what else it gives up."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from eve_meta.runtime.sandbox.home import empty_folder
from eve_meta.values.problem import Problem


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o777, 0])
@pytest.mark.parametrize("left_behind", [False, True])
def test_workers_may_enter_the_folder_and_write_nothing(tmp_path: Path, umask: int, left_behind: bool) -> None:
    root = tmp_path / "root"
    if left_behind:
        root.mkdir()
        root.chmod(0o700)
    old = os.umask(umask)
    try:
        with empty_folder(root):
            assert root.stat().st_mode & 0o777 == 0o755
            assert list(root.iterdir()) == []
    finally:
        os.umask(old)
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_code_that_uses_the_folder_passes_through_unchanged(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="something else"), empty_folder(tmp_path / "root"):
        raise OSError("something else")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_made_half_way_is_removed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a signal ends the daemon just then."""
    chmod = Path.chmod

    def interrupted(path: Path, mode: int) -> None:
        chmod(path, mode)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "chmod", interrupted)
    with pytest.raises(KeyboardInterrupt), empty_folder(tmp_path / "root"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_path_where_no_folder_can_be_made_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Problem, match=r"cannot make .*/file/root: "), empty_folder(tmp_path / "file" / "root"):
        pass
