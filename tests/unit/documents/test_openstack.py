"""The tree below ``/openstack``: the documents that each version lists and serves."""

from __future__ import annotations

import datetime
import json

import pytest
from attrs import evolve

from eve_meta.documents.tree import Tree
from eve_meta.values.domain import Domain, File
from tests.unit.documents.reading import BARE, FULL, TODAY, find, load, read

VERSIONS = [
    "2012-08-10",
    "2013-04-04",
    "2013-10-17",
    "2015-10-15",
    "2016-06-30",
    "2016-10-06",
    "2017-02-22",
    "2018-08-27",
    "2020-10-14",
    "2025-04-04",
]

TEXT = "text/plain; charset=UTF-8"
JSON = "application/json"


def test_versions_are_listed_in_order() -> None:
    assert read(FULL, "/openstack") == "\n".join([*VERSIONS, "latest"])


@pytest.mark.parametrize(
    ("today", "newest"),
    [("2025-04-04", "2025-04-04"), ("2025-04-03", "2020-10-14"), ("2012-08-10", "2012-08-10")],
)
def test_versions_of_the_future_are_not_listed(today: str, newest: str) -> None:
    listed = read(FULL, "/openstack", today=datetime.date.fromisoformat(today))
    assert listed is not None
    assert listed.splitlines()[-2:] == [newest, "latest"]


def test_before_the_first_version_latest_alone_is_listed() -> None:
    assert read(FULL, "/openstack", today=datetime.date(2000, 1, 1)) == "latest"


def test_versions_of_the_future_are_served() -> None:
    today = datetime.date(2000, 1, 1)
    assert find(FULL, "/openstack/2025-04-04/meta_data.json", today=today) == find(
        FULL, "/openstack/2025-04-04/meta_data.json"
    )


LISTINGS = {
    "2012-08-10": "meta_data.json user_data",
    "2013-04-04": "meta_data.json user_data password",
    "2013-10-17": "meta_data.json user_data password vendor_data.json",
    "2015-10-15": "meta_data.json user_data password vendor_data.json network_data.json",
    "2016-06-30": "meta_data.json user_data password vendor_data.json network_data.json",
} | dict.fromkeys(
    [*VERSIONS[5:], "latest"],
    "meta_data.json user_data password vendor_data.json network_data.json vendor_data2.json",
)


@pytest.mark.parametrize("version", LISTINGS)
def test_each_version_lists_its_files(version: str) -> None:
    assert read(FULL, f"/openstack/{version}") == LISTINGS[version].replace(" ", "\n")


@pytest.mark.parametrize("version", LISTINGS)
def test_missing_user_data_and_network_are_not_listed(version: str) -> None:
    expected = [name for name in LISTINGS[version].split() if name not in ("user_data", "network_data.json")]
    assert read(BARE, f"/openstack/{version}") == "\n".join(expected)


FIRST_SERVED = {
    "meta_data.json": "2012-08-10",
    "user_data": "2012-08-10",
    "password": "2013-04-04",
    "vendor_data.json": "2013-10-17",
    "network_data.json": "2012-08-10",
    "vendor_data2.json": "2016-10-06",
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", FIRST_SERVED)
def test_a_file_is_served_from_its_version_on(name: str, version: str) -> None:
    assert (find(FULL, f"/openstack/{version}/{name}") is not None) == (version >= FIRST_SERVED[name])


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/", TEXT),
        ("/openstack", TEXT),
        ("/openstack/latest", TEXT),
        ("/openstack/latest/meta_data.json", JSON),
        ("/openstack/2012-08-10/meta_data.json", JSON),
        ("/openstack/latest/vendor_data.json", JSON),
        ("/openstack/latest/vendor_data2.json", JSON),
        ("/openstack/latest/network_data.json", TEXT),
        ("/openstack/latest/user_data", TEXT),
        ("/openstack/latest/password", "text/html; charset=UTF-8"),
        ("/openstack/content/0000", TEXT),
        ("/latest", TEXT),
        ("/latest/user-data", "application/octet-stream"),
        ("/2009-04-04/user-data", "application/octet-stream"),
        ("/ec2/latest/user-data", "application/octet-stream"),
        ("/nocloud/user-data", TEXT),
        ("/latest/meta-data", TEXT),
        ("/latest/meta-data/instance-id", TEXT),
    ],
)
def test_each_document_has_its_content_type(path: str, content_type: str) -> None:
    document = find(FULL, path)
    assert document is not None
    assert document.content_type == content_type


@pytest.mark.parametrize("path", ["/openstack/latest/user_data", "/latest/user-data", "/1.0/user-data"])
def test_user_data_passes_unchanged(path: str) -> None:
    body = b"\x1f\x8b\x08\0\xff\r\n"
    document = find(evolve(FULL, user_data=body), path)
    assert document is not None
    assert document.body is body  # not even a copy: it may have many megabytes


def test_no_user_data_is_404_and_not_listed() -> None:
    assert find(BARE, "/openstack/latest/user_data") is None
    assert find(BARE, "/latest/user-data") is None
    assert read(BARE, "/latest") == "meta-data/"


def test_empty_user_data_is_listed_and_empty() -> None:
    empty = evolve(BARE, user_data=b"")
    assert read(empty, "/openstack/2012-08-10") == "meta_data.json\nuser_data"
    assert read(empty, "/openstack/2012-08-10/user_data") == ""
    assert read(empty, "/latest") == "meta-data/\nuser-data"
    assert read(empty, "/latest/user-data") == ""


def test_content_is_served_byte_for_byte_beside_the_versions() -> None:
    document = find(FULL, "/openstack/content/0001")
    assert document is not None
    assert document.body == b"\x1f\x8b\xff\0"
    for path in (
        "content",
        "content/0002",
        "content/0000/x",
        "latest/content/0000",
        "latest/content",
        "content/latest",
    ):
        assert find(FULL, f"/openstack/{path}") is None, path


@pytest.mark.parametrize(
    "number", ["0", "00", "00000", "+000", "-000", " 000", "0_00", "٠٠٠٠", "０００0", "0000 ", "0x00"]
)
def test_a_file_has_one_name(number: str) -> None:
    assert find(FULL, f"/openstack/content/{number}") is None


def test_more_files_than_four_digits_can_number() -> None:
    domain = evolve(BARE, files=tuple(File(path="/x", content=str(n).encode()) for n in range(10001)))
    assert load(domain, "/openstack/latest/meta_data.json")["files"][-1]["content_path"] == "/content/10000"
    assert read(domain, "/openstack/content/10000") == "10000"


def test_vendor_data_is_the_domains() -> None:
    assert read(FULL, "/openstack/latest/vendor_data.json") == '{"cloud-init": "#cloud-config\\n{}"}'
    assert load(FULL, "/openstack/latest/vendor_data2.json") == FULL.vendor_data2


@pytest.mark.parametrize("name", ["vendor_data.json", "vendor_data2.json"])
def test_no_vendor_data_is_an_empty_mapping(name: str) -> None:
    assert read(BARE, f"/openstack/latest/{name}") == "{}"


def test_vendor_data_escapes_characters_beyond_ascii() -> None:
    assert read(Domain(name="vm", vendor_data={"ü": "\u2028"}), "/openstack/latest/vendor_data.json") == (
        '{"\\u00fc": "\\u2028"}'
    )


def test_a_password_that_is_not_set_is_empty() -> None:
    assert read(FULL, "/openstack/2013-04-04/password") == ""


def test_a_posted_password_is_served() -> None:
    tree = Tree(FULL, password="b64+text/==")
    assert read(tree, "/openstack/latest/password") == "b64+text/=="
    assert find(tree, "/openstack/2012-08-10/password") is None


@pytest.mark.parametrize(
    "path",
    [
        "/openstack/2012-08-11",
        "/openstack/2012-08-11/meta_data.json",
        "/openstack/Latest/meta_data.json",
        "/openstack/2009-04-04",
        "/openstack/1.0",
        "/Openstack",
        "/openstack/latest/META_DATA.json",
        "/openstack/latest/meta_data.json/uuid",
        "/openstack/latest/meta_data.json/uuid/x",
        "/openstack/latest/user_data/x",
        "/openstack/latest/password/x",
        "/openstack/latest/version",
        "/openstack/latest/latest",
        "/openstack/latest/meta-data",
        "/openstack/openstack",
        "/openstack/ec2/latest",
    ],
)
def test_everything_else_is_404(path: str) -> None:
    assert find(FULL, path) is None


def test_documents_are_made_once_and_shared() -> None:
    tree = Tree(FULL)
    for name in ("meta_data.json", "network_data.json", "vendor_data.json", "password"):
        path = f"/openstack/2018-08-27/{name}"
        assert find(tree, path) is find(tree, path)
    documents = {id(find(tree, f"/openstack/{version}/meta_data.json")) for version in [*VERSIONS, "latest"]}
    # 2013-10-17 equals 2013-04-04; 2016-10-06 and, without a VLAN, 2017-02-22 equal 2016-06-30; latest is 2025-04-04.
    assert len(documents) == 7
    assert find(tree, "/openstack") is find(tree, "/openstack", today=TODAY)


def test_the_random_seed_is_never_kept() -> None:
    document = find(FULL, "/openstack/latest/meta_data.json")
    assert document is not None
    one, other = (json.loads(bytes(document.render(bytes([n]) * 512)))["random_seed"] for n in (1, 2))
    assert one != other
    assert len(one) == 684
