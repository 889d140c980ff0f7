"""The fixtures of the kernel tests: the programs, loaded and pinned."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.steer import Steer, loaded_pins


@pytest.fixture(scope="session")
def bpffs() -> Iterator[Path]:
    """The BPF file system; where it is not mounted, it is mounted for as long as the tests run."""
    path = Path("/sys/fs/bpf")
    mounted = path.is_mount()
    if not mounted:
        subprocess.run(["mount", "-t", "bpf", "bpf", str(path)], check=True)
    yield path
    if not mounted:
        subprocess.run(["umount", str(path)], check=True)


@pytest.fixture(scope="session")
def pins(bpffs: Path) -> Iterator[Path]:
    """The directory in which the programs and maps of a fresh load are pinned."""
    with loaded_pins(bpffs) as pins:
        yield pins


@pytest.fixture(scope="module")
def loaded(pins: Path) -> Iterator[Steer]:
    """The programs of a module's tests, each of which begins with :meth:`Steer.reset`."""
    with contextlib.closing(Steer(pins)) as steer:
        yield steer
