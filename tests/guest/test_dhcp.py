"""Guests that have nothing but their NIC: their taps answer the DHCP of others' clients, and they read their metadata.

The bridge has no address, and nobody on it is a DHCP server or a router. tests/kernel/test_dhcp.py examines each state
and option of the protocol; here clients of others configure what they were told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.guests import Guest
from tests.guest import dhcp_clients
from tests.guest.dhcp_clients import Dhclient, Udhcpc
from tests.guest.scene import Identity, Scene, domain, eventually, scene

NAME = "emg-dhcp"

GUESTS = {number: (f"vnet{number}", f"fa:16:3e:00:00:{number:02x}") for number in (1, 2, 3)}


def nic(number: int, *subnets: dict[str, Any], **more: Any) -> dict[str, Any]:
    tap, mac = GUESTS[number]
    return {"tap": tap, "mac": mac, "subnets": list(subnets), **more}


FULL = {
    "type": "ipv4",
    "address": "10.1.2.10/24",
    "gateway": "10.1.2.1",
    "dns": ["10.1.2.2"],
    "routes": [{"to": "192.168.50.0/24", "via": "10.1.2.7"}],
}
ROUTED = {"type": "ipv4_dhcp", "address": "10.0.0.9/32", "gateway": "169.254.0.1"}


@pytest.fixture(scope="module")
def stage() -> Iterator[Scene]:
    """Three guests without any address on a bridge without any.

    vm1 has all options, vm2 an address without neighbours, and vm3 a link-local address.
    """
    domains = {
        "vm1": domain(1, None, dhcp="on", search=["example.org", "corp.example.org"], nics=[nic(1, FULL, mtu=1400)]),
        "vm2": domain(2, None, nics=[nic(2, ROUTED, dhcp="on")]),
        "vm3": domain(3, None, dhcp="on", nics=[nic(3)]),
    }
    with scene(NAME, domains, address=None) as running:
        for number, (tap, mac) in GUESTS.items():
            running.lab.guest(f"vm{number}", tap=tap, bridge="br0", address=None, mac=mac)
        running.wait_until_known(**{tap: number for number, (tap, _) in GUESTS.items()})
        yield running


def addresses(guest: Guest) -> list[str]:
    """Return the IPv4 addresses of the guest's NIC."""
    (link,) = json.loads(guest.run("ip", "-json", "-4", "address", "show", "dev", "eth0").stdout)
    return [f"{each['local']}/{each['prefixlen']}" for each in link["addr_info"]]


def routes(guest: Guest) -> dict[str, str | None]:
    """Return the router of each route of the guest, None for a network on its link."""
    shown = json.loads(guest.run("ip", "-json", "-4", "route", "show", "dev", "eth0").stdout)
    return {route["dst"]: route.get("gateway") for route in shown}


def reads_its_metadata(guest: Guest, number: int) -> bool:
    return Identity.asked_by(guest) == Identity.of(number)


def verdict(stage: Scene, what: str) -> tuple[str, str]:
    """Return the verdict and the text of ``explain``'s step about DHCP."""
    done = stage.lab.host.run(*stage.daemon.command("explain", what, "--json"), check=False)
    (step,) = (step for step in json.loads(done.stdout)["steps"] if step["step"] == "dhcp")
    return step["verdict"], step["text"]


def change(stage: Scene, number: int, **plain: Any) -> None:
    """Write another file of domain *number*, and wait until its tap gives another address."""
    tap = f"vnet{number}"
    before = stage.status_of(tap)["dhcp"]["address"]
    stage.daemon.write_domain(f"vm{number}", domain(number, None, **plain))
    eventually(lambda: stage.status_of(tap)["dhcp"]["address"] != before, 10)


needs_dhclient = pytest.mark.skipif(not Dhclient().is_installed, reason="isc-dhcp-client is not installed")
needs_udhcpc = pytest.mark.skipif(not Udhcpc().is_installed, reason="busybox is not installed")


@needs_dhclient
def test_dhclient_is_told_all_that_the_domain_file_has_and_a_changed_address_when_it_starts_again(
    stage: Scene, tmp_path: Path
) -> None:
    guest = stage.lab.guests["vm1"]
    with dhcp_clients.running(Dhclient(), guest, tmp_path / "dhclient") as client:
        bound = client.call("BOUND")
        assert {name.removeprefix("new_"): text for name, text in bound.items() if name.startswith("new_")}.items() >= {
            "ip_address": "10.1.2.10",
            "subnet_mask": "255.255.255.0",
            "routers": "10.1.2.1",
            "domain_name_servers": "10.1.2.2",
            "host_name": "vm1",
            "domain_name": "example.org",
            "domain_search": "example.org. corp.example.org.",
            "interface_mtu": "1400",
            "dhcp_lease_time": "3600",
            "dhcp_server_identifier": "169.254.169.254",
        }.items()
        assert bound["new_ms_routes"] == bound["new_rfc3442_classless_static_routes"]
    assert addresses(guest) == ["10.1.2.10/24"]
    assert routes(guest) == {
        "default": "10.1.2.1",
        "10.1.2.0/24": None,
        "169.254.169.254": None,
        "192.168.50.0/24": "10.1.2.7",
    }
    assert reads_its_metadata(guest, 1)
    assert verdict(stage, "vm1")[0] == "dhcp-answered"

    change(stage, 1, dhcp="on", nics=[nic(1, {**FULL, "address": "10.1.2.11/24"})])
    found, text = verdict(stage, "vm1")
    assert found == "dhcp-renewal-due"
    assert "DHCP gave 10.1.2.10" in text
    assert "it is 10.1.2.11" in text
    # It asks for the address of its lease first (INIT-REBOOT).
    with dhcp_clients.running(Dhclient(), guest, tmp_path / "dhclient") as client:
        assert client.call("BOUND", "REBOOT")["new_ip_address"] == "10.1.2.11"
    assert addresses(guest) == ["10.1.2.11/24"]
    assert stage.status_of("vnet1")["dhcp"]["answers"]["nak"] == 1
    assert verdict(stage, "vm1")[0] == "dhcp-answered"
    assert reads_its_metadata(guest, 1)


@needs_udhcpc
def test_udhcpc_gets_an_address_without_neighbours_and_the_next_one_when_it_renews(
    stage: Scene, tmp_path: Path
) -> None:
    guest = stage.lab.guests["vm2"]
    with dhcp_clients.running(Udhcpc(), guest, tmp_path / "udhcpc") as client:
        assert client.call("bound")["ip"] == "10.0.0.9"
        assert addresses(guest) == ["10.0.0.9/32"]
        assert routes(guest) == {"default": "169.254.0.1", "169.254.0.1": None, "169.254.169.254": None}
        assert reads_its_metadata(guest, 2)
        # A changed lease has another address; the client asks the tap itself for the old one, which refuses.
        change(stage, 2, nics=[nic(2, {**ROUTED, "address": "10.0.0.10/32"}, dhcp="on")])
        before = len(client.calls())
        client.renew()
        assert client.call("bound", after=before)["ip"] == "10.0.0.10"
        assert [call["reason"] for call in client.calls()[before:]] == ["nak", "deconfig", "bound"]
        assert addresses(guest) == ["10.0.0.10/32"]
        assert reads_its_metadata(guest, 2)


@needs_dhclient
def test_a_nic_without_an_address_gets_a_link_local_one_which_is_enough_to_read_metadata(
    stage: Scene, tmp_path: Path
) -> None:
    guest = stage.lab.guests["vm3"]
    with dhcp_clients.running(Dhclient(), guest, tmp_path / "dhclient") as client:
        bound = client.call("BOUND")
    assert bound["new_ip_address"] == stage.status_of("vnet3")["dhcp"]["address"]
    assert "new_routers" not in bound
    assert routes(guest) == {"169.254.0.0/16": None, "169.254.169.254": None}
    assert reads_its_metadata(guest, 3)


def test_the_host_knows_when_guests_got_their_addresses(stage: Scene) -> None:
    seen = {tap: stage.status_of(tap)["seen"]["dhcp_ack"] for tap, _ in GUESTS.values()}
    assert all(seen.values()), seen
    timeline = json.loads(stage.lab.host.run(*stage.daemon.command("timeline", "vm1", "--json")).stdout)
    assert {"first DHCP", "first DHCP offer", "first DHCP ack"} <= {each["what"] for each in timeline[0]["moments"]}
