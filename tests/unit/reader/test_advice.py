"""Advice on good domain files, as ``eve-meta check`` gives it, with the line in the domain file."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from eve_meta.inventory.files.advice import schema_path
from eve_meta.reader.advice import Adviser

MAC = "02:00:00:00:00:01"
DAMAGED = "expected a public key, got a damaged one: copy the whole line of the .pub file"
NO_KEY = "expected a public key such as 'ssh-ed25519 AAAA… alice@example', got other text"


@pytest.fixture(scope="module")
def key() -> str:
    made = Ed25519PrivateKey.generate().public_key()
    return made.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def advised(text: str) -> list[tuple[int | None, str, str]]:
    schema = schema_path()
    answer = Adviser(schema.read_bytes() if schema.exists() else None).on_domain(text.encode())
    return [(each.line, each.field, each.message) for each in answer.faults]


def test_user_data_have_the_line_of_the_domain_file() -> None:
    ((line, field, _),) = advised("name: a\n\nuser_data: | # what\n\n  #cloud-config\n  runcmd: [a]\n  runcmd: [b]\n")
    assert (line, field) == (7, "user_data")


def test_user_data_that_are_no_literal_block_have_the_line_of_their_field() -> None:
    wrong = base64.b64encode(b"#cloud-config\n\n- a\n").decode()
    ((line, field, _),) = advised(f"name: a\nuser_data_base64: {wrong}\n")
    assert (line, field) == (2, "user_data_base64")
    ((line, field, _),) = advised('name: a\nuser_data: "#cloud-config\\n\\n- a"\n')
    assert (line, field) == (2, "user_data")


def test_vendor_data_for_cloud_init_are_looked_at_too() -> None:
    ((line, field, message),) = advised("name: a\nvendor_data:\n  cloud-init: |\n    #cloud-confg\n")
    assert (line, field) == (4, "vendor_data")
    assert message.endswith("did you mean '#cloud-config'?")


def test_public_keys_that_guests_can_read(key: str) -> None:
    for good in (key, f"{key} alice@example", f'command="/bin/x y" {key}', f"{key}\\n{key}\\n"):
        quoted = good.replace('"', '\\"')
        assert advised(f'name: a\npublic_keys: {{a: "{quoted}"}}\n') == []


def test_public_keys_that_no_guest_can_read(key: str) -> None:
    text = f"name: a\npublic_keys:\n  a: {key[:-20]}\n  b: hello\n  c: |\n    {key}\n    hello\n"
    assert advised(text) == [(3, "public_keys", DAMAGED), (4, "public_keys", NO_KEY), (5, "public_keys", NO_KEY)]


def test_a_gateway_outside_the_subnet() -> None:
    ((line, field, message),) = advised(
        f'name: a\nnics:\n- mac: "{MAC}"\n  subnets:\n  - {{type: ipv4, address: 10.1.2.10/24, gateway: 10.1.3.1}}\n'
    )
    assert (line, field) == (5, "nics[0].subnets[0].gateway")
    assert message.startswith("10.1.3.1 is outside 10.1.2.0/24: the guest is told that it is on the link")


def test_a_nic_without_a_mac_address() -> None:
    text = "name: dh\nnics:\n- tap: t2\n  subnets:\n  - {type: ipv4_dhcp, dns: [10.0.0.1]}\n"
    ((line, field, message),) = advised(text)
    assert (line, field) == (4, "nics[0].subnets")
    assert message.startswith("the guest finds a NIC by its MAC address, and is not told this of one without 'mac'")


def test_an_mtu_without_subnets() -> None:
    ((line, field, message),) = advised(f'name: a\nnics:\n- mac: "{MAC}"\n  mtu: 1400\n')
    assert (line, field) == (4, "nics[0].mtu")
    assert message.startswith("the guest is told this only where a NIC has 'subnets'")


def test_a_broken_file_gets_none() -> None:
    assert advised("name: a\nhostnam: b\nuser_data: hello\n") == []
