"""No field is accepted and then has no effect: each changes what the guest reads, or ``eve-meta check`` says so."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from eve_meta.documents.tree import Tree
from eve_meta.values.domain import OF_A_SOURCE, Domain
from eve_meta.values.nic import Nic
from eve_meta.values.written import untold
from tests.unit.documents.reading import FULL, crawl, read

NOT_FOR_GUESTS = {"tokens", "profiles"}
"""Fields of a domain that the daemon acts on, and no document shows."""

OF_DOMAINS = [
    field.name for field in attrs.fields(Domain) if field.metadata != OF_A_SOURCE and field.name not in NOT_FOR_GUESTS
]

FULL_NIC = attrs.evolve(FULL.nics[0], link="eth7", vlan=7, trusted=True)
OF_NICS = [field.name for field in attrs.fields(Nic) if field.name not in ("tap", "mac")]


def told(domain: Domain) -> dict[str, str | None]:
    """Return all that the guest of *domain* can read."""
    tree = Tree(domain)
    return {leaf: read(tree, leaf) for top in ("/openstack/latest", "/nocloud", "/latest") for leaf in crawl(tree, top)}


def without(value: Any, name: str) -> Any:
    """Return *value* with the default in the field *name*."""
    default: Any = attrs.fields_dict(type(value))[name].default
    return attrs.evolve(value, **{name: default.factory() if hasattr(default, "factory") else default})


@pytest.mark.parametrize(
    "name",
    [
        field.name
        for field in attrs.fields(Domain)
        if field.metadata != OF_A_SOURCE and field.name not in NOT_FOR_GUESTS
    ],
)
def test_each_field_of_a_domain_changes_what_its_guest_reads(name: str) -> None:
    if not getattr(FULL, name):
        pytest.skip("the example has none")
    assert told(without(FULL, name)) != told(FULL)


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
