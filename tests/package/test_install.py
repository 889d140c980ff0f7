"""scripts/install on a clean host; and its refusal where the package is installed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.clean_host import copy_checkout, reach_network
from harness.machine import Machine

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def checkout(chroot: Machine) -> Path:
    """A checkout on the host."""
    copy_checkout(chroot.root / "root/eve-meta")
    return Path("/root/eve-meta")


@pytest.fixture
def run(chroot: Machine) -> Run:
    environment = reach_network(chroot.root) | {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}

    def run_there(*command: str | Path) -> subprocess.CompletedProcess[str]:
        return chroot.chroot(*command, env=environment)

    return run_there


def everything(chroot: Machine) -> set[str]:
    shown = subprocess.run(
        ["find", chroot.root, "-xdev", "-printf", "%P\\n"], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    return {
        path
        for path in shown
        if not path.startswith(("var/", "run/", "root/", "tmp/", "etc/apt", "usr/share", "etc/ssl"))
    }


def test_the_script_installs_what_works_and_removes_it(chroot: Machine, checkout: Path, run: Run) -> None:
    # The packages that it would install come first, as into the lab's VM: their files are not its to remove.
    done = run(checkout / "vagrant/provision.sh", checkout, "--host")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "provision: ready." in done.stdout
    before = everything(chroot)
    for _ in range(2):  # the second time as an upgrade
        done = run(checkout / "scripts/install")
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.endswith("see 'eve-meta doctor', then: systemctl enable --now eve-meta\n")
        if not (chroot.root / "etc/eve-meta/domains.d/a.yaml").exists():
            assert run("eve-meta", "new", "a").returncode == 0
    assert run("eve-meta", "--version").stdout.startswith("eve-meta ")
    assert run("eve-meta", "check").stdout == "1 file, 1 good, 0 problems\n"
    assert run("getent", "group", "eve-meta-admin").stdout.startswith("eve-meta-admin:")
    # The BPF sources are where the loader searches for them.
    where = "from eve_meta.steering.bpf.loader import source_directory; print(source_directory())"
    shown = run("/usr/local/lib/eve-meta/bin/python3", "-I", "-c", where)
    assert shown.stdout == "/usr/local/lib/eve-meta/share/eve-meta/bpf\n"
    assert run("systemd-analyze", "verify", "--man=no", "eve-meta.service").stderr.count("eve-meta") == 0
    for page in ("man8/eve-meta.8", "man5/eve-meta-domain.5", "man5/eve-meta.toml.5"):
        assert (chroot.root / "usr/local/share/man" / page).read_text().startswith('.\\" Made by')
    done = run(checkout / "scripts/install", "--remove")
    assert done.returncode == 0, done.stderr
    left = everything(chroot) - before
    assert left == {
        *("etc/eve-meta", "etc/eve-meta/eve-meta.toml", "etc/eve-meta/domains.d", "etc/eve-meta/domains.d/a.yaml"),
        *("usr/local/lib/sysusers.d", "usr/local/lib/tmpfiles.d"),
        *("usr/local/share/man/man5", "usr/local/share/man/man8"),
        *("usr/local/share/bash-completion", "usr/local/share/bash-completion/completions", "usr/local/share/doc"),
        *("usr/local/share/fish", "usr/local/share/fish/vendor_completions.d"),
        *("usr/local/share/zsh", "usr/local/share/zsh/site-functions"),
        "etc/eve-meta/profiles.d",
    }


def test_the_script_refuses_to_install_beside_the_package(chroot: Machine, checkout: Path, run: Run) -> None:
    status = chroot.root / "var/lib/dpkg/status"
    status.write_text(
        status.read_text() + "\nPackage: eve-meta\nStatus: install ok installed\nMaintainer: x <x@localhost>\n"
        "Architecture: all\nVersion: 1\nDescription: x\n"
    )
    done = run(checkout / "scripts/install")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the package eve-meta is installed" in done.stderr
