"""The folder that is a worker's whole file system; what a worker gives up is tests/guest/test_worker.py's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from eve_meta.supervisor.worker_home import workers_root
from eve_meta.values.problem import Problem


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o777, 0])
@pytest.mark.parametrize("left", [False, True])
def test_workers_may_enter_it_and_write_nothing(tmp_path: Path, umask: int, left: bool) -> None:
    root = tmp_path / "root"
    if left:
        root.mkdir()
        root.chmod(0o700)
    old = os.umask(umask)
    try:
        with workers_root(root):
            assert root.stat().st_mode & 0o777 == 0o755
            assert list(root.iterdir()) == []
    finally:
        os.umask(old)
    assert list(tmp_path.iterdir()) == []


def test_what_goes_wrong_within_is_not_its_to_explain(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="something else"), workers_root(tmp_path / "root"):
        raise OSError("something else")
    assert list(tmp_path.iterdir()) == []


def test_half_of_it_is_removed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the daemon is told to end just then."""
    chmod = Path.chmod

    def told_to_end(path: Path, mode: int) -> None:
        chmod(path, mode)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "chmod", told_to_end)
    with pytest.raises(KeyboardInterrupt), workers_root(tmp_path / "root"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_it_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Problem, match=r"cannot make .*/file/root: "), workers_root(tmp_path / "file" / "root"):
        pass
