"""Which directories a daemon makes, keeps from others, and leaves behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from eve_meta.daemon.directories import held, run_directory
from eve_meta.values.problem import Problem


def test_a_directory_is_held_by_one_daemon_at_a_time(tmp_path: Path) -> None:
    with held(tmp_path, "state"):
        with pytest.raises(Problem) as raised, held(tmp_path, "state"):
            pass
        assert str(raised.value) == (
            f"another eve-meta runs with the directory {tmp_path}: stop it, or give this one another [paths] state"
        )
    with held(tmp_path, "state"):
        pass


def test_workers_may_pass_through_the_run_directory_and_it_is_removed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    old = os.umask(0o077)  # the daemon's
    try:
        with run_directory(run):
            assert run.stat().st_mode & 0o777 == 0o711
    finally:
        os.umask(old)
    assert list(tmp_path.iterdir()) == []


def test_a_run_directory_that_exists_is_used_and_stays_where_something_lies_in_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with run_directory(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_second_daemon_leaves_the_run_directory_of_the_first(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with run_directory(run):
        with pytest.raises(Problem, match=r"another \[paths\] run"), run_directory(run):
            pass
        assert run.is_dir()


def test_a_path_where_no_directory_can_be_made_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(Problem, match=r"cannot make the directory .*/file/run: Not a directory"),
        run_directory(tmp_path / "file" / "run"),
    ):
        pass
