"""Fixtures: the Debian package, and a host to install it on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import SCRIPTS
from harness.clean_root import clean_root
from harness.guests import Lab
from harness.machine import Machine

NAME = "emg-host"


@pytest.fixture(scope="session")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, as scripts/package makes it."""
    out = tmp_path_factory.mktemp("deb")
    done = subprocess.run([SCRIPTS / "package", out], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = out.iterdir()
    assert done.stdout == f"package: made {made}\n"
    return made


@pytest.fixture(scope="session")
def root(deb: Path) -> Path:
    """A clean root file system with the package's dependencies."""
    shown = subprocess.run(["dpkg-deb", "--field", deb, "Depends"], check=True, capture_output=True, text=True)
    return clean_root(shown.stdout.strip())


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The network of the host on which things are installed."""
    with Lab(NAME) as lab:
        lab.bridge("br0")
        yield lab


@pytest.fixture(scope="module")
def machine(root: Path, lab: Lab) -> Iterator[Machine]:
    """The host, booted."""
    with Machine(root, lab.directory / "machine", lab.host) as machine:
        machine.boot()
        yield machine


@pytest.fixture
def chroot(root: Path, tmp_path: Path) -> Iterator[Machine]:
    """The host, not booted, and with this machine's network."""
    with Machine(root, tmp_path / "machine") as machine:
        yield machine
