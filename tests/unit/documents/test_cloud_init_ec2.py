"""cloud-init's Ec2 datasource reads the newer trees."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings

from eve_meta.documents.versions import AWS_VERSIONS, EC2_VERSIONS
from eve_meta.values.domain import Domain
from eve_meta.values.nic import Subnet, SubnetType
from tests.unit.documents.booting import plug_in
from tests.unit.documents.reading import BARE, FULL, nic, static
from tests.unit.strategies import domains

helpers = pytest.importorskip("cloudinit.helpers")
net = pytest.importorskip("cloudinit.net")
network_state = pytest.importorskip("cloudinit.net.network_state")
source = pytest.importorskip("cloudinit.sources.DataSourceEc2")

TREE = "/2021-03-23"


def boot(
    monkeypatch: pytest.MonkeyPatch, domain: Domain, cloud_name: str = "unknown", *, version: str | None = None
) -> tuple[Any, list[str]]:
    """Return the datasource after it has read everything, and the paths that it asked for.

    :param version: the only one that it knows, in place of those that it has.
    """
    wire = plug_in(monkeypatch, domain)
    # Debian 13's cloud-init (25.1.4) asks the distro for the NIC to fall back to, Debian 12's (22.4.2) the datasource.
    distro = SimpleNamespace(fallback_interface="eth0", network_renderer=None)
    datasource = source.DataSourceEc2({}, distro, helpers.Paths({}))
    datasource._fallback_interface = distro.fallback_interface
    datasource.metadata_address = "http://169.254.169.254"
    datasource.wait_for_metadata_service = lambda: True
    datasource._cloud_name = cloud_name
    datasource._api_token = "a token"
    if version is not None:
        datasource.extended_metadata_versions = []
        datasource.min_metadata_version = version
    assert datasource._get_data()
    return datasource, wire.asked


def test_cloud_init_boots(monkeypatch: pytest.MonkeyPatch) -> None:
    datasource, asked = boot(monkeypatch, FULL)
    # It looks for the newest tree first, and stays with it.
    assert asked[:3] == [f"{TREE}/meta-data/instance-id", f"{TREE}/user-data", f"{TREE}/meta-data/"]
    assert {path.split("/")[1] for path in asked} == {"2021-03-23"}
    # One request to see whether the version exists; 27 that 2009-04-04 needs, too; instance-life-cycle and mac;
    # services/ with 2 leaves; tags/instance/ with 1; network/ with 4 directories and 10 leaves.
    assert len(asked) == 1 + 27 + 2 + 3 + 3 + 15
    assert datasource.get_instance_id() == "i-0000002a"
    assert datasource.userdata_raw == b"#cloud-config\n"
    assert datasource.get_public_ssh_keys() == ["ssh-ed25519 AAAA alice@example"]
    assert datasource.availability_zone == "nova"
    assert datasource.metadata["tags"] == {"instance": {"role": "web"}}
    assert datasource.metadata["network"]["interfaces"]["macs"]["fa:16:3e:00:00:01"]["local-ipv4s"] == "10.1.2.10"
    assert datasource.device_name_to_device("ebs0") == "/dev/vdb"


def test_cloud_init_boots_a_bare_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    datasource, _ = boot(monkeypatch, BARE)
    assert "network" not in datasource.metadata
    assert datasource.network_config is None  # so the guest falls back to DHCP
    assert "tags" not in datasource.metadata


def test_cloud_init_boots_a_guest_that_looks_like_one_of_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    datasource, asked = boot(monkeypatch, evolve(FULL, availability_zone="eu-west-1a"), "aws")
    assert asked[-2:] == [f"{TREE}/dynamic/instance-identity", f"{TREE}/dynamic/instance-identity/document"]
    assert datasource.identity["instanceId"] == datasource.get_instance_id() == "i-0000002a"
    assert datasource.region == "eu-west-1"
    assert datasource.availability_zone == "eu-west-1a"


def test_all_nics_and_their_second_addresses_come_up(monkeypatch: pytest.MonkeyPatch) -> None:
    dhcp = Subnet(type=SubnetType.IPV4_DHCP, address=static("10.0.0.5/20").address)
    domain = Domain(
        name="vm",
        nics=(
            nic(dhcp, static("10.0.1.5/20"), static("2001:db8::5/64")),
            nic(tap="vnet1", mac="fa:16:3e:00:00:02"),
        ),
    )
    datasource, _ = boot(monkeypatch, domain)
    monkeypatch.setattr(
        net, "get_interfaces_by_mac", lambda: {"fa:16:3e:00:00:01": "eth0", "fa:16:3e:00:00:02": "eth1"}
    )
    ethernets = datasource.network_config["ethernets"]
    assert ethernets["eth0"] == {
        "match": {"macaddress": "fa:16:3e:00:00:01"},
        "set-name": "eth0",
        "dhcp4": True,
        "dhcp4-overrides": {"route-metric": 100},
        "dhcp6": True,
        "dhcp6-overrides": {"route-metric": 100},
        "addresses": ["10.0.1.5/20"],
    }
    assert ethernets["eth1"]["dhcp4-overrides"] == {"route-metric": 200}
    # Without a vpc-id, the configuration is written anew at every boot.
    assert datasource.is_classic_instance()


@given(domains())
def test_any_domain_boots(domain: Domain) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        datasource, _ = boot(monkeypatch, domain, "aws")
        known = {nic.mac: f"eth{n}" for n, nic in enumerate(domain.nics) if nic.mac}
        monkeypatch.setattr(net, "get_interfaces_by_mac", lambda: known)
        assert datasource.get_instance_id().startswith("i-")
        tags = datasource.metadata.get("tags", {}).get("instance", {})
        assert set(tags) <= set(domain.meta)
        if known:
            config = datasource.network_config
            assert set(config["ethernets"]) == set(known.values())
            network_state.NetworkStateInterpreter(version=2, config=config).parse_config(skip_broken=False)


@settings(max_examples=15)
@given(domains())
def test_any_domain_boots_by_every_version(domain: Domain) -> None:
    known = {nic.mac: f"eth{n}" for n, nic in enumerate(domain.nics) if nic.mac}
    for version in (*EC2_VERSIONS, *AWS_VERSIONS, "latest"):
        with pytest.MonkeyPatch.context() as monkeypatch:
            datasource, asked = boot(monkeypatch, domain, "aws", version=version)
            assert {path.split("/")[1] for path in asked} == {version}
            assert datasource.get_instance_id().startswith("i-")
            assert (datasource.userdata_raw or b"") == bytes(domain.user_data or b"")
            assert len(datasource.metadata.get("public-keys", {})) == len({name.strip() for name in domain.public_keys})
            if version in AWS_VERSIONS and known:
                monkeypatch.setattr(net, "get_interfaces_by_mac", lambda: known)
                config = datasource.network_config
                network_state.NetworkStateInterpreter(version=2, config=config).parse_config(skip_broken=False)
