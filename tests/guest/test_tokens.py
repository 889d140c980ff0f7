"""Session tokens through the whole path: how far they travel, how long they last, and for whom they are valid."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator

import pytest
from attrs import frozen
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from harness.guests import Guest, Response
from harness.namespace import Namespace, ip_batch
from tests.guest.scene import META_DATA, SERVICE, Scene, domain, eventually, scene

NAME = "emtok"
ETH_P_ALL = 0x0003
LINK_LOCAL = "fe80::a9fe:a9fe"

TOKEN = "/latest/api/token"
TTL = {"X-aws-ec2-metadata-token-ttl-seconds": "300"}
NORMAL, LIMITED = 64, 1

SHORT = 1.5
"""Seconds to wait for what must not come; TCP has retransmitted it by then."""

TREES = (META_DATA, "/openstack", "/latest/meta-data/", "/2009-04-04/meta-data/instance-id", "/nocloud/meta-data", "/")


@pytest.fixture(scope="module")
def stage() -> Iterator[Scene]:
    """Three guests, for which tokens are optional, required and off; two workers."""
    domains = {
        "vm1": domain(1, "vnet1"),
        "vm2": domain(2, "vnet2", tokens="required"),
        "vm3": domain(3, "vnet3", tokens="off"),
    }
    with scene(NAME, domains, settings="[web]\nworkers = 2\n") as stage:
        for number in (1, 2, 3):
            stage.lab.guest(f"vm{number}", tap=f"vnet{number}", bridge="br0", mac=f"52:54:00:00:00:0{number}")
        stage.wait_until_known(vnet1=1, vnet2=2, vnet3=3)
        yield stage


def guest(stage: Scene, number: int) -> Guest:
    return stage.lab.guests[f"vm{number}"]


def put(guest: Guest, **headers: str) -> Response:
    """Ask for a token."""
    return guest.get(TOKEN, method="PUT", headers={**TTL, **headers})


def token(guest: Guest) -> str:
    answer = put(guest)
    assert (answer.status, answer.headers["x-aws-ec2-metadata-token-ttl-seconds"]) == (200, "300")
    return answer.body.decode()


def status(guest: Guest, token: str | None, path: str = META_DATA) -> int:
    """Return the status of the answer to a request with *token*; None: without one."""
    headers = {} if token is None else {"X-aws-ec2-metadata-token": token}
    return guest.get(path, headers=headers).status


# -- how far they travel --


@frozen
class Wire:
    """The packets that arrive at a guest's NIC."""

    socket: socket.socket

    @classmethod
    @contextlib.contextmanager
    def of(cls, guest: Guest) -> Iterator[Wire]:
        with guest.open_socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as raw:
            raw.bind(("eth0", 0))
            raw.settimeout(0.3)
            yield cls(raw)

    def answers(self) -> list[tuple[str, int]]:
        """Return the first line, or the flags, of each TCP segment from the service since, with its TTL or hop limit.

        Pure acknowledgements, which carry no data, are left out.
        """
        found = []
        with contextlib.suppress(TimeoutError):
            while frame := Ether(self.socket.recv(65536)):
                packet = frame.getlayer(IP) or frame.getlayer(IPv6)
                if packet is None or packet.src not in (SERVICE, LINK_LOCAL) or TCP not in packet:
                    continue
                payload, flags = bytes(packet[TCP].payload), str(packet[TCP].flags)
                ours = packet.ttl if IP in packet else packet.hlim
                length = packet.len - packet.ihl * 4 if IP in packet else packet.plen  # an Ethernet frame may be padded
                payload = payload[: length - packet[TCP].dataofs * 4]
                if payload or flags != "A":
                    found.append((payload.split(b"\r\n")[0].decode() or flags, ours))
        return found


def connect(guest: Guest, address: str) -> socket.socket:
    """Connect through the guest's NIC, as "%eth0" after a link-local address requires."""
    connection = guest.open_socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    connection.settimeout(10)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    connection.connect((address, 80))
    return connection


def speak(connection: socket.socket, host: str, request: str, *fields: str) -> None:
    lines = [f"{request} HTTP/1.1", f"Host: {host}", *fields]
    connection.sendall("".join(f"{line}\r\n" for line in lines).encode() + b"\r\n")
    assert connection.recv(65536)


@pytest.mark.parametrize(("address", "host"), [(SERVICE, SERVICE), (LINK_LOCAL, f"[{LINK_LOCAL}%25eth0]")])
def test_a_token_and_nothing_else_leaves_with_one_hop(stage: Scene, address: str, host: str) -> None:
    asking = guest(stage, 1)
    eventually(lambda: "tentative" not in asking.run("ip", "address", "show", "dev", "eth0").stdout, 10)
    ttl = "X-aws-ec2-metadata-token-ttl-seconds: 300"
    with Wire.of(asking) as wire:
        with connect(asking, address) as connection:
            speak(connection, host, f"GET {META_DATA}")
            speak(connection, host, f"PUT {TOKEN}", ttl)
            assert connection.recv(1) == b""
        seen = wire.answers()
        with connect(asking, address) as connection:
            speak(connection, host, "GET /openstack", "Connection: close")
        after = wire.answers()
    print("\n", seen, after)
    ok = "HTTP/1.1 200 OK"
    assert [hops for what, hops in seen if what == "SA"] == [NORMAL]
    assert [hops for what, hops in seen if what == ok] == [NORMAL, LIMITED]
    assert {hops for what, hops in seen if "F" in what} == {LIMITED}
    assert {hops for _, hops in after} == {NORMAL}


@pytest.fixture
def container(stage: Scene) -> Iterator[Namespace]:
    """A container in the first guest, which is its router."""
    inside, outer = Namespace(f"{NAME}-container"), guest(stage, 1)
    ip_batch([f"netns add {inside.name}"])
    try:
        outer.ip(f"link add docker0 type veth peer name eth0 netns {inside.name}", "link set docker0 up")
        outer.ip("address add 172.17.0.1/24 dev docker0")
        outer.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        inside.ip("link set eth0 up", "address add 172.17.0.2/24 dev eth0", "route add default via 172.17.0.1")
        yield inside
    finally:
        outer.run("ip", "link", "delete", "docker0", check=False)
        ip_batch([f"netns delete {inside.name}"])


def ask_from(inside: Namespace, request: str) -> bytes:
    with inside.connect(timeout=SHORT) as connection:
        connection.sendall(f"{request} HTTP/1.0\r\n{next(iter(TTL))}: 300\r\n\r\n".encode())
        return connection.recv(65536)


def test_a_token_dies_at_the_first_router(stage: Scene, container: Namespace) -> None:
    assert ask_from(container, "GET /latest/meta-data/instance-id").startswith(b"HTTP/1.1 200 OK\r\n")
    with Wire.of(guest(stage, 1)) as wire:
        with pytest.raises(TimeoutError):
            ask_from(container, f"PUT {TOKEN}")
        sent = [hops for what, hops in wire.answers() if what == "HTTP/1.1 200 OK"]
    # It is retransmitted, and each time it dies at the router.
    assert len(sent) > 1
    assert set(sent) == {LIMITED}
    assert ask_from(container, "GET /openstack").startswith(b"HTTP/1.1 200 OK\r\n")


# -- for whom they are valid --


def test_a_neighbours_token_is_worthless(stage: Scene) -> None:
    mine, theirs = token(guest(stage, 1)), token(guest(stage, 2))
    assert (status(guest(stage, 1), mine), status(guest(stage, 2), theirs)) == (200, 200)
    assert (status(guest(stage, 1), theirs), status(guest(stage, 2), mine)) == (401, 401)


@pytest.mark.parametrize("path", TREES)
def test_where_tokens_are_required_all_trees_are_closed_without(stage: Scene, path: str) -> None:
    asking = guest(stage, 2)
    assert status(asking, None, path) == 401
    assert status(asking, token(asking), path) == 200
    assert status(guest(stage, 1), None, path) == 200


def test_where_tokens_are_off_there_are_none(stage: Scene) -> None:
    asking = guest(stage, 3)
    assert put(asking).status == 404
    assert status(asking, "whatever") == 200


def test_a_worker_accepts_the_token_that_another_issued(stage: Scene) -> None:
    asking = guest(stage, 2)
    given = {token(asking) for _ in range(10)}
    assert len(given) == 10
    assert {status(asking, shown) for shown in given for _ in range(3)} == {200}


def test_a_token_asked_for_by_a_proxy_is_refused(stage: Scene) -> None:
    assert put(guest(stage, 1), **{"x-forwarded-FOR": "203.0.113.9"}).status == 403


def test_alpines_nc_gets_a_token_as_the_last_line(stage: Scene) -> None:
    with guest(stage, 2).connect() as connection:
        connection.sendall(f"PUT {TOKEN} HTTP/1.0\r\n{next(iter(TTL))}: 5\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert status(guest(stage, 2), answer.decode().splitlines()[-1]) == 200


def test_requests_that_would_be_refused_are_counted(stage: Scene) -> None:
    def counted() -> dict[str, int]:
        shown = stage.status_of("vnet1")
        counts = {**shown["requests"], **shown["notes"]}
        return {name: counts.get(name, 0) for name in ("no_token", "invalid_token", "200", "401")}

    before = counted()
    shown = token(guest(stage, 1))
    statuses = [status(guest(stage, 1), each) for each in (None, None, "bad", shown)]
    after = counted()
    assert statuses == [200, 200, 401, 200]
    assert {name: after[name] - before[name] for name in after} == {
        "no_token": 2,
        "invalid_token": 1,
        "200": 4,
        "401": 1,
    }


# -- how long they last --


def test_the_policy_changes_at_once_on_an_open_connection(stage: Scene) -> None:
    asking = guest(stage, 1)
    with asking.connect() as connection:

        def ask() -> bytes:
            connection.sendall(f"GET /openstack HTTP/1.1\r\nHost: {SERVICE}\r\n\r\n".encode())
            return connection.recv(4096)[9:12]

        assert ask() == b"200"
        try:
            stage.daemon.write_domain("vm1", domain(1, "vnet1", tokens="required"))
            eventually(lambda: ask() == b"401", 5)
            assert status(asking, token(asking)) == 200
        finally:
            stage.daemon.write_domain("vm1", domain(1, "vnet1"))
        eventually(lambda: ask() == b"200", 5)


def test_a_token_dies_with_its_tap(stage: Scene) -> None:
    asking = guest(stage, 2)
    shown = token(asking)
    asking.unplug()
    asking.plug("vnet2")
    stage.wait_until_known(vnet2=2)
    eventually(lambda: put(asking).status == 200, 5)
    assert status(asking, shown) == 401
    assert status(asking, token(asking)) == 200


def test_a_token_dies_with_its_domain(stage: Scene) -> None:
    asking = guest(stage, 2)
    shown = token(asking)
    try:
        stage.daemon.write_domain("vm2", domain(9, "vnet2", tokens="required"))
        stage.wait_until_known(vnet2=9)
        assert status(asking, shown) == 401
    finally:
        stage.daemon.write_domain("vm2", domain(2, "vnet2", tokens="required"))
    stage.wait_until_known(vnet2=2)
    assert status(asking, shown) == 200


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_token_survives_the_daemon(stage: Scene, how: signal.Signals) -> None:
    """It survives whatever tags the next daemon assigns: after SIGTERM they begin at 1 again."""
    asking = guest(stage, 2)
    shown, tag = token(asking), stage.status_of("vnet2")["tag"]
    process = stage.daemon.process
    assert process is not None
    os.kill(process.pid, how)
    process.wait(20)
    stage.daemon.start()
    stage.wait_until_known(vnet1=1, vnet2=2, vnet3=3)
    print(f"\ntag {tag} before, {stage.status_of('vnet2')['tag']} after")
    assert status(asking, shown) == 200
    assert status(guest(stage, 1), shown) == 401


# The last test, because it starts the daemon with another configuration.
def test_two_hops_reach_the_container(stage: Scene, container: Namespace) -> None:
    stage.daemon.stop()
    stage.daemon.config.write_text(stage.daemon.config.read_text().replace("workers = 2", "workers = 1\nhop_limit = 2"))
    stage.daemon.start()
    stage.wait_until_known(vnet1=1)
    assert ask_from(container, f"PUT {TOKEN}").startswith(b"HTTP/1.1 200 OK\r\n")
