"""Debian's cloud-init in guests on a bridge with a gateway, on a bridge with an on-link route, and on a routed tap."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from harness import SCRIPTS
from harness.daemon import EVE_META
from tests.guest.scene import ROUTER, Scene, domain, scene, uuid_of

READER = Path(__file__).with_name("read_by_cloud_init.py")

# Domain number → kind of guest
KINDS = {1: "on the bridge, by its gateway", 2: "on the bridge, by its link", 3: "on a routed tap"}

MINIMAL = 4

BOOT_TIME = 15.0
"""Seconds that cloud-init may take. It asks for 35 documents, each takes a millisecond, and importing it two seconds.
 A document that it cannot read costs 5."""


def key(number: int) -> str:
    return f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{number:043d} vm{number}@lab"


def mac(number: int) -> str:
    return f"fa:16:3e:00:00:{number:02x}"


def full(number: int) -> dict[str, Any]:
    """Return a domain for which cloud-init makes 35 requests: one key, five block devices, two files."""
    subnet = {"type": "ipv4", "address": "10.0.0.5/24", "gateway": ROUTER, "dns": [f"10.0.0.{number}"]}
    devices = {"ami": "vda", "root": "/dev/vda", "ebs0": "/dev/vdb", "ephemeral0": "/dev/vdc", "swap": "/dev/vdd"}
    return domain(
        number,
        None,
        public_keys={f"key{number}": key(number)},
        vendor_data={"cloud-init": f"#cloud-config\n# vendor of vm{number}\n", "other": number},
        vendor_data2={"cloud-init": f"#cloud-config\n# second vendor of vm{number}\n"},
        files=[
            {"path": "/etc/motd", "content": f"welcome to vm{number}\n"},
            {"path": "/etc/number", "content": str(number)},
        ],
        ec2={"block_device_mapping": devices},
        nics=[{"tap": f"vnet{number}", "mac": mac(number), "subnets": [subnet]}],
    )


@frozen
class Boots:
    """What cloud-init found in each guest, by its domain's number."""

    found: dict[int, dict[str, Any]]
    seconds: float
    scene: Scene


@pytest.fixture(scope="module")
def boots() -> Iterator[Boots]:
    domains = {f"vm{number}": full(number) for number in KINDS}
    domains["minimal"] = domain(MINIMAL, f"vnet{MINIMAL}")
    with scene("emg-boot", domains) as stage:
        ways = {1: ("br0", ROUTER), 2: ("br0", None), 3: (None, None), MINIMAL: ("br0", None)}
        guests = {
            number: stage.lab.guest(f"vm{number}", tap=f"vnet{number}", bridge=bridge, gateway=gateway, mac=mac(number))
            for number, (bridge, gateway) in ways.items()
        }
        stage.wait_until_known(**{f"vnet{number}": number for number in ways})
        began = time.monotonic()
        environment = dict(os.environ, PYTHONPATH=str(SCRIPTS))
        running = {
            number: guest.popen(
                EVE_META.with_name("python"),
                READER,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
            for number, guest in guests.items()
        }
        found = {}
        try:
            for number, process in running.items():
                output, errors = process.communicate(timeout=60)
                assert process.returncode == 0, errors
                found[number] = json.loads(output)
        finally:
            for process in running.values():
                process.kill()
        yield Boots(found, time.monotonic() - began, stage)


@pytest.mark.parametrize("number", KINDS, ids=KINDS.values())
def test_cloud_init_finds_its_guests_identity(boots: Boots, number: int) -> None:
    found = boots.found[number]
    plain = full(number)
    config = json.dumps(found.pop("network_config"))
    ec2 = found.pop("ec2_metadata")
    assert found == {
        "datasource": "OpenStack",
        "metadata_address": "http://169.254.169.254",
        "token": False,
        "instance_id": uuid_of(number),
        "hostname": f"vm{number}.example.org",
        "public_keys": [key(number)],
        "user_data_sha256": hashlib.sha256(plain["user_data"].encode()).hexdigest(),
        "vendor_data": plain["vendor_data"],
        "vendor_data2": plain["vendor_data2"],
        "files": {file["path"]: file["content"] for file in plain["files"]},
    }
    assert mac(number) in config
    assert f"10.0.0.{number}" in config  # its name server, which no neighbour has
    assert ec2["hostname"] == f"vm{number}.example.org"
    assert ec2["public-keys"] == {f"key{number}": key(number)}
    assert ec2["block-device-mapping"]["ebs0"] == "/dev/vdb"


def test_a_minimal_domain_boots_too(boots: Boots) -> None:
    found = boots.found[MINIMAL]
    assert (found["instance_id"], found["hostname"]) == (uuid_of(MINIMAL), f"vm{MINIMAL}.example.org")
    assert found["public_keys"] == []


def test_a_boot_asks_as_often_as_cloud_init_must_and_no_more(boots: Boots) -> None:
    """cloud-init makes 35 requests, 26 for a minimal domain. Any more are retries."""
    counts = {number: boots.scene.status_of(f"vnet{number}")["requests"] for number in boots.found}
    asked = {number: sum(of_guest.values()) for number, of_guest in counts.items()}
    print(f"\nrequests of a boot: {asked}; all four boots took {boots.seconds:.1f} s")
    assert all(set(of_guest) <= {"200", "404"} for of_guest in counts.values()), counts
    assert all(33 <= asked[number] <= 37 for number in KINDS), asked
    assert 20 <= asked[MINIMAL] <= 28, asked
    assert boots.seconds < BOOT_TIME
