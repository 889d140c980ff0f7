"""EVE-OS's applications as domains, from files as its agents write them."""

from __future__ import annotations

import errno
import gzip
import json
import os
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eve_meta.documents.network_data import network_data
from eve_meta.inventory.eve.source import EveFiles
from eve_meta.values.content import content_of
from eve_meta.values.domain import Domain
from tests.contracts.fake_reader import FakeReader
from tests.evetree import DEVICE, LOCATION, SWITCH, Tree, adapter, ip_net, mac, network_uuid, uuid


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def scanned(tree: Tree, *, everything: bool = False) -> EveFiles:
    files = EveFiles(tree.run, everything, FakeReader())
    scan(files)
    return files


def scan(files: EveFiles) -> None:
    for _ in files.scan():
        pass


def domains(files: EveFiles) -> dict[str, Domain]:
    """Return the domains, by display name."""
    (layer,) = files.layers()
    assert not layer.written
    return {domain.display_name: domain for domain in layer.domains.values()}


def only(tree: Tree) -> Domain:
    (domain,) = domains(scanned(tree)).values()
    return domain


def problems(files: EveFiles) -> list[str]:
    return [str(problem) for problem in files.problems]


def answer(files: EveFiles, *taps: str) -> dict[str, list[str]]:
    """Return the display names of the domains that have each of *taps*, after another scan."""
    files.taps_changed(taps)
    scan(files)
    (layer,) = files.layers()
    return {tap: [layer.domains[each].display_name for each in found] for tap, found in files.answers().items()}


# -- identity --


def test_an_application_is_a_domain(tree: Tree) -> None:
    tree.app(1, b"#cloud-config\n")
    tree.network()
    tree.node()
    domain = only(tree)
    assert (domain.uuid, domain.name, domain.hostname, domain.launch_index) == (UUID(uuid(1)), "app1", "app1", 0)
    assert domain.user_data == content_of(b"#cloud-config\n")
    (nic,) = domain.nics
    assert (nic.tap, nic.mac, nic.mtu, str(nic.network_id)) == ("nbu1x1", mac(1), 1500, network_uuid(1))
    assert problems(scanned(tree)) == []


@pytest.mark.parametrize(("name", "hostname"), [("Web-1.example", "Web-1.example"), ("my app", "my-app")])
def test_the_host_name_is_the_name_or_made_of_it(tree: Tree, name: str, hostname: str) -> None:
    tree.app(1)
    tree.status(1, DisplayName=name)
    domain = only(tree)
    assert (domain.name, domain.guest_hostname) == (name, hostname)


def test_an_unprintable_name_is_replaced_by_the_uuid(tree: Tree) -> None:
    tree.app(1)
    path = tree.status(1, DisplayName="a\nb")
    files = scanned(tree)
    assert domains(files).keys() == {uuid(1)}
    message = "expected a name of printable characters: its guest gets the uuid in its place"
    assert problems(files) == [f"{path}: warning: DisplayName: {message}"]


def test_two_applications_of_one_name_are_known_by_their_uuids(tree: Tree) -> None:
    for number in (1, 2):
        tree.app(number)
        tree.status(number, adapter(number, f"nbu1x{number}"), DisplayName="twin")
    files = scanned(tree)
    assert domains(files).keys() == {uuid(1), uuid(2)}
    assert {domain.hostname for domain in domains(files).values()} == {"twin"}
    assert len(problems(files)) == 2


def test_a_mac_address_as_text_is_read_as_well(tree: Tree) -> None:
    tree.app(1)
    tree.status(1, adapter(1, "nbu1x1", Mac="02:16:3E:5A:00:01"))
    assert only(tree).nics[0].mac == mac(1)


# -- the application of a tap --


def test_a_tap_has_an_answer_once_the_files_were_read_after_it_appeared(tree: Tree) -> None:
    tree.app(1)
    tree.app(2)
    files = scanned(tree)
    assert files.answers() == {}
    assert files.taps_changed({"nbu1x1", "nbu1x2", "vnet0"})
    assert files.answers() == {}
    scan(files)
    assert answer(files, "nbu1x1", "nbu1x2", "vnet0") == {"nbu1x1": ["app1"], "nbu1x2": ["app2"], "vnet0": []}


def test_a_scan_that_was_under_way_when_a_tap_appeared_does_not_count(tree: Tree) -> None:
    tree.app(1)
    files = scanned(tree)
    files.taps_changed({"nbu1x1"})
    steps = files.scan()
    next(steps)
    files.holder_may_have_changed("nbu1x1")
    for _ in steps:
        pass
    assert files.answers() == {}
    scan(files)
    assert files.answers().keys() == {"nbu1x1"}


def test_a_tap_whose_name_is_used_again_has_no_old_answer(tree: Tree) -> None:
    tree.app(1, vif="nbu1x1")
    files = scanned(tree)
    assert answer(files, "nbu1x1") == {"nbu1x1": ["app1"]}
    assert not files.taps_changed(set())
    tree.take("zedrouter/AppNetworkStatus", uuid(1))
    assert files.taps_changed({"nbu1x1"})
    assert files.answers() == {}
    scan(files)
    assert files.answers() == {"nbu1x1": ()}
    tree.app(2, vif="nbu1x1")
    scan(files)
    assert answer(files, "nbu1x1") == {"nbu1x1": ["app2"]}


def test_an_application_that_is_not_activated_has_no_tap(tree: Tree) -> None:
    tree.app(1)
    tree.status(1, adapter(1, "nbu1x1"), Activated=False)
    tree.app(2, vif="nbu1x1")
    assert answer(scanned(tree), "nbu1x1") == {"nbu1x1": ["app2"]}


def test_two_applications_that_claim_one_tap_are_both_in_the_answer(tree: Tree) -> None:
    tree.app(1, vif="nbu1x1")
    tree.app(2, vif="nbu1x1")
    assert answer(scanned(tree), "nbu1x1") == {"nbu1x1": ["app1", "app2"]}


def test_under_xen_an_adapter_has_two_taps(tree: Tree) -> None:
    tree.app(1)
    tree.status(1, adapter(1, "nbu1x1", VifUsed="nbu1x1-emu"))
    taps = {"nbu1x1": ["app1"], "nbu1x1-emu": ["app1"]}
    files = scanned(tree)
    assert answer(files, *taps) == taps
    assert [nic.tap for nic in domains(files)["app1"].nics] == ["nbu1x1"]


def test_a_tap_of_an_application_without_a_configuration_has_no_answer(tree: Tree) -> None:
    path = tree.status(1, adapter(1, "nbu1x1"))
    files = scanned(tree)
    assert answer(files, "nbu1x1") == {}
    config = tree.run / f"zedmanager/AppNetworkConfig/{uuid(1)}.json"
    assert problems(files) == [f"{path}: warning: not served while there is no {config}"]
    tree.config(1)
    assert answer(files, "nbu1x1") == {"nbu1x1": ["app1"]}


# -- its network --


def network_data_of(tree: Tree) -> Any:
    """Return the only application's network data, parsed."""
    document = network_data(only(tree))
    return None if document is None else json.loads(bytes(document.body))


@pytest.mark.parametrize("old", [False, True])
def test_a_network_of_eves_own(tree: Tree, old: bool) -> None:
    tree.app(1)
    tree.status(1, adapter(1, "nbu1x1", old=old, MTU=0))
    tree.network(MTU=1400, DnsServers=["10.1.0.53", "2001:db8::53"])
    (subnet,) = only(tree).nics[0].subnets
    # The DHCP server announces the gateway: told as well, it would give the guest a second default route.
    assert (subnet.type.value, str(subnet.address), subnet.gateway) == ("ipv4_dhcp", "10.1.0.2/16", None)
    plain = network_data_of(tree)
    link = {"id": "nbu1x1", "type": "tap", "mtu": 1400, "ethernet_mac_address": mac(1)}
    assert link.items() <= plain["links"][0].items()
    assert {"type": "ipv4_dhcp", "network_id": network_uuid(1), "link": "nbu1x1"}.items() <= plain["networks"][
        0
    ].items()
    assert plain["services"] == [{"type": "dns", "address": "10.1.0.53"}]


@pytest.mark.parametrize(
    ("published", "search"), [("Edge.example.", ("Edge.example",)), ("", ()), ("-", ()), (None, ())]
)
def test_the_domain_of_a_network_is_a_search_domain(tree: Tree, published: str | None, search: tuple[str, ...]) -> None:
    tree.app(1)
    tree.network(DomainName=published)
    assert only(tree).search == search


def test_the_gateway_is_the_name_server_where_none_is_published(tree: Tree) -> None:
    tree.app(1)
    tree.network()
    assert network_data_of(tree)["services"] == [{"type": "dns", "address": "10.1.0.1"}]


def test_every_source_of_an_address(tree: Tree) -> None:
    tree.app(1)
    addresses = {
        "IPv4Addrs": [
            {"Address": "10.1.0.9", "AssignedBy": 2},
            {"Address": "10.1.0.2", "AssignedBy": 4},
            {"Address": "192.0.2.3", "AssignedBy": 8},
            {"Address": "10.1.0.4", "AssignedBy": 32},
            {"Address": "203.0.113.5", "AssignedBy": 32},
        ],
        "IPv6Addrs": [{"Address": "2001:db8::5", "AssignedBy": 16}, {"Address": "2001:db8::6", "AssignedBy": 8}],
    }
    tree.status(1, adapter(1, "nbu1x1", AssignedAddresses=addresses))
    tree.network()
    assert [(each.type.value, each.address and str(each.address)) for each in only(tree).nics[0].subnets] == [
        ("ipv4_dhcp", "10.1.0.2/16"),
        ("ipv4_dhcp", None),
        ("ipv4", "10.1.0.4/16"),
        ("ipv6_slaac", None),
        ("ipv6_dhcpv6-stateful", None),
    ]


def test_ipv6_in_a_network_of_eves_own(tree: Tree) -> None:
    tree.app(1)
    addresses = {"IPv4Addrs": None, "IPv6Addrs": [{"Address": "fd00::5", "AssignedBy": 32}]}
    tree.status(1, adapter(1, "nbu1x1", AssignedAddresses=addresses))
    tree.network(Subnet=ip_net("fd00::/64"), Gateway="fd00::1")
    (network,) = network_data_of(tree)["networks"]
    assert (network["type"], network["ip_address"], network["routes"][0]["gateway"]) == ("ipv6", "fd00::5", "fd00::1")


def test_on_a_switch_there_is_no_network_until_an_address_was_seen(tree: Tree) -> None:
    tree.app(1)
    tree.network(kind=SWITCH, subnet=None)
    none: dict[str, Any] = {"AssignedAddresses": {"IPv4Addrs": None, "IPv6Addrs": None}}
    tree.status(1, adapter(1, "nbu1x1", **none))
    assert network_data_of(tree) is None
    tree.status(1, adapter(1, "nbu1x1"), adapter(3, "nbu2x1", network=7, **none))
    assert [network["type"] for network in network_data_of(tree)["networks"]] == ["ipv4_dhcp", "ipv4_dhcp"]


def test_in_a_network_of_eves_own_dhcp_is_known_before_an_address(tree: Tree) -> None:
    tree.app(1)
    tree.network()
    tree.status(1, adapter(1, "nbu1x1", AssignedAddresses={"IPv4Addrs": None, "IPv6Addrs": None}))
    assert [network["type"] for network in network_data_of(tree)["networks"]] == ["ipv4_dhcp"]


# -- its user data --


@pytest.mark.parametrize(
    "data", [b"#!/bin/sh\n", gzip.compress(b"#cloud-config\n"), b"Content-Type: multipart/mixed\n"]
)
def test_user_data_is_decoded_once_and_passed_through(tree: Tree, data: bytes) -> None:
    tree.app(1, data)
    assert only(tree).user_data == content_of(data)


def test_user_data_that_are_base64_are_not_decoded_again(tree: Tree) -> None:
    tree.app(1, b"I2Nsb3VkLWNvbmZpZwo=")
    assert only(tree).user_data == content_of(b"I2Nsb3VkLWNvbmZpZwo=")


@pytest.mark.parametrize("data", [None, b""])
def test_no_user_data(tree: Tree, data: bytes | None) -> None:
    tree.app(1, data)
    assert only(tree).user_data is None


@pytest.mark.parametrize("flattened", [False, True])
def test_encrypted_user_data_are_withheld_and_reported(tree: Tree, flattened: bool) -> None:
    tree.status(1, adapter(1, "nbu1x1"))
    if flattened:
        path = tree.domain_config(1, b"secret", IsCipher=True)
    else:
        path = tree.config(1, b"secret", CipherBlockStatus={"IsCipher": True, "pubsub-large-CipherData": "AAAA"})
    files = scanned(tree)
    assert domains(files)["app1"].user_data is None
    message = "the user data is encrypted, only EVE itself can read it: the guest gets none (404)"
    assert problems(files) == [f"{path}: warning: IsCipher: {message}"]


def test_the_configuration_is_zedmanagers_else_zedagents_else_the_domains(tree: Tree) -> None:
    tree.status(1, adapter(1, "nbu1x1"))
    tree.domain_config(1, b"of the domain")
    assert only(tree).user_data == content_of(b"of the domain")
    tree.config(1, b"of zedagent", agent="zedagent")
    assert only(tree).user_data == content_of(b"of zedagent")
    tree.config(1, b"of zedmanager")
    assert only(tree).user_data == content_of(b"of zedmanager")


@pytest.mark.parametrize("kind", [0, 1, 3])
def test_only_an_application_with_openstack_metadata_gets_them_by_default(tree: Tree, kind: int) -> None:
    tree.status(1, adapter(1, "nbu1x1"))
    tree.config(1, b"secret", MetaDataType=kind, CipherBlockStatus=None)
    eve = only(tree).eve
    assert eve is not None
    assert not eve.openstack
    assert only(tree).user_data is None
    (domain,) = domains(scanned(tree, everything=True)).values()
    assert domain.eve is not None
    assert domain.eve.openstack
    assert domain.user_data == content_of(b"secret")


# -- for EVE's own endpoints --


@pytest.mark.parametrize("old", [False, True])
def test_external_addresses_are_those_of_the_network_instances_ports(tree: Tree, old: bool) -> None:
    tree.app(1)
    ports: dict[str, Any] = {"Ports": None, "SelectedUplinkLogicalLabel": "ethernet0"}
    tree.network(**(ports if old else {}))
    tree.node()
    eve = only(tree).eve
    assert eve is not None
    assert eve.adapters[0].external_ipv4 is not None
    assert [str(address) for address in eve.adapters[0].external_ipv4] == ["192.0.2.10"]
    tree.network(Ports=["elsewhere"])
    assert only(tree).eve.adapters[0].external_ipv4 == ()  # type: ignore[union-attr]
    tree.take("zedrouter/NetworkInstanceStatus", network_uuid(1))
    assert only(tree).eve.adapters[0].external_ipv4 is None  # type: ignore[union-attr]


@pytest.mark.parametrize("where", ["run/zedagent", "persist/status/zedagent"])
def test_the_node_is_read_from_both_places(tree: Tree, where: str) -> None:
    tree.app(1)
    tree.put(f"../{where}/EdgeNodeInfo", "global", DEVICE)
    eve = only(tree).eve
    assert eve is not None
    assert eve.device is not None
    assert (eve.device.name, eve.device.enterprise_id) == ("test-system", "AAFlY2hv")


def test_only_an_application_that_may_discover_others_knows_them(tree: Tree) -> None:
    tree.app(1)
    tree.app(2)
    tree.status(3, adapter(3, "nbu1x3", AllowToDiscover=True, old=True))
    tree.config(3)
    found = domains(scanned(tree))
    others = {name: domain.eve.others if domain.eve else None for name, domain in found.items()}
    assert others["app1"] == others["app2"] == {}
    assert {
        key: [(port.name, str(port.address)) for port in ports] for key, ports in (others["app3"] or {}).items()
    } == {uuid(1): [("nbu1x1", "10.1.0.2")], uuid(2): [("nbu1x2", "10.1.0.3")]}


@pytest.mark.parametrize("agent", ["wwan", "nim"])
def test_position_and_modems_are_passed_on_as_published(tree: Tree, agent: str) -> None:
    assert scanned(tree).node.location is None
    tree.put(f"{agent}/WwanLocationInfo", "global", LOCATION)
    tree.put(f"{agent}/WwanMetrics", "global", {"Networks": [{"SignalInfo": {"RSSI": -67}}]})
    status = {
        "Networks": [{"Module": {"Name": "860000", "Model": "EM7565"}, "SimCards": [{"Name": "8901", "ICCID": "89"}]}],
        "networks": [{"cellular-module": {"name": "x", "model": "y"}, "sim-cards": [{"name": "z", "iccid": "1"}]}],
        "config-checksum": "abc",
    }
    tree.put(f"{agent}/WwanStatus", "global", status)
    node = scanned(tree).node
    assert json.loads(node.location or b"") == LOCATION
    assert json.loads(node.wwan_metrics or b"") == {"Networks": [{"SignalInfo": {"RSSI": -67}}]}
    assert json.loads(node.wwan_status or b"") == {
        "Networks": [{"Module": {"Model": "EM7565"}, "SimCards": [{"ICCID": "89"}]}],
        "networks": [{"cellular-module": {"model": "y"}, "sim-cards": [{"iccid": "1"}]}],
    }


def test_another_position_changes_no_domain(tree: Tree) -> None:
    tree.app(1, b"x" * 1000)
    tree.put("wwan/WwanLocationInfo", "global", LOCATION)
    files = scanned(tree)
    (before,) = files.layers()
    location = files.node.location
    tree.put("wwan/WwanLocationInfo", "global", {**LOCATION, "Latitude": 50.0})
    scan(files)
    (after,) = files.layers()
    assert files.node.location != location
    assert [id(domain) for domain in after.domains.values()] == [id(domain) for domain in before.domains.values()]


# -- problems --


def test_a_missing_directory_is_a_warning(tree: Tree) -> None:
    message = "no such directory; EVE's applications are read as soon as its zedrouter makes it"
    assert problems(scanned(tree)) == [f"{tree.run}/zedrouter/AppNetworkStatus: warning: {message}"]


def test_files_of_other_names_are_no_keys(tree: Tree) -> None:
    tree.app(1)
    directory = tree.run / "zedrouter/AppNetworkStatus"
    for name in ("tmp123456", "restarted", ".json", "x.json.bak", "AppNetworkStatus.sock"):
        (directory / name).write_text("{")
    assert problems(scanned(tree)) == []


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "expected JSON, but Expecting value at character 0"),
        ('{"UUIDandVersion":', "expected JSON, but Expecting value at character 18"),
        ("[]", "expected an object, got a list"),
        ("[" * 100_000, "expected JSON that EVE would write"),
        ('{"AppNum": NaN}', "expected JSON that EVE would write"),
        ("{}", f"UUIDandVersion.UUID: expected the uuid {uuid(1)} of the file's name, got null"),
        (
            json.dumps({"UUIDandVersion": {"UUID": uuid(2)}}),
            f"UUIDandVersion.UUID: expected the uuid {uuid(1)} of the file's name, got '{uuid(2)}'",
        ),
        ('{"AppNetAdapterList": [{"Mac": "AAA="}]}', "AppNetAdapterList[0].Mac: expected a MAC address, got 'AAA='"),
        (
            '{"AppNetAdapterList": [{"MTU": 67}]}',
            "AppNetAdapterList[0].MTU: expected an MTU of 68..65535 bytes, got 67",
        ),
        ('{"AppNetAdapterList": [{"MTU": true}]}', "AppNetAdapterList[0].MTU: expected a whole number, got True"),
        (
            '{"AppNetAdapterList": [{"AllocatedIPv4Addr": "10.1"}]}',
            "AppNetAdapterList[0].AllocatedIPv4Addr: expected an IP address, got '10.1'",
        ),
        (
            '{"AppNetAdapterList": [{"Vif": "a/b"}]}',
            "AppNetAdapterList[0].Vif: expected network devices' names in Vif and VifUsed, got 'a/b'",
        ),
        (
            '{"AppNetAdapterList": [{"Vif": "a"}, {"VifUsed": "a"}]}',
            "AppNetAdapterList: expected each Vif once, got one twice",
        ),
    ],
)
def test_a_broken_file_is_reported_and_its_last_good_version_holds(tree: Tree, content: str, why: str) -> None:
    tree.app(1, b"kept")
    files = scanned(tree)
    path = tree.put("zedrouter/AppNetworkStatus", uuid(1), content)
    scan(files)
    assert problems(files) == [f"{path}: {why}; its last good version holds"]
    assert domains(files)["app1"].user_data == content_of(b"kept")
    fresh = scanned(tree)
    assert (domains(fresh), problems(fresh)) == ({}, [f"{path}: {why}"])
    tree.app(1, b"new")
    scan(files)
    assert (domains(files)["app1"].user_data, problems(files)) == (content_of(b"new"), [])


def test_broken_user_data_are_reported_but_not_shown(tree: Tree) -> None:
    tree.app(1, b"kept")
    files = scanned(tree)
    field = "pubsub-large-CloudInitUserData"
    broken: dict[str, Any] = {field: "hunter2 is no base64"}
    path = tree.config(1, **broken)
    scan(files)
    assert problems(files) == [f"{path}: {field}: expected base64; its last good version holds"]
    assert domains(files)["app1"].user_data == content_of(b"kept")


def test_a_directory_that_cannot_be_read_keeps_its_applications_but_answers_for_no_new_tap(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.app(1)
    files = scanned(tree)
    assert answer(files, "nbu1x1") == {"nbu1x1": ["app1"]}
    listdir = os.listdir

    def fail(path: Path) -> list[str]:
        if path.name == "AppNetworkStatus":
            raise OSError(errno.EIO, "Input/output error")
        return listdir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", fail)
        files.holder_may_have_changed("nbu1x1")
        assert answer(files, "nbu1x1", "nbu1x2") == {}
        assert problems(files) == [
            f"{tree.run}/zedrouter/AppNetworkStatus: cannot read this directory: Input/output error"
        ]
    assert domains(files).keys() == {"app1"}
    assert answer(files, "nbu1x1", "nbu1x2") == {"nbu1x1": ["app1"], "nbu1x2": []}


def test_a_fifo_in_place_of_a_file(tree: Tree) -> None:
    tree.app(1)
    path = tree.run / f"zedrouter/AppNetworkStatus/{uuid(2)}.json"
    os.mkfifo(path)
    files = scanned(tree)
    assert domains(files).keys() == {"app1"}
    assert problems(files) == [f"{path}: expected '{path}' to be a file, got something else"]


# -- anything at all --

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
FIELDS = (
    "UUIDandVersion", "UUID", "DisplayName", "Activated", "AppNetAdapterList", "Vif", "VifUsed", "Mac", "MTU",
    "AssignedAddresses", "IPv4Addrs", "IPv6Addrs", "Address", "AssignedBy", "AllocatedIPv4Addr", "AllocatedIPv6List",
    "CipherBlockStatus", "IsCipher", "MetaDataType", "pubsub-large-CloudInitUserData", "Type", "Subnet", "IP", "Mask",
    "Gateway", "DnsServers", "DomainName", "Ports", "Logicallabel", "AddrInfoList", "Addr", "DeviceName", "Networks",
    "Module", "Name", "Network", "SimCards", "AllowToDiscover", "SelectedUplinkLogicalLabel",
)  # fmt: skip
VALUES = st.sampled_from(
    [uuid(1), network_uuid(1), "nbu1x1", "10.1.0.2", "fe80::1%eth0", "10.1.0.0", "//8AAA==", "AhY+WgAB", 2, 4, 32, True]
)
eve_values = st.recursive(
    json_values | VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=8),
    max_leaves=30,
)
TOPICS = (
    "zedrouter/AppNetworkStatus", "zedmanager/AppNetworkConfig", "zedagent/AppNetworkConfig", "zedmanager/DomainConfig",
    "zedrouter/NetworkInstanceStatus", "zedagent/EdgeNodeInfo", "nim/DeviceNetworkStatus", "wwan/WwanStatus",
    "wwan/WwanMetrics", "nim/WwanLocationInfo",
)  # fmt: skip
KEYS = st.sampled_from([uuid(1), uuid(2), network_uuid(1), "global", "x"])


def mixed(value: Any, into: Any, fields: list[str]) -> Any:
    """Return *into*, a sound struct, with *value* in place of the field at *fields*."""
    if not fields:
        return value
    if isinstance(into, list) and into:
        return [mixed(value, into[0], fields), *into[1:]]
    return {**into, fields[0]: mixed(value, into.get(fields[0]), fields[1:])} if isinstance(into, dict) else value


@given(
    files=st.lists(st.tuples(st.sampled_from(TOPICS), KEYS, eve_values), max_size=8),
    spoilt=st.lists(
        st.tuples(st.integers(0, 7), eve_values, st.lists(st.sampled_from(FIELDS), max_size=3)), max_size=6
    ),
)
def test_whatever_is_published_gives_problems_and_never_a_traceback(
    tmp_path_factory: pytest.TempPathFactory,
    files: list[tuple[str, str, Any]],
    spoilt: list[tuple[int, Any, list[str]]],
) -> None:
    tree = Tree(tmp_path_factory.mktemp("eve"))
    tree.app(1, b"data")
    tree.app(2)
    tree.network()
    tree.node()
    eve = scanned(tree)
    eve.taps_changed({"nbu1x1"})
    sound = [(path, json.loads(path.read_text())) for path in sorted(tree.run.rglob("*.json"))]
    for topic, key, value in files:
        tree.put(topic, key, json.dumps(value))
    for index, value, fields in spoilt:
        path, whole = sound[index % len(sound)]
        tree.put(str(path.parent.relative_to(tree.run)), path.stem, json.dumps(mixed(value, whole, fields)))
    for _ in range(2):
        scan(eve)
        # The last good version of a file holds until the file is gone.
        assert set(eve.layers()[0].domains) >= {str(tree.run / f"zedrouter/AppNetworkStatus/{uuid(1)}.json")}
    for problem in eve.problems:
        assert "\n" not in str(problem)
