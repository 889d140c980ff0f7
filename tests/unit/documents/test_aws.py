"""The versions of the EC2-compatible tree that only AWS has: what its clients find there and in ``latest``."""

from __future__ import annotations

import json
import re
from ipaddress import ip_address, ip_interface
from typing import Any

import pytest
from attrs import evolve

from eve_meta.documents.tree import Tree
from eve_meta.documents.versions import AWS_VERSIONS, EC2_VERSIONS
from eve_meta.values.domain import Domain, Ec2
from eve_meta.values.nic import Nic, Subnet, SubnetType
from tests.unit.documents import test_ec2
from tests.unit.documents.reading import BARE, FULL, TODAY, find, nic, read, static

MAC = "fa:16:3e:00:00:01"

SECOND = nic(static("2001:db8::5/64"), static("10.0.0.5/24"), tap="vnet1", mac="02:00:00:00:00:02")

AWS = evolve(FULL, availability_zone="eu-west-1a", nics=(*FULL.nics, SECOND))
"""A domain that has everything, in a zone whose name has AWS's form."""

NOVA_KEYS = list(test_ec2.FIRST_SEEN)

LISTINGS = {
    "2016-09-02": ["mac", "network/", "services/"],
    "2018-09-24": ["mac", "network/", "services/"],
    "2021-03-23": ["instance-life-cycle", "ipv6", "mac", "network/", "services/", "tags/"],
}


@pytest.mark.parametrize("version", LISTINGS)
def test_each_version_lists_its_keys(version: str) -> None:
    assert read(AWS, f"/{version}/meta-data") == "\n".join(sorted(NOVA_KEYS + LISTINGS[version]))
    optional = ("kernel-id", "public-keys/", "ramdisk-id", "ipv6", "mac", "network/", "tags/")
    keys = sorted(key for key in NOVA_KEYS + LISTINGS[version] if key not in optional)
    assert read(BARE, f"/{version}/meta-data") == "\n".join(keys)


@pytest.mark.parametrize("version", AWS_VERSIONS)
def test_each_version_lists_its_root(version: str) -> None:
    assert read(AWS, f"/{version}") == read(AWS, f"/ec2/{version}") == "dynamic/\nmeta-data/\nuser-data"
    assert read(BARE, f"/{version}") == "dynamic/\nmeta-data/"


def test_the_list_of_versions_leaves_awss_out() -> None:
    # cloud-init asks for them without looking; what nova lists is what everybody else knows.
    assert not set(str(read(AWS, "/")).splitlines()) & set(AWS_VERSIONS)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("dynamic", "instance-identity/"),
        ("dynamic/instance-identity", "document"),
        ("meta-data/instance-id", "i-0000002a"),
        ("meta-data/instance-life-cycle", "on-demand"),
        ("meta-data/ipv6", "2001:db8::5"),
        ("meta-data/mac", MAC),
        ("meta-data/network", "interfaces/"),
        ("meta-data/network/interfaces", "macs/"),
        ("meta-data/network/interfaces/macs", f"02:00:00:00:00:02/\n{MAC}/"),
        ("meta-data/placement/availability-zone", "eu-west-1a"),
        ("meta-data/placement/region", "eu-west-1"),
        ("meta-data/services", "domain\npartition"),
        ("meta-data/services/domain", "amazonaws.com"),
        ("meta-data/services/partition", "aws"),
        ("meta-data/tags", "instance/"),
        ("meta-data/tags/instance", "role"),
        ("meta-data/tags/instance/role", "web"),
    ],
)
def test_a_path_has_its_document(path: str, body: str) -> None:
    for prefix in ("/2021-03-23", "/ec2/2021-03-23", "/latest", "/ec2/latest"):
        assert read(AWS, f"{prefix}/{path}") == body


def test_a_region_is_listed_from_its_version_on() -> None:
    assert read(AWS, "/2018-09-24/meta-data/placement") == "availability-zone"
    assert read(AWS, "/2021-03-23/meta-data/placement") == "availability-zone\nregion"
    assert find(AWS, "/2018-09-24/meta-data/placement/region") is None


NEWER = [
    "dynamic",
    "dynamic/instance-identity/document",
    "meta-data/instance-life-cycle",
    "meta-data/ipv6",
    "meta-data/mac",
    "meta-data/network/interfaces/macs",
    "meta-data/placement/region",
    "meta-data/services/domain",
    "meta-data/tags/instance/role",
]


@pytest.mark.parametrize("path", NEWER)
def test_novas_versions_have_no_entry_of_aws(path: str) -> None:
    for version in EC2_VERSIONS:
        assert find(AWS, f"/{version}/{path}") is None


@pytest.mark.parametrize("path", ["", "meta-data", "meta-data/placement", "meta-data/public-keys"])
def test_latest_lists_what_nova_lists(path: str) -> None:
    """cloud-init's OpenStack datasource crawls it: 35 requests at every boot, and no more."""
    assert read(AWS, f"/latest/{path}") == read(AWS, f"/2009-04-04/{path}")


@pytest.mark.parametrize(
    "path",
    ["dynamic", "dynamic/instance-identity", "meta-data/network/interfaces/macs", "meta-data/tags/instance"],
)
def test_latest_lists_the_entries_of_a_directory_that_it_does_not_list(path: str) -> None:
    assert read(AWS, f"/latest/{path}") == read(AWS, f"/2021-03-23/{path}")


@pytest.mark.parametrize(
    "path",
    [
        "dynamic/instance-identity/pkcs7",
        "dynamic/instance-identity/rsa2048",
        "dynamic/instance-identity/signature",
        "dynamic/fws",
        "meta-data/iam",
        "meta-data/iam/security-credentials",
        "meta-data/network/interfaces/macs/FA:16:3E:00:00:01",
        "meta-data/network/interfaces/macs/fa:16:3e:00:00:09",
        f"meta-data/network/interfaces/macs/{MAC}/vpc-id",
        f"meta-data/network/interfaces/macs/{MAC}/mac/x",
        "meta-data/tags/role",
        "meta-data/tags/instance/Role",
        "meta-data/mac/x",
    ],
)
def test_a_path_that_does_not_exist_is_404(path: str) -> None:
    for version in ("2021-03-23", "latest"):
        assert find(AWS, f"/{version}/{path}") is None


@pytest.mark.parametrize("version", ["2021-03-24", "2020-10-27", "2011-01-01", "2021-03-23 ", "2021"])
def test_an_unknown_version_is_404(version: str) -> None:
    assert find(AWS, f"/{version}") is None


def nic_of(domain: Domain, mac: str = MAC) -> dict[str, Any]:
    """Return the documents of the NIC with *mac*, by name."""
    path = f"/2021-03-23/meta-data/network/interfaces/macs/{mac}"
    names = str(read(domain, path)).splitlines()
    return {name: read(domain, f"{path}/{name}") for name in names}


def test_a_nic_has_its_documents() -> None:
    entries = nic_of(AWS)
    assert re.fullmatch("eni-[0-9a-f]{17}", entries.pop("interface-id"))
    assert entries == {
        "device-number": "0",
        "ipv4-associations/": "203.0.113.7",
        "local-hostname": "web1.example.org",
        "local-ipv4s": "10.1.2.10",
        "mac": MAC,
        "owner-id": "6f70656e737461636b",
        "public-ipv4s": "203.0.113.7",
        "security-groups": "default\nweb",
        "subnet-ipv4-cidr-block": "10.1.2.0/24",
    }
    path = f"/latest/meta-data/network/interfaces/macs/{MAC}/ipv4-associations/203.0.113.7"
    assert read(AWS, path) == "10.1.2.10"


def test_the_next_nic_has_documents_of_its_own() -> None:
    entries = nic_of(AWS, "02:00:00:00:00:02")
    assert entries["device-number"] == "1"
    assert entries["interface-id"] != nic_of(AWS)["interface-id"]
    assert entries["ipv6s"] == "2001:db8::5"
    assert entries["subnet-ipv6-cidr-blocks"] == "2001:db8::/64"
    assert entries["local-ipv4s"] == "10.0.0.5"


def test_a_bare_nic_has_only_what_is_known() -> None:
    assert list(nic_of(Domain(name="vm", nics=(nic(),)))) == ["device-number", "interface-id", "local-hostname", "mac"]


def test_a_nic_lists_all_its_addresses() -> None:
    known = Subnet(type=SubnetType.IPV4_DHCP, address=ip_interface("10.0.0.5/24"))
    entries = nic_of(
        Domain(name="vm", nics=(nic(known, static("10.0.0.6/24"), static("10.9.0.5/16"), static("fe80::5%eth0/64")),))
    )
    assert entries["local-ipv4s"] == "10.0.0.5\n10.0.0.6\n10.9.0.5"
    assert entries["subnet-ipv4-cidr-block"] == "10.0.0.0/24"
    assert entries["ipv6s"] == "fe80::5"
    assert entries["subnet-ipv6-cidr-blocks"] == "fe80::/64"


def test_a_nic_lists_its_floating_addresses() -> None:
    floating = tuple(map(ip_address, ("203.0.113.7", "2001:db8::7", "203.0.113.8")))
    unknown = Subnet(type=SubnetType.IPV4_DHCP, floating=(ip_address("203.0.113.9"),))
    entries = nic_of(Domain(name="vm", nics=(nic(static("10.0.0.5/24", floating=floating), unknown),)))
    assert entries["public-ipv4s"] == "203.0.113.7\n203.0.113.8\n203.0.113.9"
    assert entries["ipv4-associations/"] == "203.0.113.7\n203.0.113.8"


@pytest.mark.parametrize("nics", [(), (nic(static("10.0.0.5/24"), mac=None),)], ids=["no nic", "no mac"])
def test_without_a_mac_there_is_no_network(nics: tuple[Nic, ...]) -> None:
    domain = Domain(name="vm", nics=nics)
    for path in ("mac", "network", "network/interfaces/macs"):
        assert find(domain, f"/latest/meta-data/{path}") is None


def test_of_two_nics_with_one_mac_the_first_is_shown() -> None:
    domain = Domain(name="vm", nics=(nic(static("10.0.0.5/24")), nic(static("10.0.0.6/24"), tap="vnet1")))
    assert read(domain, "/latest/meta-data/network/interfaces/macs") == f"{MAC}/"
    assert nic_of(domain)["local-ipv4s"] == "10.0.0.5"


@pytest.mark.parametrize(
    ("zone", "given", "region"),
    [
        ("eu-west-1a", None, "eu-west-1"),
        ("eu-west-1a", "elsewhere", "elsewhere"),
        ("rack7b", None, "rack7"),
        (None, "elsewhere", "elsewhere"),
        (None, None, None),
        ("nova", None, None),
        ("eu-west-1", None, None),
        ("eu-west-1A", None, None),
        ("a", None, None),
    ],
)
def test_the_region_is_given_or_that_of_the_zone(zone: str | None, given: str | None, region: str | None) -> None:
    domain = Domain(name="vm", availability_zone=zone, ec2=Ec2(region=given))
    assert read(domain, "/latest/meta-data/placement/region") == region
    assert ("region" in str(read(domain, "/2021-03-23/meta-data/placement"))) == (region is not None)
    assert json.loads(str(read(domain, "/latest/dynamic/instance-identity/document")))["region"] == region


@pytest.mark.parametrize("key", ["Name", "a.b", "...", "_index_", "aws:x", "kubernetes.io+x,y@z-1", "0"])
def test_metadata_with_a_plain_key_is_a_tag(key: str) -> None:
    domain = Domain(name="vm", meta={key: "two\nlines"})
    assert read(domain, "/latest/meta-data/tags/instance") == key
    assert read(domain, f"/latest/meta-data/tags/instance/{key}") == "two\nlines"


@pytest.mark.parametrize("key", [".", "..", "_index", "a/b", "/", "a b", "0=x", "=", "a%20b", "a?b", "a#b", "ä", "x/"])
def test_metadata_whose_key_would_break_a_listing_or_a_path_is_no_tag(key: str) -> None:
    domain = Domain(name="vm", meta={key: "value", "role": "web"})
    assert read(domain, "/latest/meta-data/tags/instance") == "role"
    path = ("latest", "meta-data", "tags", "instance", key)
    assert Tree(domain).find(path, peer="10.0.0.5", today=TODAY) is None
    assert find(Domain(name="vm", meta={key: "value"}), "/latest/meta-data/tags") is None


IDENTITY = """\
{
  "accountId" : "6f70656e737461636b",
  "architecture" : null,
  "availabilityZone" : "eu-west-1a",
  "billingProducts" : null,
  "devpayProductCodes" : null,
  "imageId" : "ami-00000001",
  "instanceId" : "i-0000002a",
  "instanceType" : "m1.small",
  "kernelId" : "aki-00000002",
  "marketplaceProductCodes" : null,
  "pendingTime" : null,
  "privateIp" : "10.1.2.10",
  "ramdiskId" : "ari-00000003",
  "region" : "eu-west-1",
  "version" : "2017-09-30"
}"""


@pytest.mark.parametrize("version", [*AWS_VERSIONS, "latest"])
def test_the_identity_document_is_as_aws_writes_it(version: str) -> None:
    assert read(AWS, f"/{version}/dynamic/instance-identity/document") == IDENTITY


def test_the_identity_document_of_a_bare_domain_has_nulls() -> None:
    identity = json.loads(str(read(BARE, "/latest/dynamic/instance-identity/document")))
    known = {key: value for key, value in identity.items() if value is not None}
    assert known == {
        "imageId": read(BARE, "/latest/meta-data/ami-id"),
        "instanceId": read(BARE, "/latest/meta-data/instance-id"),
        "version": "2017-09-30",
    }
    # Not the peer's address: two peers would read two documents.
    assert identity["privateIp"] is None
