"""Whose mounts the daemon uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from eve_meta.steering import mounts
from eve_meta.steering.mounts import OWN, Mounts, mounts_of_host
from eve_meta.values.problem import Problem


@pytest.fixture
def init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Process 1, which is this process's parent and has other mounts."""
    (tmp_path / "ns").mkdir()
    (tmp_path / "ns/mnt").touch()
    monkeypatch.setattr(mounts, "INIT", tmp_path)
    monkeypatch.setattr(os, "getppid", lambda: 1)
    return tmp_path


def test_a_service_of_process_1_with_other_mounts_uses_those_of_process_1(init: Path) -> None:
    found = mounts_of_host(managed=True)
    assert found == Mounts(init)
    assert found.find(Path("/run/netns/a")) == init / "root/run/netns/a"


def test_a_service_with_the_mounts_of_process_1_uses_its_own(init: Path) -> None:
    (init / "ns/mnt").unlink()
    (init / "ns/mnt").symlink_to("/proc/self/ns/mnt")
    assert mounts_of_host(managed=True) == OWN
    assert OWN.find(Path("/run/netns/a")) == Path("/run/netns/a")


def test_whoever_is_no_service_of_process_1_uses_its_own(init: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mounts_of_host(managed=False) == OWN
    monkeypatch.setattr(os, "getppid", lambda: 2)
    assert mounts_of_host(managed=True) == OWN


def test_a_process_1_that_cannot_be_looked_at_is_a_problem(init: Path) -> None:
    (init / "ns/mnt").unlink()
    (init / "ns/mnt").symlink_to("mnt")
    with pytest.raises(
        Problem, match=r"^cannot look at the mounts of process 1: .*; does the unit grant CAP_SYS_PTRACE"
    ):
        mounts_of_host(managed=True)
