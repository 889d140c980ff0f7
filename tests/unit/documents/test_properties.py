"""Properties of every domain's documents."""

from __future__ import annotations

import json

from hypothesis import given

from eve_meta.documents.document import Document
from eve_meta.documents.tree import Tree
from eve_meta.documents.versions import AWS_VERSIONS, EC2_VERSIONS, OPENSTACK_VERSIONS
from eve_meta.values.domain import Domain
from tests.unit.documents import network_rules, test_meta_data
from tests.unit.documents.reading import SEED, crawl, find, read
from tests.unit.strategies import domains


@given(domains())
def test_every_listed_path_is_answered(domain: Domain) -> None:
    tree = Tree(domain)
    for version in (*EC2_VERSIONS, *AWS_VERSIONS, "latest"):
        leaves = list(crawl(tree, f"/{version}"))
        assert f"/{version}/meta-data/instance-id" in leaves
        assert len([leaf for leaf in leaves if leaf.endswith("/openssh-key")]) == len(domain.public_keys)
        for leaf in leaves:
            assert find(tree, leaf) is not None, leaf
    for directory in (*(f"/openstack/{version}" for version in (*OPENSTACK_VERSIONS, "latest")), "/nocloud"):
        for leaf in crawl(tree, directory):
            assert find(tree, leaf) is not None, leaf


@given(domains())
def test_latest_lists_as_nova_and_serves_as_aws(domain: Domain) -> None:
    tree = Tree(domain)

    def below(version: str) -> dict[str, Document | None]:
        return {leaf.removeprefix(f"/{version}"): find(tree, leaf) for leaf in crawl(tree, f"/{version}")}

    nova, aws = below(EC2_VERSIONS[-1]), below(AWS_VERSIONS[-1])
    assert below("latest") == nova
    assert {leaf: find(tree, f"/latest{leaf}") for leaf in aws} == aws
    assert {leaf: aws[leaf] for leaf in nova} == nova


@given(domains())
def test_two_requests_get_the_same_entity_tag(domain: Domain) -> None:
    one, other = Tree(domain), Tree(domain)
    leaves = [*crawl(one, "/2021-03-23"), *crawl(one, "/openstack/latest"), *crawl(one, "/nocloud"), "/", "/latest"]
    for leaf in leaves:
        first, second = find(one, leaf), find(other, leaf)
        assert first is not None
        assert second is not None
        assert first.etag == second.etag
        assert (first.etag is None) == (first.seed_at is not None)


@given(domains())
def test_meta_data_obeys_the_table_in_every_version(domain: Domain) -> None:
    tree = Tree(domain)
    given_keys = {
        "meta": bool(domain.meta),
        "files": bool(domain.files),
        "public_keys": bool(domain.public_keys),
        "keys": bool(domain.public_keys),
    }
    for version in OPENSTACK_VERSIONS:
        document = find(tree, f"/openstack/{version}/meta_data.json")
        assert document is not None
        body = bytes(document.render(SEED))
        assert body.isascii()
        assert b"\n" not in body
        content = json.loads(body)
        assert list(content) == [
            key for key, since in test_meta_data.FIRST_SEEN.items() if version >= since and given_keys.get(key, True)
        ]
        assert content.get("meta", {}) == domain.meta
        for file, wanted in zip(content.get("files", ()), domain.files, strict=True):
            content = find(tree, f"/openstack{file['content_path']}")
            assert content is not None
            assert (file["path"], content.body) == (wanted.path, bytes(wanted.content))


@given(domains())
def test_every_document_of_type_json_is_json(domain: Domain) -> None:
    tree = Tree(domain)
    for version in OPENSTACK_VERSIONS:
        for name in str(read(tree, f"/openstack/{version}")).splitlines():
            if name.endswith(".json"):
                assert isinstance(json.loads(str(read(tree, f"/openstack/{version}/{name}"))), dict)
    assert json.loads(str(read(tree, "/openstack/latest/vendor_data.json"))) == domain.vendor_data
    assert json.loads(str(read(tree, "/openstack/latest/vendor_data2.json"))) == domain.vendor_data2


@given(domains())
def test_network_data_obeys_novas_rules_in_every_version(domain: Domain) -> None:
    tree = Tree(domain)
    for version in (*OPENSTACK_VERSIONS, "latest"):
        text = read(tree, f"/openstack/{version}/network_data.json")
        if text is not None:
            network_rules.check(json.loads(text))


@given(domains())
def test_references_within_network_data_resolve(domain: Domain) -> None:
    text = read(domain, "/openstack/latest/network_data.json")
    if text is None:
        assert not any(nic.mac and nic.subnets for nic in domain.nics)
        return
    content = json.loads(text)
    assert list(content) == ["links", "networks", "services"]
    ids = [link["id"] for link in content["links"]]
    assert len(ids) == len(set(ids))
    assert [network["id"] for network in content["networks"]] == [
        f"network{n}" for n in range(len(content["networks"]))
    ]
    assert {network["link"] for network in content["networks"]} <= set(ids)
    parents = {link["vlan_link"] for link in content["links"] if link["type"] == "vlan"}
    members = [each for link in content["links"] if link["type"] == "bond" for each in link["bond_links"]]
    assert len(members) == len(set(members))
    # Every link is used: by a network, by the VLAN on top of it, or by its bond.
    assert set(ids) == {network["link"] for network in content["networks"]} | parents | set(members)
    physical = [link for link in content["links"] if link["type"] not in ("bond", "vlan")]
    assert {link["ethernet_mac_address"] for link in physical} == {nic.mac for nic in domain.nics if nic.mac}
