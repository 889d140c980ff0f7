"""Fixtures of the tests of VMM processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.inventory.fakeproc import FakeProc


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    """A procfs of files."""
    return FakeProc(tmp_path)
