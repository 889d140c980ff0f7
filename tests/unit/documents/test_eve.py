"""EVE-OS's own endpoints answer the application behind the tap as msrv's handlers do."""

from __future__ import annotations

import datetime
import json
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from uuid import UUID

import attrs
import pytest

from eve_meta.documents.document import Document
from eve_meta.documents.tree import Tree
from eve_meta.values.domain import Domain
from eve_meta.values.eve_node import MAX_NODE_DATA, Adapter, Application, Device, Node, Port

OTHER = str(UUID(int=2))

APPLICATION = Application(
    openstack=True,
    adapters=(
        Adapter(taps=("nbu1x1", "nbu1x1-emu"), external_ipv4=(IPv4Address("192.0.2.10"), IPv4Address("192.0.2.11"))),
        Adapter(taps=("nbu2x1",), external_ipv4=(), may_discover=True),
        Adapter(taps=("nbu3x1",)),
    ),
    device=Device(
        name="test-system",
        id="6c6c",
        project_name="test-project",
        project_id="4d12",
        enterprise_name="testing",
        enterprise_id="AAFl",
    ),
    others={
        OTHER: (
            Port(name="nbu1x2", address=IPv4Address("10.1.0.3")),
            Port(name="nbu1x2", address=IPv6Address("fd00::3")),
        ),
        str(UUID(int=3)): (),
    },
)
DOMAIN = Domain(uuid=UUID(int=1), name="app1", eve=APPLICATION)


def find(path: str, tap: str = "nbu1x1", domain: Domain = DOMAIN, **asking: Any) -> Document | None:
    """Return the document at *path* below ``/eve/v1`` for a request from *tap*."""
    today = datetime.date(2026, 1, 1)
    asking = {"peer": "10.1.0.2", "port": 40000, **asking}
    return Tree(domain, tap=tap).find(("eve", "v1", *path.split("/")), today=today, **asking)


def body(path: str, tap: str = "nbu1x1", **asking: Any) -> bytes:
    document = find(path, tap, **asking)
    assert document is not None
    assert document.status == 200
    return bytes(document.body)


def status(path: str, tap: str, domain: Domain = DOMAIN) -> int:
    document = find(path, tap, domain)
    return 404 if document is None else document.status


@pytest.mark.parametrize("tap", ["nbu1x1", "nbu1x1-emu"])
def test_the_network_document_has_eves_keys_in_gos_order(tap: str) -> None:
    text = body("network.json", tap)
    plain = json.loads(text)
    assert plain == {
        "caller-ip": "10.1.0.2:40000",
        "external-ipv4": "192.0.2.10,192.0.2.11",
        "hostname": str(UUID(int=1)),
        "app-instance-uuid": str(UUID(int=1)),
        "device-uuid": "6c6c",
        "device-name": "test-system",
        "project-name": "test-project",
        "project-uuid": "4d12",
        "enterprise-name": "testing",
        "enterprise-id": "AAFl",
    }
    assert list(plain) == sorted(plain)


def test_an_ipv6_caller_is_written_as_go_does() -> None:
    assert json.loads(body("network.json", peer="fe80::1"))["caller-ip"] == "[fe80::1]:40000"


def test_external_addresses_are_one_a_line() -> None:
    document = find("external_ipv4")
    assert document == Document(b"192.0.2.10\n192.0.2.11\n", "text/plain; charset=UTF-8")


def test_the_host_name_is_the_uuid() -> None:
    assert body("hostname") == f"{UUID(int=1)}\n".encode()


@pytest.mark.parametrize("path", ["network.json", "external_ipv4"])
def test_the_status_depends_on_the_external_addresses(path: str) -> None:
    assert [status(path, tap) for tap in ("nbu1x1", "nbu2x1", "nbu3x1", "nbu9x9")] == [200, 204, 404, 404]


def test_an_unknown_node_is_no_failure() -> None:
    domain = attrs.evolve(DOMAIN, eve=attrs.evolve(APPLICATION, device=None))
    assert (status("network.json", "nbu1x1", domain), status("external_ipv4", "nbu1x1", domain)) == (204, 200)


def test_an_application_that_may_discover_gets_the_others_addresses() -> None:
    assert json.loads(body("discover-network.json", "nbu2x1")) == {
        OTHER: [
            {"port": "nbu1x2", "network-address": "10.1.0.3"},
            {"port": "nbu1x2", "network-address": "fd00::3"},
        ],
        str(UUID(int=3)): [],
    }


@pytest.mark.parametrize("tap", ["nbu1x1", "nbu3x1", "nbu9x9"])
def test_discovery_is_allowed_by_adapter(tap: str) -> None:
    document = find("discover-network.json", tap)
    assert document is not None
    assert document.status == 403
    assert OTHER.encode() not in bytes(document.body)


@pytest.mark.parametrize(
    ("path", "field"),
    [("location.json", "location"), ("wwan/status.json", "wwan_status"), ("wwan/metrics.json", "wwan_metrics")],
)
def test_published_json_of_the_node_is_passed_on(path: str, field: str) -> None:
    assert find(path, node=Node(**{field: b'{"a":1}'})) == Document(b'{"a":1}', "application/json")
    document = find(path)
    assert document == Document(b"", status=204)


@pytest.mark.parametrize("path", ["", "x", "hostname/x", "wwan", "kubeconfig", "tpm/signer", "app/info.json", "diag"])
def test_other_paths_are_404(path: str) -> None:
    assert find(path) is None


def test_a_domain_that_eve_does_not_run_finds_nothing() -> None:
    for path in ("network.json", "hostname", "location.json", "discover-network.json"):
        assert find(path, domain=Domain(name="web1"), node=Node(location=b"{}")) is None


def test_data_of_the_node_that_no_agent_publishes_are_unknown() -> None:
    longest = b"x" * MAX_NODE_DATA
    assert Node(location=longest, wwan_status=longest + b"x") == Node(location=longest)
