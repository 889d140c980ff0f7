"""The applications of an EVE-OS node: guests behind nbu taps, known from what EVE's agents publish."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from harness import SCRIPTS
from harness.daemon import EVE_META
from harness.guests import Guest, LabError
from tests.evetree import LOCATION, Tree, adapter, mac, uuid
from tests.guest.monsters import harmless_to
from tests.guest.scene import META_DATA, USER_DATA, KeepAlive, Scene, domain, eventually, scene

READER = Path(__file__).with_name("read_by_cloud_init.py")
TAP = "nbu1x1"
EVE = "/eve/v1"
NETWORK = f"{EVE}/network.json"

SOON = 5.0
"""Seconds within which what EVE publishes takes effect."""


@frozen
class Node:
    """A node: its daemon, and the files that its agents publish."""

    stage: Scene
    tree: Tree

    def plugged(self, number: int, tap: str) -> Guest:
        """Plug in a guest behind *tap*, a tap of application *number*."""
        guest = self.stage.lab.guest(f"app{number}", tap=tap, bridge="br0", mac=mac(number))
        self.known(number, tap)
        return guest

    def known(self, number: int | None, tap: str) -> None:
        """Wait until *tap* has a carrier and is that of application *number*; None stands for no domain."""
        eventually(lambda: self.stage.uuid_is(tap, None if number is None else uuid(number)), SOON)


@pytest.fixture(scope="module")
def module_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    tree = Tree(tmp_path_factory.mktemp("node"))
    tree.node()
    tree.network()
    with scene("emg-eve", {}, taps=["nbu*", "vnet*"], inventory=f"eve = {json.dumps(str(tree.run))}\n") as stage:
        yield Node(stage, tree)


@pytest.fixture
def node(module_node: Node) -> Iterator[Node]:
    yield module_node
    for guest in list(module_node.stage.lab.guests.values()):
        module_node.stage.lab.remove(guest)
    for file in [*module_node.stage.daemon.domains.iterdir(), *module_node.tree.run.glob("z*/App*/*.json")]:
        file.unlink()


def user_data(number: int) -> bytes:
    return b"#cloud-config\n# of application %d\n" % number


def read_by_cloud_init(guest: Guest) -> dict[str, Any]:
    """Return what cloud-init's OpenStack datasource finds in *guest*."""
    environment = dict(os.environ, PYTHONPATH=str(SCRIPTS))
    python = EVE_META.with_name("python")
    process = guest.popen(python, READER, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    found: dict[str, Any] = json.loads(output)
    return found


def test_cloud_init_finds_what_eve_was_given(node: Node) -> None:
    node.tree.app(1, user_data(1))
    guest = node.plugged(1, TAP)
    found = read_by_cloud_init(guest)
    assert (found["datasource"], found["instance_id"], found["hostname"]) == ("OpenStack", uuid(1), "app1")
    config = json.dumps(found["network_config"])
    assert mac(1) in config
    assert "10.1.0.1" in config  # the name server is the gateway of the network instance
    assert guest.get(USER_DATA).body == user_data(1)


def test_each_application_reads_its_own_at_eves_endpoints(node: Node) -> None:
    for number in (1, 2):
        node.tree.app(number)
    guests = {number: node.plugged(number, f"nbu1x{number}") for number in (1, 2)}
    for number, guest in guests.items():
        answer = guest.get(NETWORK)
        plain = json.loads(answer.body)
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert plain["app-instance-uuid"] == plain["hostname"] == uuid(number)
        assert (plain["external-ipv4"], plain["device-name"]) == ("192.0.2.10", "test-system")
        address, _, port = plain["caller-ip"].rpartition(":")
        assert address == "10.0.0.5"
        assert 0 < int(port) < 65536
        assert guest.get(f"{EVE}/hostname").body == f"{uuid(number)}\n".encode()
        external = guest.get(f"{EVE}/external_ipv4")
        assert (external.body, external.headers["content-type"]) == (b"192.0.2.10\n", "text/plain; charset=UTF-8")
        assert guest.get(f"{EVE}/discover-network.json").status == 403
    node.tree.status(1, adapter(1, TAP, AllowToDiscover=True))
    eventually(lambda: guests[1].get(f"{EVE}/discover-network.json").status == 200, SOON)
    others = json.loads(guests[1].get(f"{EVE}/discover-network.json").body)
    assert others == {uuid(2): [{"port": "nbu1x2", "network-address": "10.1.0.3"}]}


def test_a_domain_that_is_no_application_reads_nothing_of_the_node(node: Node) -> None:
    """EVE's own server answers anybody with the node's identity and position."""
    node.tree.app(1)
    node.tree.put("wwan/WwanLocationInfo", "global", LOCATION)
    application = node.plugged(1, TAP)
    eventually(lambda: application.get(f"{EVE}/location.json").status == 200, 2 * SOON)
    assert json.loads(application.get(f"{EVE}/location.json").body) == LOCATION
    nobody = node.stage.lab.guest("nobody", tap="nbu1x9", bridge="br0")
    node.stage.daemon.write_domain("other", domain(7, "vnet0"))
    other = node.stage.lab.guest("other", tap="vnet0", bridge="br0")
    node.stage.wait_until_known(vnet0=7)
    for stranger in (nobody, other):
        for path in ("network.json", "hostname", "external_ipv4", "location.json", "wwan/status.json"):
            answer = stranger.get(f"{EVE}/{path}")
            assert (answer.status, answer.body) == (404, b"404 Not Found\n")
    no_content = application.get(f"{EVE}/wwan/status.json")
    assert (no_content.status, no_content.body) == (204, b"")
    assert not {"content-length", "content-type"} & no_content.headers.keys()


def test_a_connection_goes_on_after_an_answer_without_content(node: Node) -> None:
    node.tree.app(1)
    with KeepAlive(node.plugged(1, TAP)) as connection:
        assert connection.get(f"{EVE}/wwan/metrics.json").status == 204
        assert connection.get(f"{EVE}/hostname").body == f"{uuid(1)}\n".encode()


def test_encrypted_user_data_is_404_and_status_shows_why(node: Node) -> None:
    node.tree.status(1, adapter(1, TAP))
    path = node.tree.config(1, b"secret", CipherBlockStatus={"IsCipher": True})
    guest = node.plugged(1, TAP)
    assert (guest.get(USER_DATA).status, guest.get(META_DATA).status) == (404, 200)
    problems = node.stage.daemon.problems()
    assert [problem for problem in problems if problem.startswith(f"{path}: warning: IsCipher: ")], problems


def test_an_application_whose_metadata_is_a_drive_has_eves_endpoints_only(node: Node) -> None:
    node.tree.status(1, adapter(1, TAP))
    node.tree.config(1, user_data(1), MetaDataType=0)
    guest = node.plugged(1, TAP)
    answers = {path: guest.get(path).status for path in (META_DATA, USER_DATA, "/latest/user-data", NETWORK)}
    assert answers == {META_DATA: 404, USER_DATA: 404, "/latest/user-data": 404, NETWORK: 200}


def test_a_tap_name_that_is_used_again_never_shows_the_deleted_applications_data(node: Node) -> None:
    """EVE assigns the number in a tap's name to the next application."""
    node.tree.app(1, user_data(1), vif=TAP)
    guest = node.plugged(1, TAP)
    with KeepAlive(guest) as old:
        assert old.get(USER_DATA).body == user_data(1)
        # As EVE does it: the domain ends, and its tap; its status goes; the next status comes, then the next tap.
        guest.unplug()
        node.tree.take("zedrouter/AppNetworkStatus", uuid(1))
        node.tree.take("zedmanager/AppNetworkConfig", uuid(1))
        node.tree.app(2, user_data(2), vif=TAP)
        # The same guest, so that only the tap identifies it; and it asks from the first moment on.
        guest.plug(TAP)
        seen = set()
        deadline = time.monotonic() + SOON
        while user_data(2) not in seen and time.monotonic() < deadline:
            try:
                seen.add(guest.get(USER_DATA, timeout=1).body)
            except (OSError, LabError):
                continue  # the tap is not steered yet
        old.ask(USER_DATA)
        assert user_data(1) not in old.rest()
    assert user_data(2) in seen
    assert user_data(1) not in seen
    node.known(2, TAP)
    assert json.loads(guest.get(META_DATA).body)["uuid"] == uuid(2)


def test_a_tap_that_comes_back_before_its_application_is_published_has_no_domain(node: Node) -> None:
    node.tree.app(1, user_data(1), vif=TAP)
    guest = node.plugged(1, TAP)
    guest.unplug()
    node.tree.take("zedrouter/AppNetworkStatus", uuid(1))
    guest.plug(TAP)
    node.known(None, TAP)
    assert guest.get(USER_DATA).status == 503
    node.tree.app(2, user_data(2), vif=TAP)
    node.known(2, TAP)
    assert guest.get(USER_DATA).body == user_data(2)


MONSTERS = {
    "nesting without end": "[" * 1_000_000,
    "nested structures": '{"UUIDandVersion": ' * 100_000,
    "a number without end": "9" * 1_000_000,
    "adapters without end": '{"AppNetAdapterList": [' + "{}, " * 500_000 + "{}]}",
    "keys without end": "{" + ", ".join(f'"{number}": 1' for number in range(500_000)) + "}",
    "megabytes without end": '{"DisplayName": "' + "x" * 9 * 1024 * 1024 + '"}',
}


def test_monsters_among_what_eve_publishes_are_a_problem_of_their_file_and_harm_nobody(node: Node) -> None:
    node.tree.app(1, user_data(1))
    neighbour = node.plugged(1, TAP)
    assert node.stage.daemon.process is not None
    with harmless_to(neighbour, node.stage.daemon.process.pid):
        paths = [
            str(node.tree.put("zedrouter/AppNetworkStatus", uuid(100 + number), text))
            for number, text in enumerate(MONSTERS.values())
        ]

        def problems() -> list[str]:
            found = node.stage.daemon.problems()
            return found if len(found) >= len(paths) else []

        found = eventually(problems, 20)
        node.tree.app(2, user_data(2))
        guest = node.plugged(2, "nbu1x2")
        assert guest.get(USER_DATA).body == user_data(2)
    print("\n".join(found))
    assert sorted(path for path in paths for problem in found if problem.startswith(f"{path}:")) == sorted(paths)
    assert max(map(len, found)) < 400
