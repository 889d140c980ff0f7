"""cloud-init's renderers make of our documents what the guest needs: of both documents, in each version.

The versions are this distribution's and those in the folders that the environment's ``EVE_META_CLOUD_INIT`` names,
separated by ":". Each has a package ``cloudinit``: ``apt-get download cloud-init`` and ``dpkg-deb --extract`` make one
of Debian's next release, or of unstable. Tried: 22.4.2 (Debian 12), 25.1.4 (Debian 13), 26.2 (unstable in 2026).
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from ipaddress import ip_address
from typing import Any

import pytest

from eve_meta.values.domain import Domain
from eve_meta.values.nic import Bond, BondHash, BondMode, Subnet, SubnetType, Vlan
from tests.unit.documents.reading import load, nic, routes, static

pytest.importorskip("cloudinit", reason="cloud-init is not installed")

FOLDERS = ("", *filter(None, os.environ.get("EVE_META_CLOUD_INIT", "").split(":")))

SERVERS = (ip_address("10.9.9.9"),)

GATEWAYS = {"v4": "169.254.0.1", "v4 /24": "10.1.3.1", "v6": "2001:db8:1::1", "v6 link-local": "fe80::1"}

GUESTS = {
    "v4": Domain(name="a", nics=(nic(static("10.0.0.9/32", gateway=ip_address(GATEWAYS["v4"]))),)),
    "v4 /24": Domain(name="a", nics=(nic(static("10.1.2.10/24", gateway=ip_address(GATEWAYS["v4 /24"]))),)),
    "v6": Domain(name="a", nics=(nic(static("2001:db8::9/64", gateway=ip_address(GATEWAYS["v6"]))),)),
    "v6 link-local": Domain(
        name="a", nics=(nic(static("2001:db8::9/128", gateway=ip_address(GATEWAYS["v6 link-local"]))),)
    ),
    "dhcp": Domain(
        name="a",
        search=("example.org",),
        nics=(
            nic(
                Subnet(
                    type=SubnetType.IPV4_DHCP,
                    gateway=ip_address("10.0.0.1"),
                    routes=routes([("10.5.0.0/16", "10.0.0.2")]),
                    dns=SERVERS,
                )
            ),
        ),
    ),
    "bond": Domain(
        name="a",
        search=("example.org", "example.com"),
        nics=(nic(), nic(tap="vnet1", mac="fa:16:3e:00:00:02"), nic(tap="vnet2", mac="fa:16:3e:00:00:03")),
        bonds=(
            Bond(
                nics=("vnet1", "vnet0"),
                mode=BondMode.LACP,
                xmit_hash_policy=BondHash.LAYER3_4,
                miimon=100,
                subnets=(static("10.1.2.10/24", gateway=ip_address("10.1.2.1"), dns=SERVERS),),
                vlans=(
                    Vlan(id=101, subnets=(static("10.1.101.10/24"),)),
                    Vlan(id=102, subnets=(static("10.1.102.10/24"),)),
                ),
            ),
        ),
    ),
}


@functools.cache
def rendered(folder: str) -> dict[str, Any]:
    """Return what the cloud-init in *folder* makes of each of GUESTS, by its name."""
    guests = [
        {
            "network_data": load(domain, "/openstack/latest/network_data.json"),
            "network_config": load(domain, "/nocloud/network-config"),
            "macs": {nic.mac: f"eth{number}" for number, nic in enumerate(domain.nics)},
        }
        for domain in GUESTS.values()
    ]
    command = (sys.executable, "-m", "tests.unit.documents.rendering", folder)
    done = subprocess.run(command, input=json.dumps(guests), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return dict(zip(GUESTS, json.loads(done.stdout), strict=True))


each_document = pytest.mark.parametrize("document", ["openstack", "nocloud"])
each_version = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder or "installed")


def sections(text: str, name: str) -> list[dict[str, str]]:
    """Return the sections *name* of a file of systemd-networkd."""
    found = re.findall(rf"^\[{name}\]\n((?:(?!\[).*\n?)*)", text, re.MULTILINE)
    return [dict(line.split("=", 1) for line in body.splitlines() if line) for body in found]


@each_version
@each_document
@pytest.mark.parametrize("guest", list(GATEWAYS))
def test_a_gateway_outside_the_subnet_is_the_default_router(guest: str, document: str, folder: str) -> None:
    gateway = GATEWAYS[guest]
    found = rendered(folder)[guest][document]
    # ifupdown adds "dev" and "onlink" to the route of a "gateway", and to no other route.
    assert f"    gateway {gateway}\n" in found["eni"]
    (ethernet,) = found["netplan"]["ethernets"].values()
    to_gateway = [route for route in ethernet["routes"] if route["to"].startswith(f"{gateway}/")]
    defaults = [route for route in ethernet["routes"] if route["to"] in ("default", "0.0.0.0/0", "::/0")]
    assert {route["via"] for route in defaults} == {gateway}
    # networkd, which netplan uses, waits with a route until its router can be reached: on-link, or by another route.
    near = guest == "v6 link-local"
    no_router = ["::" if ":" in gateway else str(ip_address(0))]
    assert [route["via"] for route in to_gateway] == ([] if near else no_router)
    routes_of_networkd = sections(found["networkd"]["eth0.network"], "Route")
    assert {"Gateway": gateway}.items() <= routes_of_networkd[0].items()
    assert [r["Gateway"] for r in routes_of_networkd if r.get("Destination", "").startswith(f"{gateway}/")] == (
        [] if near else no_router
    )


@each_version
@each_document
def test_routes_beside_dhcp(document: str, folder: str) -> None:
    found = rendered(folder)["dhcp"][document]
    assert re.search(r"route add (-net )?10\.5\.0\.0/16 (gw|via) 10\.0\.0\.2", found["eni"])
    assert re.search(r"route add default (gw|via) 10\.0\.0\.1", found["eni"])
    assert {"Destination": "10.5.0.0/16", "Gateway": "10.0.0.2"} in sections(found["networkd"]["eth0.network"], "Route")
    (ethernet,) = found["netplan"]["ethernets"].values()
    assert ethernet["dhcp4"] is True
    # cloud-init's netplan renderer takes routes of static addresses only, from network_data.json.
    told = [(route["to"], route["via"]) for route in ethernet.get("routes", [])]
    assert told == ([("0.0.0.0/0", "10.0.0.1"), ("10.5.0.0/16", "10.0.0.2")] if document == "nocloud" else [])


@each_version
@each_document
def test_search_domains(document: str, folder: str) -> None:
    for guest, device, domains in (("dhcp", "eth0", "example.org"), ("bond", "bond0", "example.org example.com")):
        found = rendered(folder)[guest][document]
        (network,) = sections(found["networkd"][f"{device}.network"], "Network")
        assert (network["DNS"], network["Domains"]) == ("10.9.9.9", domains)
    assert "    dns-search example.org example.com\n" in found["eni"]
    servers = found["netplan"]["bonds"]["bond0"]["nameservers"]
    assert servers == {"addresses": ["10.9.9.9"], "search": ["example.org", "example.com"]}


@each_version
@each_document
def test_a_bond_and_vlans_on_it(document: str, folder: str) -> None:
    found = rendered(folder)["bond"][document]
    plan = found["netplan"]
    assert {name: nic["match"]["macaddress"] for name, nic in plan["ethernets"].items()} == {
        f"{'eth' if document == 'openstack' else 'nic'}{number}": f"fa:16:3e:00:00:0{number + 1}" for number in range(3)
    }
    bond = plan["bonds"]["bond0"]
    assert sorted(bond["interfaces"]) == list(plan["ethernets"])[:2]
    assert bond["parameters"] == {
        "mode": "802.3ad",
        "mii-monitor-interval": 100,
        "transmit-hash-policy": "layer3+4",
    }
    assert (bond["macaddress"], bond["addresses"]) == ("fa:16:3e:00:00:02", ["10.1.2.10/24"])
    assert bond["routes"] == [{"to": "0.0.0.0/0", "via": "10.1.2.1"}]
    for number in (101, 102):
        vlan = plan["vlans"][f"bond0.{number}"]
        assert (vlan["id"], vlan["link"], vlan["addresses"]) == (number, "bond0", [f"10.1.{number}.10/24"])
    members = list(plan["ethernets"])[:2]
    for member in members:
        assert f"iface {member} inet manual\n    bond-master bond0\n" in found["eni"]
    assert "iface bond0 inet static\n    address 10.1.2.10/24\n" in found["eni"]
    assert re.search(
        r"iface bond0\.102 inet static\n    address 10\.1\.102\.10/24\n(    .*\n)*    vlan-raw-device bond0\n",
        found["eni"],
    )
    # A NIC beside the bond keeps its own configuration.
    assert list(plan["ethernets"].values())[2]["dhcp4"] is True
