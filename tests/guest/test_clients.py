"""What clients that others wrote, from Debian and PyPI, read in a guest.

cloud-init's OpenStack datasource is tested in tests/guest/test_cloud_init.py.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import SCRIPTS
from harness.daemon import EVE_META
from harness.guests import Guest
from tests.guest.scene import ROUTER, Scene, domain, scene, uuid_of

NAME = "emcli"
READER = Path(__file__).with_name("read_by_clients.py")
PYTHON = EVE_META.with_name("python")
EC2METADATA = EVE_META.with_name("ec2metadata")

POLICIES = {1: "optional", 2: "required", 3: "off"}
"""The token policy of the guest of each number."""

WITH_TOKENS = pytest.mark.parametrize("number", [1, 2], ids=POLICIES.get)


def key(number: int, name: str) -> str:
    return f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{number:043d} {name}@lab"


def mac(number: int) -> str:
    return f"fa:16:3e:00:00:{number:02x}"


def full(number: int) -> dict[str, Any]:
    """Return a domain whose values, as far as these clients read them, contain *number*; addresses are equal."""
    subnets = [
        {
            "type": "ipv4",
            "address": "10.0.0.5/24",
            "gateway": ROUTER,
            "dns": [f"10.0.0.{number}"],
            "floating": [f"203.0.113.{number}"],
        },
        {"type": "ipv6", "address": f"2001:db8::{number}/64"},
    ]
    return domain(
        number,
        None,
        tokens=POLICIES[number],
        project_id=f"project{number}",
        availability_zone=f"eu-lab-{number}b",
        launch_index=number,
        public_keys={name: key(number, name) for name in ("alice", "bob")},
        meta={"role": f"web{number}", "admin_username": f"boss{number}", "admin_pass": f"pass{number}"},
        ec2={
            "instance_id": f"i-{number:08x}",
            "ami_id": f"ami-{number:08x}",
            "kernel_id": f"aki-{number:08x}",
            "ramdisk_id": f"ari-{number:08x}",
            "reservation_id": f"r-{number:08x}",
            "instance_type": f"m{number}.small",
            "security_groups": [f"web{number}", "ssh"],
            "block_device_mapping": {"ami": "vda", "root": "/dev/vda", "ebs0": f"/dev/vd{number}"},
        },
        nics=[{"tap": f"vnet{number}", "mac": mac(number), "mtu": 1400 + number, "subnets": subnets}],
    )


@pytest.fixture(scope="module")
def stage() -> Iterator[Scene]:
    """A daemon with a guest for each policy."""
    with scene(NAME, {f"vm{number}": full(number) for number in POLICIES}) as stage:
        for number in POLICIES:
            stage.lab.guest(f"vm{number}", tap=f"vnet{number}", bridge="br0", mac=mac(number))
        stage.wait_until_known(**{f"vnet{number}": number for number in POLICIES})
        yield stage


def guest(stage: Scene, number: int) -> Guest:
    return stage.lab.guests[f"vm{number}"]


def run(asking: Guest, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a client in a guest, without any configuration of AWS or a proxy."""
    foreign = ("AWS_", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    environment["PYTHONPATH"] = str(SCRIPTS)
    return asking.run(*arguments, check=False, timeout=60, env=environment)


def read(stage: Scene, number: int, client: str, *arguments: str) -> dict[str, Any]:
    """Return what *client* reads in the guest of *number*."""
    done = run(guest(stage, number), PYTHON, READER, client, *arguments)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class Answers:
    """How often the guest of *number* got each status since this was made."""

    def __init__(self, stage: Scene, number: int) -> None:
        self._stage, self._number = stage, number
        self._before = self._counted()

    def since(self) -> dict[str, int]:
        return dict(self._counted() - self._before)

    def _counted(self) -> Counter[str]:
        return Counter(self._stage.status_of(f"vnet{self._number}")["requests"])


# -- cloud-init's Ec2 datasource --


@pytest.mark.parametrize(
    ("number", "platform"), [(1, "unknown"), (1, "zstack"), (1, "aws"), (2, "aws"), (3, "unknown")]
)
def test_cloud_init_finds_an_ec2_instance(stage: Scene, number: int, platform: str) -> None:
    found = read(stage, number, "cloud_init", platform)
    plain = full(number)
    meta_data, identity, config = (found.pop(name) for name in ("meta_data", "identity", "network_config"))
    assert found == {
        "platform": platform,
        "found": True,
        "instance_id": plain["ec2"]["instance_id"],
        "hostname": plain["hostname"],
        "public_keys": [key(number, "alice"), key(number, "bob")],
        "user_data": plain["user_data"],
        "availability_zone": f"eu-lab-{number}b",
        "region": f"eu-lab-{number}",
        "launch_index": str(number),
        "ebs0": f"/dev/vd{number}",
    }
    assert meta_data["security-groups"] == [f"web{number}", "ssh"]
    assert meta_data["tags"]["instance"]["role"] == f"web{number}"
    assert meta_data["network"]["interfaces"]["macs"][mac(number)]["public-ipv4s"] == f"203.0.113.{number}"
    if platform == "aws":  # elsewhere it does not ask for them
        assert (identity["instanceId"], identity["region"]) == (plain["ec2"]["instance_id"], f"eu-lab-{number}")
    nic = config["ethernets"]["eth0"]
    assert nic["match"] == {"macaddress": mac(number)}
    assert (nic["dhcp4"], nic["dhcp6"]) == (True, True)


def test_cloud_init_without_tokens_finds_nothing_where_they_are_required(stage: Scene) -> None:
    answers = Answers(stage, 2)
    assert read(stage, 2, "cloud_init", "unknown") == {"platform": "unknown", "found": False}
    assert set(answers.since()) == {"401"}


# -- ec2metadata of Debian's cloud-guest-utils --


def listed(output: str) -> dict[str, str]:
    """Return the values in ec2metadata's output by name; some have several lines."""
    pieces = re.split(r"^([a-z0-9-]+): ", output, flags=re.MULTILINE)
    assert pieces[0] == ""
    return dict(zip(pieces[1::2], (value.removesuffix("\n") for value in pieces[2::2]), strict=True))


@WITH_TOKENS
def test_ec2metadata_shows_the_instance(stage: Scene, number: int) -> None:
    done = run(guest(stage, number), EC2METADATA)
    assert (done.returncode, done.stderr) == (0, "")
    found = listed(done.stdout)
    plain = full(number)
    assert ast.literal_eval(found.pop("public-keys")) == [key(number, "alice"), key(number, "bob")]
    assert ast.literal_eval(found.pop("user-data")) == plain["user_data"].encode()
    assert sorted(found.pop("block-device-mapping").splitlines()) == ["ami", "ebs0", "root"]
    # It reads 2009-04-04, which is nova's tree: what only AWS's newer versions have is missing.
    absent = {name for name, value in found.items() if value == "unavailable"}
    assert absent == {
        "ancestor-ami-ids",
        "availability-zone-id",
        "group-name",
        "host-id",
        "mac",
        "partition-number",
        "product-codes",
        "profile",
        "region",
    }
    assert {name: value for name, value in found.items() if name not in absent} == {
        "ami-id": f"ami-{number:08x}",
        "ami-launch-index": str(number),
        "ami-manifest-path": "FIXME",
        "availability-zone": f"eu-lab-{number}b",
        "instance-action": "none",
        "instance-id": f"i-{number:08x}",
        "instance-type": f"m{number}.small",
        "kernel-id": f"aki-{number:08x}",
        "local-hostname": plain["hostname"],
        "local-ipv4": "10.0.0.5",
        "public-hostname": plain["hostname"],
        "public-ipv4": f"203.0.113.{number}",
        "ramdisk-id": f"ari-{number:08x}",
        "reservation-id": f"r-{number:08x}",
        "security-groups": f"web{number}\nssh",
    }


@WITH_TOKENS
def test_ec2metadata_shows_one_value(stage: Scene, number: int) -> None:
    assert run(guest(stage, number), EC2METADATA, "--instance-id").stdout == f"i-{number:08x}\n"
    assert run(guest(stage, number), EC2METADATA, "--user-data").stdout == full(number)["user_data"]


# -- botocore --


@pytest.mark.parametrize(("number", "needs_token"), [(1, "no"), (1, "yes"), (2, "no"), (2, "yes"), (3, "no")])
def test_botocore_learns_its_region_and_that_there_are_no_credentials(
    stage: Scene, number: int, needs_token: str
) -> None:
    answers = Answers(stage, number)
    assert read(stage, number, "botocore", needs_token) == {"credentials": {}, "region": f"eu-lab-{number}"}
    # It learned that there are none (404); it did not fail to ask. Where tokens are off, they are 404 too.
    assert answers.since() == ({"200": 1, "404": 3} if POLICIES[number] == "off" else {"200": 3, "404": 1})


def test_botocore_that_needs_a_token_refuses_where_there_are_none(stage: Scene) -> None:
    assert "IMDSv1 has been disabled" in read(stage, 3, "botocore", "yes")["error"]


# -- ec2-metadata of PyPI --


@WITH_TOKENS
def test_ec2_metadata_knows_the_instance(stage: Scene, number: int) -> None:
    found = read(stage, number, "ec2_metadata")
    plain = full(number)
    nics = found.pop("network_interfaces")
    document = found.pop("instance_identity_document")
    assert {name: value for name, value in found.items() if value is not None} == {
        "unknown": [],
        "account_id": f"project{number}",
        "ami_id": f"ami-{number:08x}",
        "ami_launch_index": number,
        "ami_manifest_path": "FIXME",
        "availability_zone": f"eu-lab-{number}b",
        "domain": "amazonaws.com",
        "instance_action": "none",
        "instance_id": f"i-{number:08x}",
        "instance_life_cycle": "on-demand",
        "instance_type": f"m{number}.small",
        "kernel_id": f"aki-{number:08x}",
        "mac": mac(number),
        "partition": "aws",
        "private_hostname": plain["hostname"],
        "private_ipv4": "10.0.0.5",
        "public_hostname": plain["hostname"],
        "public_ipv4": f"203.0.113.{number}",
        "public_keys": {name: key(number, name) for name in ("alice", "bob")},
        "region": f"eu-lab-{number}",
        "reservation_id": f"r-{number:08x}",
        "security_groups": [f"web{number}", "ssh"],
        "tags": plain["meta"],
        "user_data": plain["user_data"],
    }
    assert document["instanceId"] == f"i-{number:08x}"
    assert document["privateIp"] == "10.0.0.5"
    (nic,) = nics.values()
    assert list(nics) == [mac(number)]
    assert nic.pop("interface_id").startswith("eni-")
    assert nic == {
        "unknown": ["security_group_ids", "subnet_id", "vpc_id"],  # ids of AWS's own API
        "device_number": 0,
        "ipv4_associations": {f"203.0.113.{number}": ["10.0.0.5"]},
        "ipv6_prefix": [],
        "ipv6s": [f"2001:db8::{number}"],
        "owner_id": f"project{number}",
        "private_hostname": plain["hostname"],
        "private_ipv4s": ["10.0.0.5"],
        "public_hostname": None,
        "public_ipv4s": [f"203.0.113.{number}"],
        "security_groups": [f"web{number}", "ssh"],
        "subnet_ipv4_cidr_block": "10.0.0.0/24",
        "subnet_ipv6_cidr_blocks": ["2001:db8::/64"],
        "vpc_ipv4_cidr_block": None,
        "vpc_ipv4_cidr_blocks": [],
        "vpc_ipv6_cidr_blocks": [],
    }


# -- cloudbase-init's OpenStack service --


@pytest.mark.parametrize("number", [1, 3], ids=POLICIES.get)
def test_cloudbase_init_knows_the_server_and_posts_its_password_once(stage: Scene, number: int) -> None:
    found = read(stage, number, "cloudbase_init", f"c2VjcmV0{number}")
    plain = full(number)
    assert found == {
        "found": True,
        "instance_id": uuid_of(number),
        "hostname": plain["hostname"],
        "public_keys": sorted(plain["public_keys"].values()),
        "user_data": plain["user_data"],
        "admin_username": f"boss{number}",
        "admin_password": f"pass{number}",
        "links": [["physical", mac(number), 1400 + number]],
        "networks": [
            ["10.0.0.5/24", [f"10.0.0.{number}"], [["0.0.0.0/0", ROUTER]]],
            [f"2001:db8::{number}/64", [], []],
        ],
        "is_linked": True,
        "can_post_password": True,
        "password_set_before": False,
        "posted": True,
        "password_set_after": True,
        "posted_again": 409,
    }
    shown = subprocess.run(
        stage.daemon.command("password", f"vm{number}"), capture_output=True, text=True, check=True, timeout=30
    )
    assert shown.stdout.strip() == f"c2VjcmV0{number}"


def test_cloudbase_init_finds_nothing_where_tokens_are_required(stage: Scene) -> None:
    answers = Answers(stage, 2)
    assert read(stage, 2, "cloudbase_init", "secret") == {"found": False}
    assert set(answers.since()) == {"401"}


# -- systemd-imdsd, which no distribution has yet: its requests --


IMDS_NETWORK = (
    "route add 169.254.169.254 dev eth0 scope link table 2147420181",
    "route add prohibit 169.254.169.254",
    "rule add fwmark 0x7fff0815 table 2147420181",
    "-6 route add fd00:ec2::254 dev eth0 table 2147420181",
    "-6 route add prohibit fd00:ec2::254",
    "-6 rule add fwmark 0x7fff0815 table 2147420181",
)
"""The network that it makes, which keeps other programs from the service (85-imds-early.network, "locked")."""


@WITH_TOKENS
def test_imdsd_finds_its_keys_and_keeps_others_out(stage: Scene, number: int) -> None:
    asking, plain = guest(stage, number), full(number)
    for line in IMDS_NETWORK:
        asking.run("ip", *line.split())
    try:
        with pytest.raises(OSError, match=r"unreachable|denied|prohibited"):
            asking.get("/latest/user-data")
        for address in ("169.254.169.254", "fd00:ec2::254"):
            assert read(stage, number, "imdsd", address) == {
                "token": 200,
                "printable": True,
                "hostname": plain["hostname"],
                "region": f"eu-lab-{number}",
                "zone": f"eu-lab-{number}b",
                "ipv4_public": f"203.0.113.{number}",
                "ipv6_public": f"2001:db8::{number}",
                "ssh_key": key(number, "alice"),
                "userdata": plain["user_data"],
            }
    finally:
        for line in IMDS_NETWORK:
            asking.run("ip", *line.replace(" add ", " delete ").split(), check=False)
