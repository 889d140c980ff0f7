"""A domain and its parts refuse, when they are made, whatever no guest could use."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eve_meta.values.checks import BadValue
from eve_meta.values.domain import MAX_MAPPING, MAX_USER_DATA, Domain, Ec2, File, TokenPolicy, is_hostname
from eve_meta.values.nic import Nic

MAPPINGS = ("meta", "public_keys", "vendor_data", "vendor_data2")


@pytest.mark.parametrize(
    ("kind", "values", "field"),
    [
        (Domain, {}, None),
        (Domain, {"name": ""}, "name"),
        (Domain, {"name": "a\nb"}, "name"),
        (Domain, {"name": "a" * 256}, "name"),
        (Domain, {"name": "a", "hostname": "a..b"}, "hostname"),
        (Domain, {"name": "a", "launch_index": True}, "launch_index"),
        (Domain, {"name": "a", "meta": {"a": 1}}, "meta"),
        (Domain, {"name": "a", "meta": {"a\n": "1"}}, "meta"),
        (Domain, {"name": "a", "public_keys": {"a=b": "ssh-ed25519 AAAA"}}, "public_keys"),
        (Domain, {"name": "a", "public_keys": {"a": " "}}, "public_keys"),
        (Domain, {"name": "a", "vendor_data": {"a": float("nan")}}, "vendor_data"),
        (Domain, {"name": "a", "vendor_data": {"a": b""}}, "vendor_data"),
        (Domain, {"name": "a", "vendor_data": {"a": [{1: 2}]}}, "vendor_data"),
        (Domain, {"name": "a", "vendor_data2": [1]}, "vendor_data2"),
        *((Domain, {"name": "a", name: {"a": "x" * MAX_MAPPING}}, name) for name in MAPPINGS),
        (Domain, {"name": "a", "user_data": bytes(MAX_USER_DATA + 1)}, "user_data"),
        (Domain, {"name": "a", "dedicated_cpus": (-1,)}, "dedicated_cpus"),
        (Domain, {"name": "a", "nics": (Nic(tap="t"), Nic(tap="t"))}, "nics"),
        (File, {"path": "etc/motd"}, "path"),
        (Ec2, {"instance_id": "x-1"}, "instance_id"),
        (Ec2, {"block_device_mapping": {"a/b": "vda"}}, "block_device_mapping"),
    ],
)
def test_a_value_that_no_guest_could_use_is_refused(kind: type, values: dict[str, Any], field: str | None) -> None:
    with pytest.raises(BadValue, match="expected") as caught:
        kind(**values)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n", "got a private one: write what its .pub file has"),
        ("-----BEGIN RSA PRIVATE KEY-----\nhunter2\n", "got a private one: write what its .pub file has"),
        ("-----BEGIN PRIVATE KEY-----\nhunter2\n", "got a private one: write what its .pub file has"),
        ("PuTTY-User-Key-File-3: ssh-ed25519\nhunter2\n", "got a private one: write what its .pub file has"),
        ("/home/hunter2/.ssh/id_ed25519.pub", "got the path of a file: write the line that the file has"),
        ("~/.ssh/hunter2", "got the path of a file: write the line that the file has"),
        ("./hunter2\n", "got the path of a file: write the line that the file has"),
        ("file:///hunter2", "got the path of a file: write the line that the file has"),
        ("hunter2.pub", "got the path of a file: write the line that the file has"),
    ],
)
def test_a_private_key_and_the_path_of_a_key_are_refused(key: str, message: str) -> None:
    with pytest.raises(BadValue) as caught:
        Domain(name="a", public_keys={"alice": key})
    assert (caught.value.field, caught.value.steps) == ("public_keys", ("alice",))
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_secrets_are_not_in_the_repr_of_a_domain() -> None:
    files = (File(path="/etc/key", content=b"hunter2"),)
    domain = Domain(name="a", user_data=b"hunter2", vendor_data={"password": "hunter2"}, files=files)
    assert "hunter2" not in repr(domain)


def test_dedicated_cpus_are_sorted_and_unique() -> None:
    assert Domain(name="a", dedicated_cpus=(3, 2, 3)).dedicated_cpus == (2, 3)


def test_a_domain_that_has_no_token_policy_gets_the_configurations() -> None:
    assert Domain(name="a").token_policy(TokenPolicy.OFF) is TokenPolicy.OFF
    assert Domain(name="a", tokens=TokenPolicy.REQUIRED).token_policy(TokenPolicy.OFF) is TokenPolicy.REQUIRED


def test_a_name_alone_makes_the_same_uuid_everywhere() -> None:
    assert Domain(name="web1").instance_uuid == UUID("5b6b87fa-7e00-5ac2-8c65-a3e1b11926a9")
    assert Domain(name="web1").instance_uuid != Domain(name="web2").instance_uuid


@given(name=st.text(min_size=1, max_size=255).filter(str.isprintable))
def test_every_name_makes_a_good_hostname(name: str) -> None:
    assert is_hostname(Domain(name=name).guest_hostname)
