"""Lines for known_hosts: whose names they have, and what no guest and no neighbour can have put into one."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from attrs import evolve
from twisted.internet.defer import succeed

from eve_meta.admin.known_hosts import host_keys, known_hosts
from eve_meta.admin.questions import HostKeysOfDomain
from eve_meta.cli.known_hosts import lines
from eve_meta.state.host_keys import KeptKeys
from eve_meta.steering.taps.tap import Tap
from eve_meta.supervisor.tap_state import TapState
from eve_meta.values.domain import Domain
from eve_meta.values.host_key import read_host_key
from eve_meta.values.nic import Bond, BondMode, Nic, Subnet, SubnetType, Vlan

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJKOEWEDN3K5WzKNk4Q5Ql1ZFgGQxNQ3Cw0u2mT9yZ9s"

UUID1, UUID2, UUID3 = (UUID(int=number) for number in (1, 2, 3))


def domain(number: int, hostname: str | None = None, *addresses: str, **more: Any) -> Domain:
    """Return a domain with a NIC that has *addresses*."""
    subnets = tuple(
        Subnet(type=SubnetType.IPV6, address=IPv6Interface(each))
        if ":" in each
        else Subnet(type=SubnetType.IPV4, address=IPv4Interface(each))
        for each in addresses
    )
    nics = (Nic(tap=f"vnet{number}", subnets=subnets),)
    return Domain(uuid=UUID(int=number), name=f"vm{number}", hostname=hostname, nics=nics, **more)


def asked(*domains: Domain, kept: dict[UUID, KeptKeys] | None = None) -> list[HostKeysOfDomain]:
    """Return what a daemon answers that knows *domains*; each has a key unless *kept* says else."""
    supervisor, inventory = daemon(*domains, kept=kept)
    found: list[Any] = []
    known_hosts(supervisor, inventory).addCallback(found.append)
    answer: list[HostKeysOfDomain] = found[0]
    return answer


def daemon(*domains: Domain, kept: dict[UUID, KeptKeys] | None = None) -> tuple[Any, Any]:
    if kept is None:
        kept = {each.instance_uuid: keys_of(each) for each in domains}
    supervisor = SimpleNamespace(taps=[], host_keys=SimpleNamespace(all=lambda: succeed(kept)))
    inventory = SimpleNamespace(domains=lambda: list(domains), written_taps=dict, problems=tuple)
    return cast(Any, supervisor), cast(Any, inventory)


def keys_of(domain: Domain) -> KeptKeys:
    return KeptKeys(domain.guest_uuid, 1_769_860_800.0, (read_host_key(KEY),))


def test_a_line_has_the_host_name_and_every_address() -> None:
    bonded = Bond(
        nics=("vnet1",),
        mode=BondMode.BROADCAST,
        subnets=(Subnet(type=SubnetType.IPV4, address=IPv4Interface("10.2.0.1/24")),),
        vlans=(Vlan(id=7, subnets=(Subnet(type=SubnetType.IPV4, address=IPv4Interface("10.3.0.1/24")),)),),
    )
    web = domain(1, "Web1.Example.org", "10.1.0.1/24", "2001:db8::1/64", bonds=(bonded,))
    (shown,) = asked(web)
    assert list(lines(shown)) == [f"web1.example.org,10.1.0.1,2001:db8::1,10.2.0.1,10.3.0.1 {KEY}"]
    assert (shown["name"], shown["uuid"], shown["at"]) == ("vm1", str(UUID1), "2026-01-31T12:00:00.000Z")


def test_an_address_by_dhcp_counts_where_it_is_known_and_so_does_a_floating_one() -> None:
    dhcp = Subnet(type=SubnetType.IPV4_DHCP, address=IPv4Interface("10.1.0.1/24"), floating=(IPv4Address("192.0.2.7"),))
    (shown,) = asked(Domain(name="web1", nics=(Nic(subnets=(dhcp, Subnet(type=SubnetType.IPV4_DHCP))),)))
    assert shown["hosts"] == ["web1", "10.1.0.1", "192.0.2.7"]


@pytest.mark.parametrize(
    ("hostname", "address"),
    [
        ("localhost", "127.0.0.1/8"),
        ("LOCALHOST", "0.0.0.0/0"),
        ("localhost.localdomain", "::1/128"),
        ("web.localhost", "fe80::1/64"),
        ("127.0.0.1", "224.0.0.1/24"),
        ("0.0.0.0", "::/0"),
    ],
)
def test_no_domain_has_a_name_of_the_machine_that_reads_the_line(hostname: str, address: str) -> None:
    (shown,) = asked(domain(1, hostname, address))
    assert (shown["hosts"], list(lines(shown))) == ([], [])


@pytest.mark.parametrize("zone", [",*", "x\n@cert-authority * ssh-ed25519 BBBB #", "eth0", " *"])
def test_a_zone_of_an_address_comes_into_no_line(zone: str) -> None:
    subnet = Subnet(type=SubnetType.IPV6_SLAAC, floating=(IPv6Address(f"2001:db8::1%{zone}"),))
    (shown,) = asked(Domain(name="web1", nics=(Nic(subnets=(subnet,)),)))
    assert list(lines(shown)) == [f"web1 {KEY}"]


def test_an_address_is_the_same_in_each_form() -> None:
    one, two = domain(1, "web1", "10.0.0.5/24"), domain(2, "web2", "::ffff:10.0.0.5/128", "::ffff:127.0.0.1/128")
    assert [list(lines(each)) for each in asked(one, two)] == [[f"web1 {KEY}"], [f"web2 {KEY}"]]


def test_of_the_many_that_have_a_name_a_few_are_named() -> None:
    shown = asked(*(domain(number, f"web{number}", "10.0.0.5/24") for number in range(1, 301)))
    assert [len(each["shared"]["10.0.0.5"]) for each in shown] == [3] * 300


def test_a_name_that_two_domains_have_identifies_neither() -> None:
    one, two = domain(1, "web", "10.0.0.5/24"), domain(2, "WEB", "10.0.0.5/8", "10.0.0.6/8")
    shown = {each["name"]: each for each in asked(one, two)}
    assert shown["vm1"]["shared"] == {"web": ["vm2"], "10.0.0.5": ["vm2"]}
    assert list(lines(shown["vm1"])) == []
    assert list(lines(shown["vm2"])) == [f"10.0.0.6 {KEY}"]


def test_a_domain_that_takes_its_neighbours_address_for_a_host_name_gets_no_line_for_it() -> None:
    victim, thief = domain(1, "web1", "10.0.0.5/24"), domain(2, "10.0.0.5")
    shown = {each["name"]: list(lines(each)) for each in asked(victim, thief)}
    assert shown == {"vm1": [f"web1 {KEY}"], "vm2": []}


def test_a_neighbour_without_keys_of_its_own_keeps_its_names_too() -> None:
    victim, thief = domain(1, "web1", "10.0.0.5/24"), domain(2, "web1", "10.0.0.5/24")
    (shown,) = asked(victim, thief, kept={UUID2: keys_of(thief)})
    assert (shown["name"], list(lines(shown))) == ("vm2", [])


def test_keys_of_an_instance_that_the_domain_no_longer_is_are_not_shown() -> None:
    before = domain(1, "web1")
    renewed = evolve(before, instance_id=UUID3)
    assert asked(renewed, kept={UUID1: keys_of(before)}) == []
    assert [each["name"] for each in asked(renewed)] == ["vm1"]
    # "eve-meta rerun --undo": the keys are those of the id that was taken back.
    assert asked(before, kept={UUID1: keys_of(renewed)}) == []


def test_keys_of_a_domain_that_is_gone_are_not_shown() -> None:
    assert asked(domain(1, "web1"), kept={UUID2: keys_of(domain(2))}) == []


def test_a_domain_is_asked_for_by_any_of_its_names_and_may_have_no_keys() -> None:
    one, two = domain(1, "web1"), domain(2, "web2")
    supervisor, inventory = daemon(one, two, kept={UUID1: keys_of(one)})
    tap = Tap(name="vnet1", ifindex=7, tag=1, since=0.0, carrier=True)
    supervisor.taps = [TapState(tap, one)]
    found: list[HostKeysOfDomain] = []
    for name in ("vm1", str(UUID1), "vnet1", "vm2"):
        host_keys(supervisor, inventory, name).addCallback(found.append)
    assert [(each["name"], each["keys"]) for each in found] == [("vm1", [KEY])] * 3 + [("vm2", [])]
    assert found[-1]["at"] is None
