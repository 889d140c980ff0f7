"""A guest on a routed tap, with a /32 and a /128, configures itself by what it reads, and keeps the service.

tests/unit/documents/test_renderers.py examines what cloud-init's renderers write. Here systemd-networkd takes what its
renderer wrote. netplan uses networkd, too, and no program is more particular about a router outside of all networks.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import ROOT
from harness.guests import Guest
from tests.guest.scene import META_DATA, Scene, domain, eventually, scene

pytest.importorskip("cloudinit", reason="cloud-init is not installed")

NETWORKD = Path("/lib/systemd/systemd-networkd")

pytestmark = pytest.mark.skipif(not NETWORKD.exists(), reason="systemd-networkd is not installed")

TAP = "vnet1"
MAC = "fa:16:3e:00:00:01"
SUBNETS = [
    {"type": "ipv4", "address": "10.0.0.9/32", "gateway": "169.254.0.1"},
    {"type": "ipv6", "address": "2001:db8::9/128", "gateway": "fe80::1"},
]

ELSEWHERE = ("198.51.100.1", "2001:db8:ffff::1")
"""Addresses to which a default route alone leads."""

# networkd has a /run of its own. It waits for udev where it may write to /sys, as containers may not.
ALONE = f"""\
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/network
cp "$1"/* /run/systemd/network
mount -o remount,bind,ro /sys
exec {NETWORKD}
"""


@pytest.fixture(scope="module")
def routed() -> Iterator[tuple[Scene, Guest]]:
    nic = {"tap": TAP, "mac": MAC, "subnets": SUBNETS}
    with scene("emg-routed", {"vm1": domain(1, None, nics=[nic])}) as stage:
        guest = stage.lab.guest("vm1", tap=TAP, mac=MAC, address="10.0.0.9/32")
        stage.lab.host.ip(
            f"address add 169.254.0.1/32 dev {TAP}",
            f"address add fe80::1/64 dev {TAP} nodad",
            f"route add 10.0.0.9/32 dev {TAP}",
            f"route add 2001:db8::9/128 dev {TAP}",
            *(f"address add {address} dev lo" for address in ELSEWHERE),
        )
        stage.wait_until_known(**{TAP: 1})
        yield stage, guest


def rendered(guest: Guest) -> dict[str, Any]:
    """Return what cloud-init's renderers make of each document that *guest* reads."""
    answers = [guest.get(path) for path in ("/openstack/latest/network_data.json", "/nocloud/network-config")]
    data, config = (json.loads(answer.body) for answer in answers)
    guests = [{"network_data": data, "network_config": config, "macs": {MAC: "eth0"}}]
    command = (sys.executable, "-m", "tests.unit.documents.rendering", "")
    done = subprocess.run(command, input=json.dumps(guests), capture_output=True, text=True, check=True, cwd=ROOT)
    (found,) = json.loads(done.stdout)
    return dict(found)


def reaches(guest: Guest, address: str) -> bool:
    """Return whether somebody at *address* answers *guest*, if only by a refusal."""
    try:
        guest.connect(address, 9, timeout=1).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True


def test_the_default_routes_lead_somewhere_and_the_service_stays(routed: tuple[Scene, Guest], tmp_path: Path) -> None:
    _, guest = routed
    for document, files in rendered(guest).items():
        folder = tmp_path / document
        folder.mkdir()
        for name, content in files["networkd"].items():
            (folder / name).write_text(content)
            (folder / name).chmod(0o644)
        guest.ip("address flush dev eth0", "route flush dev eth0")
        assert not any(reaches(guest, address) for address in ELSEWHERE)
        networkd = guest.popen(
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("sh", "-ec", ALONE, "sh", folder),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            for address in ELSEWHERE:
                eventually(lambda address=address: reaches(guest, address), 10)  # type: ignore[misc]
            assert guest.get(META_DATA).status == 200
        finally:
            networkd.kill()
            networkd.wait()
