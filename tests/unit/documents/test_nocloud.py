"""The four files below ``/nocloud``. test_cloud_init_nocloud.py has cloud-init read them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from attrs import evolve

from eve_meta.values.domain import Domain
from tests.unit.documents.reading import BARE, FULL, find, read


@pytest.mark.parametrize("domain", [FULL, BARE], ids=["full", "bare"])
def test_the_four_files_are_listed(domain: Domain) -> None:
    assert read(domain, "/nocloud") == "meta-data\nuser-data\nvendor-data\nnetwork-config"


META_DATA = (
    '{"instance-id": "1a831fa7-c50b-4693-a16e-fb8171f1b69e", "local-hostname": "web1.example.org", "launch-index": 3,'
    ' "availability-zone": "nova", "public-keys": {"alice": "ssh-ed25519 AAAA alice@example\\n"}}'
)

BARE_META_DATA = (
    '{"instance-id": "1a831fa7-c50b-4693-a16e-fb8171f1b69e",'
    ' "local-hostname": "1a831fa7-c50b-4693-a16e-fb8171f1b69e", "launch-index": 0}'
)


@pytest.mark.parametrize(("name", "body"), [("meta-data", META_DATA), ("user-data", "#cloud-config\n")])
def test_a_file_has_its_content(name: str, body: str) -> None:
    assert read(FULL, f"/nocloud/{name}") == body


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("meta-data", BARE_META_DATA),
        ("user-data", ""),
        ("vendor-data", ""),
        ("network-config", "{}"),
    ],
)
def test_a_file_of_a_bare_domain_has_its_default(name: str, body: str) -> None:
    """None of them is a 404, for which cloud-init would try again for 10 s."""
    assert read(BARE, f"/nocloud/{name}") == body


def test_user_data_passes_unchanged() -> None:
    body = b"\x1f\x8b\x08\0\xff\r\n"
    document = find(evolve(BARE, user_data=body), "/nocloud/user-data")
    assert document is not None
    assert document.body is body


@pytest.mark.parametrize(
    "path", ["meta-data/x", "Meta-Data", "meta_data.json", "nocloud", "latest", "meta-data/instance-id", "seed"]
)
def test_everything_else_is_404(path: str) -> None:
    assert find(FULL, f"/nocloud/{path}") is None


ONE = "#cloud-config\nruncmd: [ls]\n"
TWO = "#!/bin/sh\nls\n"


@pytest.mark.parametrize(
    ("vendor_data", "vendor_data2"),
    [({"cloud-init": ONE}, {}), ({}, {"cloud-init": ONE}), ({"cloud-init": [ONE]}, {"cloud-init": ""})],
)
def test_one_part_of_vendor_data_is_passed_unchanged(vendor_data: Any, vendor_data2: Any) -> None:
    domain = evolve(BARE, vendor_data=vendor_data, vendor_data2=vendor_data2)
    assert read(domain, "/nocloud/vendor-data") == ONE


@pytest.mark.parametrize(
    ("vendor_data", "vendor_data2"),
    [
        ({"cloud-init": ONE}, {"cloud-init": TWO}),
        ({"cloud-init": [ONE, TWO]}, {}),
        ({}, {"cloud-init": [ONE, {}, TWO]}),
    ],
)
def test_several_parts_of_vendor_data_are_an_archive(vendor_data: Any, vendor_data2: Any) -> None:
    domain = evolve(BARE, vendor_data=vendor_data, vendor_data2=vendor_data2)
    head, _, parts = str(read(domain, "/nocloud/vendor-data")).partition("\n")
    assert (head, json.loads(parts)) == ("#cloud-config-archive", [ONE, TWO])


@pytest.mark.parametrize("value", [{"other": ONE}, {"cloud-init": {"cloud-init": ONE}}, {"cloud-init": 7}])
def test_vendor_data_that_is_not_for_cloud_init_is_left_out(value: Any) -> None:
    assert read(evolve(BARE, vendor_data=value), "/nocloud/vendor-data") == ""


def test_lone_surrogates_in_vendor_data_are_replaced() -> None:
    assert read(evolve(BARE, vendor_data={"cloud-init": "#\ud800"}), "/nocloud/vendor-data") == "#?"


@pytest.mark.parametrize(
    "text",
    [
        "\U0001f600",
        "\x7f\x80\x85\x9f",
        "\u2028\u2029",
        "\ufeff\ufffe\uffff",
        "\0\t\r\n\x1b",
        "\\ud83d\\ude00",
        "ü: #[",
        "yes",
    ],
    ids=ascii,
)
def test_json_and_yaml_read_the_same(text: str) -> None:
    domain = Domain(name="vm", availability_zone="a", public_keys={"alice": f"ssh-rsa {text}".replace("\0", "")})
    body = str(read(domain, "/nocloud/meta-data"))
    assert yaml.safe_load(body.encode()) == json.loads(body)
    assert json.loads(body)["public-keys"] == domain.public_keys


def test_the_longest_name_of_a_key_is_short_enough_for_yaml() -> None:
    domain = Domain(name="vm", public_keys={"\U0001f600\\" * 127: "ssh-rsa A"})
    assert yaml.safe_load(str(read(domain, "/nocloud/meta-data")))["public-keys"] == domain.public_keys
