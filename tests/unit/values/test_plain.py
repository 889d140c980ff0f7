"""Values become plain data and come back; every mistake in plain data is found at once, with its place and reason."""

from __future__ import annotations

import datetime
import json
from typing import Any

import attrs
import pytest
from cattrs.errors import BaseValidationError
from hypothesis import given

from eve_meta.values.domain import Domain
from eve_meta.values.eve_node import Application
from eve_meta.values.nic import SubnetType
from eve_meta.values.plain import decode_base64, faults, field_of, make_converter
from tests.unit.strategies import applications, domains, optional

PREFIX = "expected an address with its prefix length such as 10.1.2.10/24"
CONVERTER = make_converter()


def wrong(plain: Any, kind: Any = Domain) -> list[str]:
    """Return what is wrong with *plain*, each as "field: message"."""
    with pytest.raises(BaseValidationError) as caught:
        CONVERTER.structure(plain, kind)
    return [f"{field_of(Domain, fault.path)}: {fault.message}" for fault in faults(caught.value)]


@given(domain=domains(), eve=optional(applications))
def test_every_domain_survives_json(domain: Domain, eve: Application | None) -> None:
    domain = attrs.evolve(domain, eve=eve)
    text = json.dumps(CONVERTER.unstructure(domain))
    assert CONVERTER.structure(json.loads(text), Domain) == domain


def test_every_mistake_among_siblings_is_found() -> None:
    nic = {"mac": "zz", "mtu": 5, "vlan": 4095, "subnets": [{"type": "ipv4"}, {"type": "ipv5"}]}
    assert wrong({"name": "", "hostname": "-", "launch_index": -1, "nics": [nic]}) == [
        "name: expected 1..255 printable characters, got ''",
        "hostname: expected a host name such as web1.example.org, got '-'",
        "launch_index: expected a whole number from 0, got -1",
        "nics[0].mac: expected a MAC address such as fa:16:3e:00:00:01, got 'zz'",
        "nics[0].mtu: expected an MTU of 68..65535 bytes, got 5",
        "nics[0].vlan: expected a VLAN id of 1..4094, got 4095",
        "nics[0].subnets[0].address: expected an 'address' such as 10.1.2.10/24 for type 'ipv4', got none",
        f"nics[0].subnets[1].type: expected one of {', '.join(SubnetType)}, got 'ipv5'",
    ]


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"name": "a", "nics": [{"tapp": "x"}]}, "nics[0].tapp: unknown key; did you mean 'tap'?"),
        ({"name": "a", "shares": [{"tag": "home"}]}, "shares[0].share_id: expected a value, but the key is missing"),
        ({"name": "a", "nics": {"tap": "x"}}, "nics: expected a list, got {'tap': 'x'}"),
        ({"name": "a", "nics": [{"tags": "public"}]}, "nics[0].tags: expected a list, got 'public'"),
        ({"name": "a", "ec2": []}, "ec2: expected a mapping of names to values, got []"),
        ({"name": "a", "meta": {"a b": 1}}, "meta: expected a string, got a whole number: put it in quotes"),
        ({"name": "a", "launch_index": True}, "launch_index: expected a whole number, got True"),
        (
            {"name": "a", "tokens": False},
            "tokens: expected one of optional, required, off, got False: put it in quotes",
        ),
        ({"uuid": 7}, "uuid: expected a uuid such as 1a831fa7-c50b-4693-a16e-fb8171f1b69e, got 7: put it in quotes"),
        ({"name": datetime.date(2026, 1, 2)}, "name: expected a string, got the date 2026-01-02: put it in quotes"),
        ({"name": "a", "user_data": "!"}, "user_data: expected base64 text, got other text"),
        ({}, ": expected a 'uuid' or a 'name', got neither"),
        (
            {"name": "a", "nics": [{"subnets": [{"type": "ipv4", "address": "10.0.0.1"}]}]},
            f"nics[0].subnets[0].address: {PREFIX}, got '10.0.0.1'",
        ),
        (
            {"name": "a", "nics": [{"subnets": [{"type": "ipv4_dhcp", "gateway": 1}]}]},
            "nics[0].subnets[0].gateway: expected an IP address such as 10.1.2.1, got 1: put it in quotes",
        ),
        # ipaddress takes any text after "%" for a zone.
        (
            {"name": "a", "nics": [{"subnets": [{"type": "ipv4_dhcp", "floating": ["2001:db8::1%,*"]}]}]},
            "nics[0].subnets[0].floating[0]: expected an IP address such as 10.1.2.1, got '2001:db8::1%,*'",
        ),
        (
            {"name": "a", "nics": [{"subnets": [{"type": "ipv6", "address": "2001:db8::1%a/64"}]}]},
            f"nics[0].subnets[0].address: {PREFIX}, got '2001:db8::1%a/64'",
        ),
        (
            {"name": "a", "nics": [{"tap": "x"}, {"tap": "x"}]},
            "nics: expected each tap once in 'nics', got 'x' twice",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(plain: dict[str, Any], message: str) -> None:
    assert wrong(plain) == [message]


def test_a_value_of_a_megabyte_is_quoted_in_one_short_line() -> None:
    (message,) = wrong({"name": "x" * 1_000_000})
    assert len(message) < 200


def test_secrets_are_not_quoted() -> None:
    assert "hunter2" not in wrong({"name": "a", "user_data": "aHVudGVyMg==" * 2_000_000})[0]


def test_base64_may_be_folded() -> None:
    assert decode_base64("aGVs\n bG8=\n") == b"hello"
