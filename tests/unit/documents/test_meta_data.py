"""``meta_data.json``: the keys of each version, in nova's order."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from attrs import evolve

from eve_meta.documents.versions import OPENSTACK_VERSIONS
from eve_meta.values.domain import Disk, Domain
from eve_meta.values.nic import Nic
from tests.unit.documents.reading import BARE, FULL, SEED, find, load, read

FIRST_SEEN = {
    "uuid": "2012-08-10",
    "meta": "2012-08-10",
    "files": "2012-08-10",
    "public_keys": "2012-08-10",
    "keys": "2012-08-10",
    "hostname": "2012-08-10",
    "name": "2012-08-10",
    "launch_index": "2012-08-10",
    "availability_zone": "2012-08-10",
    "random_seed": "2013-04-04",
    "project_id": "2015-10-15",
    "devices": "2016-06-30",
    "dedicated_cpus": "2020-10-14",
}
"""The keys of each version, in nova's order."""

OPTIONAL = ("meta", "files", "public_keys", "keys")


def meta_data(domain: Domain, version: str = "latest") -> Any:
    return load(domain, f"/openstack/{version}/meta_data.json")


@pytest.mark.parametrize("version", OPENSTACK_VERSIONS)
def test_each_version_has_its_keys_in_order(version: str) -> None:
    expected = [key for key, since in FIRST_SEEN.items() if version >= since]
    assert list(meta_data(FULL, version)) == expected
    assert list(meta_data(BARE, version)) == [key for key in expected if key not in OPTIONAL]


def test_latest_is_the_newest_version() -> None:
    assert read(FULL, "/openstack/latest/meta_data.json") == read(FULL, "/openstack/2025-04-04/meta_data.json")


OLDEST = (
    '{"uuid": "1a831fa7-c50b-4693-a16e-fb8171f1b69e", "meta": {"role": "web"}, "files": [{"path": "/etc/motd",'
    ' "content_path": "/content/0000"}, {"path": "/etc/blob", "content_path": "/content/0001"}], "public_keys":'
    ' {"alice": "ssh-ed25519 AAAA alice@example\\n"}, "keys": [{"name": "alice", "type": "ssh", "data":'
    ' "ssh-ed25519 AAAA alice@example\\n"}], "hostname": "web1.example.org", "name": "web 1 \\u00fc",'
    ' "launch_index": 3, "availability_zone": "nova"'
)

SEEDED = f'{OLDEST}, "random_seed": "{base64.b64encode(SEED).decode()}"'

PROJECT = f'{SEEDED}, "project_id": "6f70656e737461636b"'

DISK = '{"type": "disk", "serial": "vol-1", "path": "/dev/sda", "bus": "scsi", "address": "0:0:1:0", "tags": ["data"]}'
NIC = '"type": "nic", "mac": "fa:16:3e:00:00:01", "bus": "pci", "address": "0000:00:03.0", "tags": ["public"]}'
SHARE = (
    '{"type": "share", "share_id": "ca3c176e-fd5a-438b-b595-e18a358f6909", "tag": "home",'
    ' "bus": "none", "address": "none"}'
)

GOLDEN = {
    "2012-08-10": OLDEST + "}",
    "2013-04-04": SEEDED + "}",
    "2013-10-17": SEEDED + "}",
    "2015-10-15": PROJECT + "}",
    "2016-06-30": f'{PROJECT}, "devices": [{{{NIC}, {DISK}]}}',
    "2016-10-06": f'{PROJECT}, "devices": [{{{NIC}, {DISK}]}}',
    "2017-02-22": f'{PROJECT}, "devices": [{{"vlan": 7, {NIC}, {DISK}]}}',
    "2018-08-27": f'{PROJECT}, "devices": [{{"vlan": 7, "vf_trusted": false, {NIC}, {DISK}]}}',
    "2020-10-14": (
        f'{PROJECT}, "devices": [{{"vlan": 7, "vf_trusted": false, {NIC}, {DISK}], "dedicated_cpus": [2, 3]}}'
    ),
    "2025-04-04": (
        f'{PROJECT}, "devices": [{{"vlan": 7, "vf_trusted": false, {NIC}, {DISK}, {SHARE}], "dedicated_cpus": [2, 3]}}'
    ),
}


@pytest.mark.parametrize("version", GOLDEN)
def test_each_version_has_novas_bytes(version: str) -> None:
    tagged = evolve(FULL, nics=(evolve(FULL.nics[0], vlan=7),))
    assert read(tagged, f"/openstack/{version}/meta_data.json") == GOLDEN[version]


def test_a_bare_domain_has_defaults() -> None:
    assert meta_data(BARE) == {
        "uuid": "1a831fa7-c50b-4693-a16e-fb8171f1b69e",
        "hostname": "1a831fa7-c50b-4693-a16e-fb8171f1b69e",
        "name": "1a831fa7-c50b-4693-a16e-fb8171f1b69e",
        "launch_index": 0,
        "availability_zone": None,
        "random_seed": base64.b64encode(SEED).decode(),
        "project_id": None,
        "devices": [],
        "dedicated_cpus": [],
    }


def test_all_public_keys_are_included() -> None:
    certificate = "\n-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    content = meta_data(Domain(name="vm", public_keys={"b": "ssh-rsa B\n", "a": "ssh-rsa A", "win": certificate}))
    assert content["public_keys"] == {"b": "ssh-rsa B\n", "a": "ssh-rsa A", "win": certificate}
    assert content["keys"] == [
        {"name": "b", "type": "ssh", "data": "ssh-rsa B\n"},
        {"name": "a", "type": "ssh", "data": "ssh-rsa A"},
        {"name": "win", "type": "x509", "data": certificate},
    ]


@pytest.mark.parametrize(
    ("nic", "since"),
    [
        (Nic(mac="fa:16:3e:00:00:01"), "2018-08-27"),
        (Nic(mac="fa:16:3e:00:00:01", vlan=7), "2017-02-22"),
        (Nic(mac="fa:16:3e:00:00:01", tags=("a",)), "2016-06-30"),
    ],
    ids=["plain", "vlan", "tagged"],
)
@pytest.mark.parametrize("version", [v for v in OPENSTACK_VERSIONS if v >= "2016-06-30"])
def test_a_nic_is_included_from_the_version_on_that_has_a_key_for_it(nic: Nic, since: str, version: str) -> None:
    devices = meta_data(Domain(name="vm", nics=(nic,)), version)["devices"]
    assert [device["mac"] for device in devices] == ([nic.mac] if version >= since else [])


def test_a_trusted_nic_is_marked_as_trusted() -> None:
    domain = Domain(name="vm", nics=(Nic(mac="fa:16:3e:00:00:01", trusted=True),))
    assert meta_data(domain)["devices"] == [
        {"vf_trusted": True, "type": "nic", "mac": "fa:16:3e:00:00:01", "bus": "none", "address": "none"}
    ]


def test_a_nic_without_a_mac_is_left_out() -> None:
    assert meta_data(Domain(name="vm", nics=(Nic(tap="vnet0", tags=("a",)),)))["devices"] == []


def test_a_disk_is_included_without_tags_too() -> None:
    assert meta_data(Domain(name="vm", disks=(Disk(),)), "2016-06-30")["devices"] == [
        {"type": "disk", "bus": "none", "address": "none"}
    ]


def test_shares_are_included_from_their_version_on() -> None:
    kinds = [device["type"] for device in meta_data(FULL, "2020-10-14")["devices"]]
    assert kinds == ["nic", "disk"]
    kinds = [device["type"] for device in meta_data(FULL, "2025-04-04")["devices"]]
    assert kinds == ["nic", "disk", "share"]


@pytest.mark.parametrize("forged", ['"random_seed": ""', '", "random_seed": "", "x": "', '"}', "\\"])
def test_a_forged_seed_does_not_move_the_place_of_the_seed(forged: str) -> None:
    domain = Domain(name=forged, meta={forged: forged}, project_id=forged)
    for version in OPENSTACK_VERSIONS[1:]:
        content = meta_data(domain, version)
        assert content["random_seed"] == base64.b64encode(SEED).decode()
        assert content["meta"] == {forged: forged}
        assert content["name"] == forged


def test_the_body_without_a_seed_is_json_too() -> None:
    document = find(FULL, "/openstack/latest/meta_data.json")
    assert document is not None
    assert json.loads(bytes(document.body))["random_seed"] == ""
