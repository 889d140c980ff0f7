"""How the lab's VMs are judged, without booting any."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness import mmdebstrap, vm_image
from harness.guests import LabError
from harness.vm_plans import FIRST, SECOND, Boot, differences

ALDER, BIRCH = FIRST
CEDAR, DOGWOOD = SECOND

BEGINS = "Cloud-init v. 22.4.2 running 'init-local' at Sun, 22 Nov 2026 11:44:23 +0000. Up 67.1 seconds.\r\n"

ENDS = (
    "Cloud-init v. 22.4.2 finished at Sun, 22 Nov 2026 11:46:43 +0000. Datasource DataSource{}.  Up 206.91 seconds\r\n"
)

CONSOLE = """\
[   68.923899] cloud-init[238]: {begins}\
[  112.622098] cloud-init[296]: ci-info: |  ens2  | True |          10.0.0.5         | 255.255.255.0 | global |\r
[  112.632983] cloud-init[296]: ci-info: |  ens2  | True | fe80::f816:3eff:fe00:1/64 |       .       |  link  |\r
[  112.637999] cloud-init[296]: ci-info: |   lo   | True |         127.0.0.1         |   255.0.0.0   |  host  |\r
[  205.724981] cloud-init[365]: lab-vm user data: of alder\r
[  205.724981] cloud-init[365]: lab-vm hostname: alder\r
[  205.724981] cloud-init[365]: lab-vm key: {key}\r
"""


def alders(datasource: str = "OpenStackLocal [net,ver=2]", key: str = ALDER.served.key) -> Boot:
    return Boot.read(CONSOLE.format(begins=BEGINS, key=key) + ENDS.format(datasource))


@pytest.mark.parametrize("datasource", ["OpenStackLocal [net,ver=2]", "OpenStack [net,ver=2]"])
def test_a_boot_as_oneself(datasource: str) -> None:
    boot = alders(datasource)
    assert differences(ALDER, boot) == []
    assert boot.stages == {"init-local": 67.1, "finished": 206.91}


def test_a_boot_as_somebody_else() -> None:
    assert [line.partition(":")[0] for line in differences(BIRCH, alders())] == ["hostname", "keys", "user_data"]
    assert [line.partition(":")[0] for line in differences(ALDER, alders(key=BIRCH.served.key))] == ["keys"]


@pytest.mark.parametrize("datasource", ["None", "NoCloud [seed=/dev/vdb][dsmode=net]", "OpenStackish [net,ver=2]"])
def test_a_boot_by_another_datasource(datasource: str) -> None:
    (line,) = differences(ALDER, alders(datasource))
    assert line.startswith("datasource: expected OpenStack, got 'DataSource")


def test_a_boot_that_found_what_it_must_not() -> None:
    assert differences(DOGWOOD, alders("None"))
    assert differences(CEDAR, alders("NoCloud [seed=/dev/vdb][dsmode=net]"))


def test_a_boot_is_not_over_before_cloud_inits_last_line() -> None:
    boot = Boot.read(CONSOLE.format(begins=BEGINS, key=ALDER.served.key))
    assert boot.datasource is None
    assert boot.address == "10.0.0.5"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache is in a folder of the test's, and the programs are in ``bin`` beside it."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "sleep", "touch", "truncate", "mkdir", "apt-get", "apt-config"):
        if (path := shutil.which(name)) is not None:
            (programs / name).symlink_to(path)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr(mmdebstrap, "CACHE", tmp_path / "cache")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    return tmp_path / "cache"


def program(cache: Path, name: str, script: str) -> None:
    path = cache.parent / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_an_image_whose_build_fails_leaves_nothing(cache: Path) -> None:
    program(cache, "unshare", "echo E: no such mirror; exit 25")
    with pytest.raises(LabError, match=r"does the network work, and apt-get update.*E: no such mirror"):
        vm_image.image()
    assert list(cache.iterdir()) == []


def test_an_image_whose_build_is_interrupted_half_way_leaves_nothing(cache: Path) -> None:
    # unshare gets the folder to install into as one of its last arguments.
    install = 'mkdir -p "$folder/boot" && touch "$folder/boot/vmlinuz-6" "$folder/boot/initrd.img-6"'
    program(cache, "unshare", f"for folder; do case $folder in */tree) {install} ;; esac; done")
    # It ends at once: Python interrupted between fork and exec would leave it running.
    program(cache, "mkfs.ext4", "kill -INT $PPID")
    with pytest.raises(KeyboardInterrupt):
        vm_image.image()
    assert list(cache.iterdir()) == []


def test_a_package_that_is_missing_is_named(cache: Path) -> None:
    with pytest.raises(LabError, match="unshare is missing: run scripts/bootstrap"):
        vm_image.image()
    assert list(cache.iterdir()) == []
