"""The lab's VM: its Vagrantfile is valid. test_install.py runs what the Vagrantfile runs in the VM."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness import ROOT

VAGRANT = ROOT / "vagrant"


def test_the_vagrantfile_is_ruby() -> None:
    done = subprocess.run(["ruby", "-c", VAGRANT / "Vagrantfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "Syntax OK\n"), done.stderr


@pytest.mark.skipif(shutil.which("vagrant") is None, reason="vagrant is not installed")
def test_vagrant_accepts_the_vagrantfile(tmp_path: Path) -> None:
    for name in ("Vagrantfile", "provision.sh"):
        shutil.copy(VAGRANT / name, tmp_path / name)
    # Without asking whether this machine has libvirt or VirtualBox.
    command = ["vagrant", "validate", "--ignore-provider"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "VAGRANT_CWD": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_scripts_that_the_vagrantfile_names_exist() -> None:
    text = (VAGRANT / "Vagrantfile").read_text() + (VAGRANT / "provision.sh").read_text()
    assert (VAGRANT / "provision.sh").stat().st_mode & 0o111
    named = set(re.findall(r"scripts/[a-z]+", text))
    assert named == {"scripts/bootstrap", "scripts/install", "scripts/lab", "scripts/test"}
    assert all((ROOT / name).is_file() for name in named)
