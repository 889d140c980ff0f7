"""A new instance id, in all trees; and what cloud-init takes it for."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
import yaml
from attrs import evolve

from eve_meta.documents.tree import Tree
from eve_meta.values.domain import Ec2
from tests.unit.documents.reading import FULL, SEED, find

GIVEN = UUID("5ba831fa-c50b-4693-a16e-fb8171f1b69e")
RENEWED = evolve(FULL, instance_id=GIVEN)


def read(domain: Any, path: str) -> str:
    document = find(Tree(domain), path)
    assert document is not None
    return bytes(document.render(SEED)).decode()


def test_every_tree_has_the_new_id_and_nothing_else_is_new() -> None:
    meta_data = json.loads(read(RENEWED, "/openstack/latest/meta_data.json"))
    assert meta_data["uuid"] == str(GIVEN)
    assert {**meta_data, "uuid": str(FULL.uuid)} == json.loads(read(FULL, "/openstack/latest/meta_data.json"))
    assert yaml.safe_load(read(RENEWED, "/nocloud/meta-data"))["instance-id"] == str(GIVEN)
    of_ec2 = read(RENEWED, "/latest/meta-data/instance-id")
    assert of_ec2.startswith("i-")
    assert of_ec2 != read(FULL, "/latest/meta-data/instance-id")
    identity = json.loads(read(RENEWED, "/latest/dynamic/instance-identity/document"))
    assert identity["instanceId"] == of_ec2
    for path in ("/openstack/latest/network_data.json", "/latest/meta-data/reservation-id"):
        assert read(RENEWED, path) == read(FULL, path)
    assert RENEWED.instance_uuid == FULL.instance_uuid


def test_an_id_of_ones_own_choice_is_replaced_too_and_each_is_another_one() -> None:
    chosen = evolve(FULL, ec2=Ec2(instance_id="i-mine"))
    path = "/latest/meta-data/instance-id"
    ids = {read(evolve(chosen, instance_id=each), path) for each in (None, GIVEN, UUID(int=1))}
    assert len(ids) == 3
    assert "i-mine" in ids


def test_cloud_init_keeps_what_it_read_of_openstack_while_the_id_is_that_of_the_dmi(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    openstack = pytest.importorskip("cloudinit.sources.DataSourceOpenStack", reason="cloud-init is not installed")
    sources = pytest.importorskip("cloudinit.sources", reason="cloud-init is not installed")
    ec2 = pytest.importorskip("cloudinit.sources.DataSourceEc2", reason="cloud-init is not installed")
    monkeypatch.setattr(sources.dmi, "read_dmi_data", lambda key: str(FULL.uuid).upper())
    for domain, keeps in ((FULL, True), (RENEWED, False)):
        source = openstack.DataSourceOpenStack.__new__(openstack.DataSourceOpenStack)
        source.metadata = {"instance-id": json.loads(read(domain, "/openstack/latest/meta_data.json"))["uuid"]}
        assert source.check_instance_id({}) is keeps
    assert ec2.DataSourceEc2.check_instance_id is sources.DataSource.check_instance_id  # which keeps nothing
