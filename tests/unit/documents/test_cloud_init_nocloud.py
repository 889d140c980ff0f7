"""cloud-init's NoCloud datasource reads ``/nocloud``: over HTTP, and as the files of a seed.

Debian 12's cloud-init reads no ``network-config`` over HTTP, as newer ones do, but from a seed's files; what it makes
of it then is the same.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml
from attrs import evolve
from hypothesis import given

from eve_meta.values.domain import Domain
from eve_meta.values.nic import Nic, Subnet, SubnetType
from tests.unit.documents.booting import plug_in
from tests.unit.documents.reading import BARE, FULL, find, nic, routes, static
from tests.unit.strategies import domains

convert_network = pytest.importorskip("cloudinit.net.network_state")
eni = pytest.importorskip("cloudinit.net.eni")
handlers = pytest.importorskip("cloudinit.user_data")
helpers = pytest.importorskip("cloudinit.helpers")
netplan = pytest.importorskip("cloudinit.net.netplan")
networkd = pytest.importorskip("cloudinit.net.networkd")
source = pytest.importorskip("cloudinit.sources.DataSourceNoCloud")
util = pytest.importorskip("cloudinit.util")

SERIAL = "ds=nocloud;s=http://169.254.169.254/nocloud/"

FILES = ("meta-data", "user-data", "vendor-data", "network-config")


def boot(
    monkeypatch: pytest.MonkeyPatch, domain: Domain, kind: str, *, serial: str, seed: str = "/nonexistent"
) -> tuple[Any, list[str]]:
    """Return the datasource *kind* after it has read everything, and the paths that it asked for."""
    wire = plug_in(monkeypatch, domain)
    monkeypatch.setattr("cloudinit.dmi.read_dmi_data", lambda key: serial)
    monkeypatch.setattr(util, "get_cmdline", lambda: "")
    monkeypatch.setattr(util, "find_devs_with", lambda criteria: [])
    paths = helpers.Paths({})
    paths.seed_dir = seed
    datasource = getattr(source, kind)({}, None, paths)
    assert datasource._get_data()
    return datasource, wire.asked


def boot_over_http(monkeypatch: pytest.MonkeyPatch, domain: Domain) -> tuple[Any, list[str]]:
    return boot(monkeypatch, domain, "DataSourceNoCloudNet", serial=SERIAL)


def network_config_of(domain: Domain) -> Any:
    document = find(domain, "/nocloud/network-config")
    assert document is not None
    return util.load_yaml(document.body)


def test_cloud_init_boots(monkeypatch: pytest.MonkeyPatch) -> None:
    datasource, asked = boot_over_http(monkeypatch, FULL)
    seed = ["/nocloud/meta-data", "/nocloud/user-data", "/nocloud/vendor-data"]
    # Debian 12's cloud-init (22.4.2) does not ask for network-config over HTTP, Debian 13's (25.1.4) does.
    over_http = asked[0] == "/nocloud/network-config"
    assert asked == [*(["/nocloud/network-config"] if over_http else []), *seed]
    assert datasource.get_instance_id() == "1a831fa7-c50b-4693-a16e-fb8171f1b69e"
    assert datasource.get_hostname(fqdn=True).hostname == "web1.example.org"
    assert datasource.get_public_ssh_keys() == ["ssh-ed25519 AAAA alice@example\n"]
    assert datasource.launch_index == 3
    assert datasource.availability_zone == "nova"
    assert datasource.userdata_raw == b"#cloud-config\n"
    assert datasource.network_config == (network_config_of(FULL) if over_http else None)


def test_cloud_init_boots_a_bare_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    datasource, _ = boot_over_http(monkeypatch, BARE)
    assert (datasource.userdata_raw, datasource.vendordata_raw) == (b"", b"")
    assert datasource.get_public_ssh_keys() == []
    assert datasource.availability_zone is None


def test_all_parts_of_vendor_data_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = ["#cloud-config\nruncmd: [ls]\n", "#!/bin/sh\necho \U0001f600\n"]
    domain = evolve(BARE, vendor_data={"cloud-init": parts[0]}, vendor_data2={"cloud-init": parts[1:]})
    datasource, _ = boot_over_http(monkeypatch, domain)
    message = handlers.UserDataProcessor(helpers.Paths({})).process(datasource.vendordata_raw)
    read = [part for part in message.walk() if not part.is_multipart()]
    assert [part.get_content_type() for part in read] == ["text/cloud-config", "text/x-shellscript"]
    assert [part.get_payload(decode=True).decode() for part in read] == parts


def seeded(tmp_path: Path, domain: Domain) -> Any:
    """Return the datasource after it has read everything from files."""
    (tmp_path / "nocloud").mkdir()
    for name in FILES:
        document = find(domain, f"/nocloud/{name}")
        assert document is not None
        (tmp_path / "nocloud" / name).write_bytes(bytes(document.body))
    with pytest.MonkeyPatch.context() as monkeypatch:
        return boot(monkeypatch, domain, "DataSourceNoCloud", serial="", seed=str(tmp_path))[0]


def test_cloud_init_reads_the_same_from_a_seed_of_files(tmp_path: Path) -> None:
    datasource = seeded(tmp_path, FULL)
    assert datasource.get_instance_id() == "1a831fa7-c50b-4693-a16e-fb8171f1b69e"
    assert datasource.network_config["ethernets"]["nic0"]["addresses"] == ["10.1.2.10/24"]


def test_an_empty_network_config_is_no_configuration(tmp_path: Path) -> None:
    # stages._find_networking_config() takes the fallback, DHCP, when this is not true.
    assert not seeded(tmp_path, BARE).network_config


class Guest:
    """A guest whose NICs have the MAC addresses of *nics* and are eth0, eth1 …"""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *nics: Nic) -> None:
        config = network_config_of(Domain(name="vm", nics=nics))
        names = {nic.mac: f"eth{number}" for number, nic in enumerate(nics)}
        monkeypatch.setattr(convert_network, "get_interfaces_by_mac", lambda: names)
        monkeypatch.setattr(convert_network, "find_interface_name_from_mac", names.get)
        self.state = convert_network.parse_net_config_data(config, skip_broken=False)

    def netplan(self) -> Any:
        """Return the file that the netplan renderer writes."""
        return yaml.safe_load(netplan.Renderer()._render_content(self.state))["network"]

    def interfaces(self) -> str:
        """Return the file that the renderer of ``/etc/network/interfaces`` writes."""
        return str(eni.Renderer()._render_interfaces(self.state))

    def networkd(self) -> dict[str, str]:
        """Return the files that the systemd-networkd renderer writes, by name."""
        return dict(networkd.Renderer({})._render_content(self.state))


STATIC = nic(
    static("10.0.0.5/24", gateway=ip_address("10.0.0.1"), dns=(ip_address("10.0.0.2"),)),
    static("2001:db8::5/64", gateway=ip_address("fe80::1")),
    mtu=1450,
)


def test_netplan_gets_the_configuration_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Guest(monkeypatch, STATIC).netplan() == {
        "version": 2,
        "ethernets": {
            "nic0": {
                "match": {"macaddress": "fa:16:3e:00:00:01"},
                "mtu": 1450,
                "accept-ra": False,
                "addresses": ["10.0.0.5/24", "2001:db8::5/64"],
                "gateway6": "fe80::1",  # for ifupdown, see test_renderers.py
                "routes": [{"to": "0.0.0.0/0", "via": "10.0.0.1"}, {"to": "::/0", "via": "fe80::1"}],
                "nameservers": {"addresses": ["10.0.0.2"]},
            }
        },
    }


def test_the_other_renderers_find_the_nic_by_its_mac_address(monkeypatch: pytest.MonkeyPatch) -> None:
    guest = Guest(monkeypatch, nic(tap="vnet9", mac="fa:16:3e:00:00:09"), STATIC)
    text = guest.interfaces()
    assert "iface eth0 inet dhcp\n" in text
    assert "iface eth1 inet static\n    address 10.0.0.5/24\n" in text
    assert "iface eth1 inet6 static\n    address 2001:db8::5/64\n" in text
    assert "post-up route add default gw 10.0.0.1" in text
    config = guest.networkd()["eth1"]
    assert "MACAddress=fa:16:3e:00:00:01\n" in config
    assert "Address=10.0.0.5/24\n" in config
    assert "Gateway=10.0.0.1\n" in config
    assert "DNS=10.0.0.2\n" in config


def test_a_vlan_is_on_the_nic_that_its_link_names(monkeypatch: pytest.MonkeyPatch) -> None:
    guest = Guest(monkeypatch, nic(static("10.0.0.5/24"), vlan=7, mtu=1450))
    text = guest.interfaces()
    assert "iface nic0 inet manual\n    mtu 1450\n" in text
    assert "iface nic0.7 inet static\n    address 10.0.0.5/24\n    mtu 1450\n    vlan-raw-device nic0\n" in text
    assert guest.netplan()["vlans"]["nic0.7"]["link"] == "nic0"


@pytest.mark.parametrize("kind", [kind for kind in SubnetType if not kind.static])
def test_dynamic_addresses_are_configured_as_dynamic(kind: SubnetType, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = Guest(monkeypatch, nic(Subnet(type=kind)))
    assert f"iface eth0 inet{'6' if kind.version == 6 else ''} dhcp\n" in guest.interfaces()


def test_routes_are_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    given = routes([("192.168.50.0/24", "10.0.0.254"), ("10.9.0.0/16", "10.0.0.254")])
    text = Guest(monkeypatch, nic(static("10.0.0.5/24", routes=given))).interfaces()
    assert "post-up route add -net 192.168.50.0/24 gw 10.0.0.254" in text
    assert "post-up route add -net 10.9.0.0/16 gw 10.0.0.254" in text


@given(domains())
def test_any_domain_boots(domain: Domain) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        datasource, _ = boot_over_http(monkeypatch, domain)
        assert datasource.get_instance_id() == str(domain.instance_uuid)
        assert datasource.metadata["local-hostname"] == domain.guest_hostname
        assert datasource.metadata.get("public-keys", {}) == domain.public_keys
        assert datasource.userdata_raw == bytes(domain.user_data or b"")
        assert datasource.availability_zone == domain.availability_zone
        config = network_config_of(domain)
        macs = {nic.mac for nic in domain.nics if nic.mac}
        if not config:
            assert not any(nic.mac and nic.subnets for nic in domain.nics)
            assert not any(
                nic.mac and nic.is_called(name) for bond in domain.bonds for name in bond.nics for nic in domain.nics
            )
            return
        assert {ethernet["match"]["macaddress"] for ethernet in config["ethernets"].values()} == macs
        # Where there are search domains and no DNS servers, it complains, and takes the search domains all the same.
        servers = any(subnet.dns for subnet in domain.subnets)
        state = convert_network.parse_net_config_data(config, skip_broken=bool(domain.search and not servers))
        renderers = (netplan.Renderer(), "_render_content"), (eni.Renderer(), "_render_interfaces")
        for renderer, render in (*renderers, (networkd.Renderer({}), "_render_content")):
            assert getattr(renderer, render)(state)
