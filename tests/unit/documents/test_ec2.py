"""The EC2-compatible tree: the keys of each version, and their documents."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, ip_address, ip_interface
from uuid import UUID

import pytest
from attrs import evolve

from eve_meta.documents.tree import Tree
from eve_meta.documents.versions import EC2_VERSIONS
from eve_meta.values.checks import BadValue
from eve_meta.values.domain import Domain, Ec2
from eve_meta.values.nic import Subnet, SubnetType
from tests.unit.documents.reading import BARE, FULL, find, nic, read, static

VERSIONS = "1.0\n2007-01-19\n2007-03-01\n2007-08-29\n2007-10-10\n2007-12-15\n2008-02-01\n2008-09-01\n2009-04-04\nlatest"


@pytest.mark.parametrize("path", ["/", "/ec2"])
def test_versions_are_listed_in_order(path: str) -> None:
    assert read(FULL, path) == VERSIONS


@pytest.mark.parametrize("version", VERSIONS.splitlines())
def test_each_version_lists_its_root(version: str) -> None:
    assert read(FULL, f"/{version}") == "meta-data/\nuser-data"
    assert read(BARE, f"/{version}") == "meta-data/"


FIRST_SEEN = {
    "ami-id": "1.0",
    "ami-launch-index": "1.0",
    "ami-manifest-path": "1.0",
    "block-device-mapping/": "2007-12-15",
    "hostname": "1.0",
    "instance-action": "2008-09-01",
    "instance-id": "1.0",
    "instance-type": "2007-08-29",
    "kernel-id": "2007-12-15",
    "local-hostname": "2007-01-19",
    "local-ipv4": "1.0",
    "placement/": "2008-02-01",
    "public-hostname": "2007-01-19",
    "public-ipv4": "2007-01-19",
    "public-keys/": "1.0",
    "ramdisk-id": "2007-12-15",
    "reservation-id": "1.0",
    "security-groups": "1.0",
}
"""In the order of a listing."""

OPTIONAL = ("kernel-id", "ramdisk-id", "public-keys/")


@pytest.mark.parametrize("version", EC2_VERSIONS)
def test_each_version_lists_its_keys(version: str) -> None:
    keys = [key for key, since in FIRST_SEEN.items() if version >= since]
    assert read(FULL, f"/{version}/meta-data") == "\n".join(keys)
    assert read(BARE, f"/{version}/meta-data") == "\n".join(key for key in keys if key not in OPTIONAL)


@pytest.mark.parametrize("version", EC2_VERSIONS)
@pytest.mark.parametrize("key", FIRST_SEEN)
def test_a_key_is_served_from_its_version_on(key: str, version: str) -> None:
    assert (find(FULL, f"/{version}/meta-data/{key}") is not None) == (version >= FIRST_SEEN[key])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("ami-id", "ami-00000001"),
        ("ami-launch-index", "3"),
        ("ami-manifest-path", "FIXME"),
        ("block-device-mapping", "ami\nebs0\nephemeral0\nroot\nswap"),
        ("block-device-mapping/ami", "vda"),
        ("block-device-mapping/root", "/dev/vda"),
        ("block-device-mapping/ebs0", "/dev/vdb"),
        ("block-device-mapping/swap", "/dev/vdd"),
        ("hostname", "web1.example.org"),
        ("instance-action", "none"),
        ("instance-id", "i-0000002a"),
        ("instance-type", "m1.small"),
        ("kernel-id", "aki-00000002"),
        ("local-hostname", "web1.example.org"),
        ("local-ipv4", "10.1.2.10"),
        ("placement", "availability-zone"),
        ("placement/availability-zone", "nova"),
        ("public-hostname", "web1.example.org"),
        ("public-ipv4", "203.0.113.7"),
        ("public-keys", "0=alice"),
        ("public-keys/0", "openssh-key"),
        ("public-keys/0/openssh-key", "ssh-ed25519 AAAA alice@example\n"),
        ("ramdisk-id", "ari-00000003"),
        ("reservation-id", "r-abcdefgh"),
        ("security-groups", "default\nweb"),
    ],
)
def test_a_key_has_its_document(path: str, body: str) -> None:
    for prefix in ("/latest", "/2009-04-04", "/ec2/latest", "/ec2/2009-04-04"):
        assert read(FULL, f"{prefix}/meta-data/{path}") == body


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("ami-launch-index", "0"),
        ("block-device-mapping", "ami\nroot"),
        ("block-device-mapping/ami", "vda"),
        ("block-device-mapping/root", "/dev/vda"),
        ("instance-type", ""),
        ("placement/availability-zone", "None"),
        ("public-ipv4", ""),
        ("security-groups", ""),
        ("hostname", "1a831fa7-c50b-4693-a16e-fb8171f1b69e"),
    ],
)
def test_a_key_of_a_bare_domain_has_its_default(path: str, body: str) -> None:
    assert read(BARE, f"/latest/meta-data/{path}") == body


@pytest.mark.parametrize(("key", "prefix"), [("instance-id", "i"), ("ami-id", "ami"), ("reservation-id", "r")])
def test_invented_ids_are_stable_and_differ_between_domains(key: str, prefix: str) -> None:
    path = f"/latest/meta-data/{key}"
    made = read(BARE, path)
    assert re.fullmatch(prefix + "-[0-9a-f]{8}", str(made))
    assert read(evolve(BARE, name="renamed"), path) == made
    # Two uuids of version 7, made in the same millisecond: alike in their first 48 bits.
    v7 = [Domain(uuid=UUID(f"0190163d-8694-739b-aea5-966c26f8ad9{last}")) for last in "12"]
    assert len({read(domain, path) for domain in v7}) == 2


def test_all_public_keys_are_listed_in_their_order() -> None:
    domain = Domain(name="vm", public_keys={f"key {n}": f"ssh-rsa {n}" for n in reversed(range(12))})
    listing = read(domain, "/latest/meta-data/public-keys")
    assert str(listing).splitlines() == [f"{index}=key {11 - index}" for index in range(12)]
    assert read(domain, "/latest/meta-data/public-keys/11/openssh-key") == "ssh-rsa 0"
    assert find(domain, "/latest/meta-data/public-keys/12") is None


@pytest.mark.parametrize(
    "path",
    [
        "public-keys/0=alice",
        "public-keys/0=alice/openssh-key",
        "public-keys/1",
        "public-keys/1/openssh-key",
        "public-keys/00",
        "public-keys/-1",
        "public-keys/٠",
        "public-keys/alice",
        "public-keys/0/openssh-key/x",
        "public-keys/0/x",
        "ami-id/x",
        "ami-id/x/y",
        "Ami-Id",
        "security-groups/default",
        "block-device-mapping/ebs1",
        "block-device-mapping/ami/x",
        "placement/region",
        "local-ipv4/x",
        "iam/security-credentials",
    ],
)
def test_a_public_key_that_does_not_exist_is_404(path: str) -> None:
    assert find(FULL, f"/latest/meta-data/{path}") is None
    assert find(BARE, f"/latest/meta-data/{path}") is None


def test_without_public_keys_the_directory_is_404_and_not_listed() -> None:
    assert find(BARE, "/latest/meta-data/public-keys") is None
    assert "public-keys" not in str(read(BARE, "/latest/meta-data"))


@pytest.mark.parametrize(
    "path",
    [
        "/latest/api/token",
        "/latest/user-data/x",
        "/latest/meta_data",
        "/LATEST",
        "/2009-04-04 ",
        "/meta-data",
        "/ec2/openstack",
        "/ec2/ec2",
        "/ec2/ec2/latest",
        "/2012-08-10/meta-data",
    ],
)
def test_everything_else_is_404(path: str) -> None:
    assert find(FULL, path) is None


def test_local_ipv4_is_the_peers_address_where_no_other_is_known() -> None:
    path = "/latest/meta-data/local-ipv4"
    dhcp = Domain(name="vm", nics=(nic(Subnet(type=SubnetType.IPV4_DHCP), static("2001:db8::5/64")),))
    for domain in (BARE, dhcp):
        assert read(domain, path, peer="10.0.0.7") == "10.0.0.7"
        assert read(domain, path, peer="::ffff:10.0.0.7") == "10.0.0.7"
        assert read(domain, path, peer="fe80::1%3") == ""
    assert read(dhcp, "/latest/meta-data/hostname", peer="10.0.0.7") == "vm"


def test_the_peers_address_decides_nothing_else() -> None:
    tree = Tree(BARE)
    before = {path: read(tree, path) for path in ("/latest/meta-data", "/latest/meta-data/instance-id")}
    for peer in ("10.0.0.7", "10.0.0.8"):
        assert read(tree, "/latest/meta-data/local-ipv4", peer=peer) == peer
        for path, document in before.items():
            assert read(tree, path, peer=peer) == document
    assert read(FULL, "/latest/meta-data/local-ipv4", peer="10.0.0.7") == "10.1.2.10"


def test_local_ipv4_is_the_first_ipv4_address_of_any_subnet() -> None:
    known = Subnet(type=SubnetType.IPV4_DHCP, address=ip_interface("10.0.0.9/24"))
    domain = Domain(name="vm", nics=(nic(static("2001:db8::5/64"), known), nic(static("10.0.0.1/24"), tap="vnet1")))
    assert read(domain, "/latest/meta-data/local-ipv4") == "10.0.0.9"


def test_public_ipv4_is_given_or_floating() -> None:
    floating = static("10.0.0.1/24", floating=(ip_address("2001:db8::1"), ip_address("203.0.113.7")))
    domain = Domain(name="vm", nics=(nic(floating),))
    assert read(domain, "/latest/meta-data/public-ipv4") == "203.0.113.7"
    given = evolve(domain, ec2=Ec2(public_ipv4=IPv4Address("203.0.113.8")))
    assert read(given, "/latest/meta-data/public-ipv4") == "203.0.113.8"


def test_documents_are_made_once() -> None:
    tree = Tree(FULL)
    for path in ("/", "/latest/user-data", "/latest/meta-data/ami-id", "/latest/meta-data/public-keys/0/openssh-key"):
        assert find(tree, path) is find(tree, path)
    assert find(tree, "/1.0/meta-data/ami-id") is find(tree, "/ec2/latest/meta-data/ami-id")


@pytest.mark.parametrize("name", ["alice/", "alice/ ", "0=alice"])
def test_a_domain_refuses_key_names_that_would_break_a_listing(name: str) -> None:
    with pytest.raises(BadValue, match="expected a key name without"):
        Domain(name="vm", public_keys={name: "ssh-rsa A"})


@pytest.mark.parametrize("name", ["0=alice", "ebs/0", "..", "ebs 0", "0", "ebs0\n"])
def test_a_domain_refuses_block_devices_that_would_break_a_listing(name: str) -> None:
    with pytest.raises(BadValue, match="expected"):
        Ec2(block_device_mapping={name: "/dev/vdb"})


def test_a_domain_refuses_security_groups_of_two_lines() -> None:
    with pytest.raises(BadValue, match="expected names of printable characters"):
        Ec2(security_groups=("web\nadmin",))


def test_a_domain_refuses_lone_surrogates() -> None:
    with pytest.raises(BadValue, match="expected whole characters, got half of one"):
        Domain(name="vm", public_keys={"alice": "ssh-rsa A \ud800"})
