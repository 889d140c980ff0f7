"""The package on the other Debian: built there with its build dependencies alone, examined, installed and removed.

``test_deb.py`` has the whole of it on this machine's distribution.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.clean_host import copy_checkout, reach_network
from harness.clean_root import build_root, clean_root
from harness.guests import Lab
from harness.machine import Machine
from harness.mmdebstrap import release
from tests.guest.scene import META_DATA, Identity, domain, eventually
from tests.package.packaged import assert_completions, assert_documents, assert_python_packages, install

VERSIONS = {"bookworm": "debian-12", "trixie": "debian-13"}

OTHER = "bookworm" if release("debian") == "trixie" else "trixie"


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A host with the build dependencies, the checkout and this machine's network, not booted."""
    with Machine(build_root(OTHER), tmp_path_factory.mktemp("builder") / "machine") as machine:
        copy_checkout(machine.root / "root/eve-meta")
        yield machine


def run(builder: Machine, *command: str) -> str:
    environment = reach_network(builder.root) | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    done = builder.chroot(*command, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def other_deb(builder: Machine) -> Path:
    run(builder, "apt-get", "-qq", "update")
    run(builder, "/root/eve-meta/scripts/package", "/root/made")
    (made,) = (builder.root / "root/made").iterdir()
    return made


@pytest.fixture(scope="module")
def host(other_deb: Path, builder: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Machine, Lab]]:
    """A clean host, booted, in the network of a lab."""
    depends = run(builder, "dpkg-deb", "--field", f"/root/made/{other_deb.name}", "Depends").strip()
    root = clean_root(depends, OTHER)
    with Lab("emg-other") as lab:
        lab.bridge("br0")
        with Machine(root, tmp_path_factory.mktemp("host") / "machine", lab.host) as machine:
            machine.boot()
            yield machine, lab


def test_lintian_finds_no_error_in_either_package(builder: Machine, other_deb: Path, deb: Path) -> None:
    (builder.root / "root/ours").mkdir()
    (builder.root / "root/ours" / deb.name).write_bytes(deb.read_bytes())
    # Where /lib is a link, units are below /usr/lib; debhelper knows that from Debian 13 on.
    moved = "--suppress-tags=aliased-location"
    for path in (f"/root/ours/{deb.name}", f"/root/made/{other_deb.name}"):
        run(builder, "lintian", "--allow-root", "--fail-on=error", moved, path)


def test_it_serves_a_guest_and_leaves_nothing(host: tuple[Machine, Lab], other_deb: Path) -> None:
    machine, lab = host
    install(machine, other_deb)
    assert machine.run("systemctl", "is-active", "eve-meta").stdout == "active\n"
    (machine.root / "etc/eve-meta/domains.d/vm0.yaml").write_text(json.dumps(domain(0, "vnet0")))
    guest = lab.guest("vm0", tap="vnet0", bridge="br0")
    eventually(lambda: guest.get(META_DATA).status == 200, 20)
    assert Identity.asked_by(guest) == Identity.of(0)
    report = json.loads(machine.run("eve-meta", "doctor", "--json").stdout)
    assert [finding for finding in report["findings"] if finding["state"] != "ok"] == []
    pid = machine.run("systemctl", "show", "--property=MainPID", "--value", "eve-meta").stdout.strip()
    print(machine.run("grep", "VmRSS", f"/proc/{pid}/status").stdout)
    assert_python_packages(machine, VERSIONS[OTHER])
    assert_documents(machine)
    assert_completions(machine)
    machine.run("apt-get", "-y", "purge", "eve-meta")
    assert machine.run("ip", "netns", "list").stdout == ""
    assert machine.run("find", "/etc", "/usr", "/var/lib", "/var/log", "-name", "*eve-meta*").stdout == ""
