"""cloud-init itself, as this Debian packages it, reads the documents."""

from __future__ import annotations

import datetime
import json
from ipaddress import ip_address
from typing import Any

import pytest
import yaml
from attrs import evolve
from hypothesis import given, settings

from eve_meta.documents.tree import Tree
from eve_meta.documents.versions import OPENSTACK_VERSIONS
from eve_meta.values.domain import Domain
from eve_meta.values.nic import Nic, Subnet, SubnetType
from tests.unit.documents.reading import BARE, FULL, SEED, TODAY, network_data_of, nic, static
from tests.unit.strategies import domains

openstack = pytest.importorskip("cloudinit.sources.helpers.openstack", reason="cloud-init is not installed")
ec2 = pytest.importorskip("cloudinit.sources.helpers.ec2", reason="cloud-init is not installed")
sources = pytest.importorskip("cloudinit.sources", reason="cloud-init is not installed")
network_state = pytest.importorskip("cloudinit.net.network_state", reason="cloud-init is not installed")
netplan = pytest.importorskip("cloudinit.net.netplan", reason="cloud-init is not installed")
eni = pytest.importorskip("cloudinit.net.eni", reason="cloud-init is not installed")

DHCP = Subnet(type=SubnetType.IPV4_DHCP)


class Boot:
    """cloud-init's OpenStack reader, with the tree in place of the network.

    :param version: the only version that it knows, in place of those that it has.
    """

    def __init__(self, domain: Domain, today: datetime.date = TODAY, *, version: str | None = None) -> None:
        tree = Tree(domain)
        self.asked: list[str] = []

        def get(url: str) -> bytes:
            path = url.removeprefix("http://169.254.169.254")
            self.asked.append(path)
            document = tree.find(tuple(s for s in path.split("/") if s), peer="10.0.0.5", today=today)
            if document is None:
                raise OSError(f"404 {path}")
            return bytes(document.render(SEED))

        def read_ec2_metadata() -> Any:
            url = "http://169.254.169.254/latest/meta-data/"
            return ec2.MetadataMaterializer(get(url), url, get).materialize()

        reader = openstack.MetadataReader("http://169.254.169.254")
        reader._path_read = lambda path, decode=False: get(path).decode() if decode else get(path)
        reader._read_ec2_metadata = read_ec2_metadata
        with pytest.MonkeyPatch.context() as monkeypatch:
            if version is not None:
                monkeypatch.setattr(openstack, "OS_VERSIONS", (version,))
            self.results: Any = reader.read_v2()


def test_cloud_init_boots_a_domain_with_everything() -> None:
    boot = Boot(FULL)
    # On the wire there are 35: the datasource asks for /openstack once more before, to see whether anybody answers.
    assert boot.asked[:9] == [
        "/openstack",
        "/openstack/2018-08-27/meta_data.json",
        "/openstack/2018-08-27/user_data",
        "/openstack/2018-08-27/vendor_data.json",
        "/openstack/2018-08-27/vendor_data2.json",
        "/openstack/2018-08-27/network_data.json",
        "/openstack/content/0000",
        "/openstack/content/0001",
        "/latest/meta-data/",
    ]
    assert len(boot.asked) == 34
    results = boot.results
    assert results["files"] == {"/etc/motd": b"hello", "/etc/blob": b"\x1f\x8b\xff\0"}
    assert results["userdata"] == b"#cloud-config\n"
    assert results["metadata"]["instance-id"] == "1a831fa7-c50b-4693-a16e-fb8171f1b69e"
    assert results["metadata"]["local-hostname"] == "web1.example.org"
    assert results["metadata"]["random_seed"] == SEED
    assert sources.normalize_pubkey_data(results["metadata"]["public_keys"]) == ["ssh-ed25519 AAAA alice@example\n"]
    assert sources.convert_vendordata(results["vendordata"]) == "#cloud-config\n{}"
    assert sources.convert_vendordata(results["vendordata2"]) == "#cloud-config\n{}"
    assert results["ec2-metadata"]["public-keys"] == {"alice": ["ssh-ed25519 AAAA alice@example"]}
    assert results["ec2-metadata"]["block-device-mapping"]["ebs0"] == "/dev/vdb"
    assert results["ec2-metadata"]["security-groups"] == ["default", "web"]


def test_cloud_init_boots_a_bare_domain() -> None:
    boot = Boot(BARE)
    assert len(boot.asked) == 25  # and the first, as above
    assert "networkdata" not in boot.results  # so the guest falls back to DHCP
    assert boot.results["userdata"] == ""
    assert boot.results["ec2-metadata"]["placement"] == {"availability-zone": "None"}


@given(domains())
def test_any_domain_boots(domain: Domain) -> None:
    results = Boot(domain).results
    assert results["metadata"]["uuid"] == str(domain.instance_uuid)
    assert results["metadata"].get("public_keys", {}) == domain.public_keys
    assert set(results["files"]) == {file.path for file in domain.files}
    assert results["ec2-metadata"]["instance-id"].startswith("i-")
    assert len(results["ec2-metadata"].get("public-keys", ())) == len({name.strip() for name in domain.public_keys})
    if "networkdata" in results:
        known = {nic.mac: f"eth{n}" for n, nic in enumerate(domain.nics)}
        assert converted(results["networkdata"], known)["config"]


@settings(max_examples=15)
@given(domains())
def test_any_domain_boots_by_every_version(domain: Domain) -> None:
    known = {nic.mac: f"eth{n}" for n, nic in enumerate(domain.nics)}
    for version in OPENSTACK_VERSIONS:
        boot = Boot(domain, version=version)
        assert f"/openstack/{version}/meta_data.json" in boot.asked
        assert boot.results["metadata"]["instance-id"] == str(domain.instance_uuid)
        assert boot.results["metadata"]["local-hostname"] == domain.guest_hostname
        assert (boot.results["userdata"] or b"") == bytes(domain.user_data or b"")
        if any(nic.mac and nic.subnets for nic in domain.nics):
            assert converted(boot.results["networkdata"], known)["config"]


def converted(network_data: Any, known_macs: dict[str | None, str]) -> Any:
    config = openstack.convert_net_json(json.loads(json.dumps(network_data)), known_macs=known_macs)
    # Raises what the guest's renderers would stumble over, where parse_config by itself only logs it.
    network_state.NetworkStateInterpreter(version=1, config=config["config"]).parse_config(skip_broken=False)
    return config


def state_of(*nics: Nic) -> Any:
    known: dict[str | None, str] = {nic.mac: f"eth{n}" for n, nic in enumerate(nics)}
    return network_state.parse_net_config_data(converted(network_data_of(*nics), known), skip_broken=False)


def netplan_of(*nics: Nic) -> Any:
    return yaml.safe_load(netplan.Renderer()._render_content(state_of(*nics)))["network"]


def test_static_addresses_are_configured() -> None:
    plan = netplan_of(
        nic(
            static("10.0.0.5/24", gateway=ip_address("10.0.0.1"), dns=(ip_address("10.0.0.2"),)),
            static("2001:db8::5/64", gateway=ip_address("2001:db8::1")),
            mtu=1450,
        )
    )
    # Debian 12's cloud-init (22.4.2) writes an empty list of search domains, Debian 13's (25.1.4) none.
    assert plan["ethernets"]["eth0"]["nameservers"].pop("search", []) == []
    assert plan["ethernets"]["eth0"] == {
        "match": {"macaddress": "fa:16:3e:00:00:01"},
        "set-name": "eth0",
        "mtu": 1450,
        "accept-ra": False,
        "addresses": ["10.0.0.5/24", "2001:db8::5/64"],
        "nameservers": {"addresses": ["10.0.0.2"]},
        "routes": [{"to": "0.0.0.0/0", "via": "10.0.0.1"}, {"to": "::/0", "via": "2001:db8::1"}],
    }


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (SubnetType.IPV4_DHCP, "dhcp4"),
        (SubnetType.IPV6_DHCP, "dhcp6"),
        (SubnetType.IPV6_SLAAC, "dhcp6"),
        (SubnetType.IPV6_DHCPV6_STATEFUL, "dhcp6"),
        (SubnetType.IPV6_DHCPV6_STATELESS, "dhcp6"),
    ],
)
def test_dynamic_addresses_are_configured_as_dynamic(kind: SubnetType, key: str) -> None:
    interface = netplan_of(nic(Subnet(type=kind)))["ethernets"]["eth0"]
    assert interface[key] is True
    assert "addresses" not in interface


def test_slaac_and_dhcpv6_are_distinguished() -> None:
    text = eni.Renderer()._render_interfaces(state_of(nic(Subnet(type=SubnetType.IPV6_SLAAC))))
    assert "iface eth0 inet6 auto\n" in text
    text = eni.Renderer()._render_interfaces(state_of(nic(Subnet(type=SubnetType.IPV6_DHCPV6_STATEFUL))))
    assert "iface eth0 inet6 dhcp\n" in text


def test_a_vlan_becomes_a_device_that_tags_frames() -> None:
    plan = netplan_of(nic(static("10.0.0.5/24"), vlan=7, mtu=1450))
    assert plan["ethernets"]["eth0"] == {
        "match": {"macaddress": "fa:16:3e:00:00:01"},
        "set-name": "eth0",
        "mtu": 1450,
    }
    assert plan["vlans"] == {
        "eth0.7": {
            "id": 7,
            "link": "eth0",
            "macaddress": "fa:16:3e:00:00:01",
            "mtu": 1450,
            "addresses": ["10.0.0.5/24"],
        }
    }


def test_two_nics_that_share_a_link_name_keep_their_own_addresses() -> None:
    plan = netplan_of(
        nic(static("10.0.0.5/24"), link="lan"),
        nic(static("10.0.1.5/24"), link="lan", tap="vnet1", mac="fa:16:3e:00:00:02"),
    )
    assert {name: nic["addresses"] for name, nic in plan["ethernets"].items()} == {
        "eth0": ["10.0.0.5/24"],
        "eth1": ["10.0.1.5/24"],
    }


def test_a_nic_without_subnets_uses_dhcp() -> None:
    plan = netplan_of(nic(), nic(static("10.0.1.5/24"), tap="vnet1", mac="fa:16:3e:00:00:02"))
    assert plan["ethernets"]["eth0"]["dhcp4"] is True


def test_a_nic_without_a_mac_does_not_break_the_network_of_the_others() -> None:
    plan = netplan_of(evolve(nic(DHCP), mac=None, tap="vnet9"), nic(static("10.0.1.5/24")))
    assert plan["ethernets"]["eth1"]["addresses"] == ["10.0.1.5/24"]
