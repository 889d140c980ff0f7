"""What the kernel tests share: the programs, loaded and pinned."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eve_meta.steering.loader import unpin


@pytest.fixture(scope="session")
def bpffs() -> Iterator[Path]:
    """The BPF file system, mounted as long as the tests last where it is not."""
    path = Path("/sys/fs/bpf")
    mounted = path.is_mount()
    if not mounted:
        subprocess.run(["mount", "-t", "bpf", "bpf", str(path)], check=True)
    yield path
    if not mounted:
        subprocess.run(["umount", str(path)], check=True)


@pytest.fixture(scope="session")
def pins(bpffs: Path) -> Iterator[Path]:
    """Where the programs and maps of a fresh load are pinned."""
    pins = bpffs / f"emtest-{os.getpid()}"
    pins.mkdir()
    try:
        subprocess.run([sys.executable, "-m", "eve_meta.steering.loader", str(pins)], check=True)
        yield pins
    finally:
        unpin(pins)
        pins.rmdir()
