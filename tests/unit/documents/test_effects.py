"""No field is accepted and then has no effect: each changes what the guest reads, or ``eve-meta check`` says so."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import attrs
import pytest

from eve_meta.documents.tree import Tree
from eve_meta.values.domain import OF_A_SOURCE, Domain
from eve_meta.values.nic import Bond, BondHash, BondMode, DhcpPolicy, Nic, Vlan
from eve_meta.values.written import untold
from tests.unit.documents.reading import FULL, crawl, read, static

NOT_FOR_GUESTS = {"tokens", "profiles", "dhcp", "dhcp_server"}
"""Fields of a domain or a NIC that the daemon acts on, and no document shows."""

OF_DOMAINS = [
    field.name for field in attrs.fields(Domain) if field.metadata != OF_A_SOURCE and field.name not in NOT_FOR_GUESTS
]

FULL_NIC = attrs.evolve(FULL.nics[0], link="eth7", vlan=7, trusted=True)
OF_NICS = [field.name for field in attrs.fields(Nic) if field.name not in ("tap", "mac", *NOT_FOR_GUESTS)]


BOND = Bond(
    nics=("vnet1",),
    mode=BondMode.LACP,
    xmit_hash_policy=BondHash.LAYER2,
    miimon=100,
    mac="fa:16:3e:00:00:09",
    id=UUID("b0000000-0000-4000-8000-000000000001"),
    network_id=UUID("a0000000-0000-4000-8000-000000000001"),
    mtu=9000,
    subnets=(static("10.2.0.9/24"),),
    vlans=(
        Vlan(
            id=7,
            network_id=UUID("a0000000-0000-4000-8000-000000000002"),
            mtu=1500,
            subnets=(static("10.3.0.9/24"),),
        ),
    ),
)
BONDED = attrs.evolve(
    FULL, nics=(*FULL.nics, Nic(tap="vnet1", mac="fa:16:3e:00:00:02")), bonds=(BOND,), search=("example.org",)
)


def told(domain: Domain) -> dict[str, str | None]:
    """Return all that the guest of *domain* can read."""
    tree = Tree(domain)
    return {leaf: read(tree, leaf) for top in ("/openstack/latest", "/nocloud", "/latest") for leaf in crawl(tree, top)}


def without(value: Any, name: str) -> Any:
    """Return *value* with the default in the field *name*."""
    default: Any = attrs.fields_dict(type(value))[name].default
    return attrs.evolve(value, **{name: default.factory() if hasattr(default, "factory") else default})


@pytest.mark.parametrize("name", OF_DOMAINS)
def test_each_field_of_a_domain_changes_what_its_guest_reads(name: str) -> None:
    assert getattr(BONDED, name), "the example has none"
    assert told(without(BONDED, name)) != told(BONDED)


@pytest.mark.parametrize("name", [field.name for field in attrs.fields(Bond) if field.default is not attrs.NOTHING])
def test_each_field_of_a_bond_changes_what_its_guest_reads(name: str) -> None:
    assert getattr(BOND, name) not in (None, ()), "the example has none"
    assert told(attrs.evolve(BONDED, bonds=(without(BOND, name),))) != told(BONDED)


@pytest.mark.parametrize("name", ["network_id", "mtu", "subnets"])
def test_each_field_of_a_vlan_changes_what_its_guest_reads(name: str) -> None:
    other = attrs.evolve(BOND, vlans=(without(BOND.vlans[0], name),))
    assert told(attrs.evolve(BONDED, bonds=(other,))) != told(BONDED)


def test_search_domains_and_bonds_that_the_guest_is_not_told_are_named() -> None:
    (search,) = untold(Domain(name="vm", search=("example.org",), nics=(Nic(mac="fa:16:3e:00:00:01"),)))
    assert search.path == ("search",)
    bond = Bond(nics=("vnet0",), mode=BondMode.LACP)
    (member,) = untold(Domain(name="vm", nics=(Nic(tap="vnet0"),), bonds=(bond,)))
    assert member.path == ("bonds", 0, "nics", 0)
    assert list(untold(BONDED)) == []


def test_what_dhcp_tells_the_guest_is_told() -> None:
    nic = Nic(tap="vnet0", mtu=1400, subnets=(static("10.0.0.5/24"),))
    domain = Domain(name="vm", nics=(nic,), search=("example.org",), dhcp=DhcpPolicy.ON)
    assert list(untold(domain)) == []
    assert {fault.path for fault in untold(attrs.evolve(domain, dhcp=None))} == {("nics", 0, "mtu")}
    # An address on a bus is in documents alone.
    (fault,) = untold(attrs.evolve(domain, nics=(attrs.evolve(nic, bus="pci"),)))
    assert fault.path == ("nics", 0, "bus")
    (fault,) = untold(Domain(name="vm", search=("example.org",), nics=(Nic(tap="vnet0", dhcp=DhcpPolicy.OFF),)))
    assert fault.path == ("search",)


@pytest.mark.parametrize("name", OF_NICS)
def test_each_field_of_a_nic_changes_what_its_guest_reads(name: str) -> None:
    assert getattr(FULL_NIC, name) not in (None, ()), "the example has none"
    assert told(attrs.evolve(FULL, nics=(without(FULL_NIC, name),))) != told(attrs.evolve(FULL, nics=(FULL_NIC,)))


@pytest.mark.parametrize("mac", [None, "fa:16:3e:00:00:01"])
@pytest.mark.parametrize("name", OF_NICS)
def test_a_field_of_a_nic_that_its_guest_is_not_told_is_named(name: str, mac: str | None) -> None:
    bare = Nic(tap="vnet0", mac=mac)
    domain = Domain(name="vm", nics=(attrs.evolve(bare, **{name: getattr(FULL_NIC, name)}),))
    named = {fault.path[2] for fault in untold(domain)}
    is_told = told(domain) != told(Domain(name="vm", nics=(bare,)))
    assert is_told or named == {name}
    # Of a NIC without a MAC address EC2's tree has the address, but the guest configures nothing.
    assert not (is_told and named) or (mac is None and name == "subnets")
