"""The service over IPv6, for guests that have only IPv6."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from harness.guests import Guest
from tests.guest.scene import META_DATA, SERVICE_MAC, Scene, domain, eventually, scene, uuid_of

LINK_LOCAL, EC2 = "fe80::a9fe:a9fe", "fd00:ec2::254"
MAC = "52:54:00:00:00:05"
SOURCE_PORT = 40001


@pytest.fixture(scope="module")
def six() -> Iterator[Scene]:
    """Three guests with the same MAC, and so the same link-local address; no router anywhere."""
    domains = {f"vm{number}": domain(number, f"vnet{number}") for number in (1, 2, 3)}
    with scene("emg-six", domains) as six:
        for number in (1, 2, 3):
            # Each on a bridge of its own: otherwise the guests would detect that they have the same address.
            six.lab.bridge(f"br{number}")
            six.lab.guest(f"vm{number}", tap=f"vnet{number}", bridge=f"br{number}", address=None, mac=MAC)
        six.wait_until_known(vnet1=1, vnet2=2, vnet3=3)
        for guest in six.lab.guests.values():
            eventually(lambda guest=guest: "tentative" not in addresses(guest), 10)  # type: ignore[misc]
        yield six


def addresses(guest: Guest) -> str:
    return guest.run("ip", "-6", "address", "show", "dev", "eth0").stdout


def ask(guest: Guest, address: str, *, source_port: int = 0) -> str:
    """Return the uuid that *guest* reads at *address*."""
    with connect(guest, address, source_port=source_port) as connection:
        return ask_on(connection, address)


def connect(guest: Guest, address: str, *, source_port: int = 0) -> socket.socket:
    connection = guest.open_socket(socket.AF_INET6, socket.SOCK_STREAM)
    connection.settimeout(10)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # As "%eth0" does. Without a router it also leads to any other address.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    connection.bind(("::", source_port))
    connection.connect((address, 80))
    return connection


def ask_on(connection: socket.socket, address: str) -> str:
    host = f"[{address}%25eth0]" if address == LINK_LOCAL else f"[{address}]"
    connection.sendall(f"GET {META_DATA} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    return str(json.loads(body)["uuid"])


def test_a_guest_with_ipv6_only_and_no_router_gets_its_metadata(six: Scene) -> None:
    for number, guest in enumerate(six.lab.guests.values(), 1):
        assert "inet6 fe80::5054:ff:fe00:5/64" in addresses(guest)
        assert guest.run("ip", "-6", "route", "show", "default").stdout == ""
        assert ask(guest, LINK_LOCAL) == uuid_of(number)


def test_guests_with_one_link_local_address_and_port_at_once_each_get_their_own(six: Scene) -> None:
    with contextlib.ExitStack() as stack:
        connections = [
            stack.enter_context(connect(guest, LINK_LOCAL, source_port=SOURCE_PORT))
            for guest in six.lab.guests.values()
        ]
        assert len({connection.getsockname()[:2] for connection in connections}) == 1
        assert [ask_on(connection, LINK_LOCAL) for connection in connections] == [uuid_of(n) for n in (1, 2, 3)]


def test_the_address_of_aws_answers_as_well(six: Scene) -> None:
    guest = six.lab.guests["vm2"]
    guest.ip("address add fd12::5/64 dev eth0 nodad", f"route add {EC2} dev eth0")
    assert ask(guest, EC2) == uuid_of(2)


def test_duplicate_address_detection_finds_the_services_address_taken(six: Scene) -> None:
    guest = six.lab.guests["vm3"]
    guest.ip(f"address add {LINK_LOCAL}/64 dev eth0")
    try:
        eventually(lambda: "dadfailed" in addresses(guest), 10)
    finally:
        guest.ip(f"address del {LINK_LOCAL}/64 dev eth0")


def test_a_guest_cannot_pose_as_the_service_to_its_neighbour(six: Scene) -> None:
    """It advertises the service's address as its own, from that address and from its own one."""
    six.lab.bridge("br4")
    domains = {number: f"vnet{number}" for number in (4, 5)}
    for number, tap in domains.items():
        six.daemon.write_domain(f"vm{number}", domain(number, tap))
        six.lab.guest(f"vm{number}", tap=tap, bridge="br4", mac=f"52:54:00:00:00:{number:02}")
    six.wait_until_known(vnet4=4, vnet5=5)
    attacker, victim = six.lab.guests["vm4"], six.lab.guests["vm5"]
    eventually(lambda: "tentative" not in addresses(victim), 10)
    assert ask(victim, LINK_LOCAL) == uuid_of(5)
    mac = "52:54:00:00:00:04"
    to_all: Packet = Ether(src=mac, dst="33:33:00:00:00:01")
    claim: Packet = ICMPv6ND_NA(tgt=LINK_LOCAL, R=0, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=mac)
    everyone = to_all / IPv6(src=LINK_LOCAL, dst="ff02::1", hlim=255) / claim
    honest_source = to_all / IPv6(src="fe80::4", dst="ff02::1", hlim=255) / claim
    with attacker.open_socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind(("eth0", 0))
        for frame in (everyone, honest_source):
            wire.send(bytes(frame))
    eventually(lambda: {"spoofed_ip", "spoofed_nd"} <= six.drops("vnet4").keys(), 5)
    assert ask(victim, LINK_LOCAL) == uuid_of(5)
    assert SERVICE_MAC in victim.run("ip", "-6", "neigh", "show", LINK_LOCAL).stdout


def test_other_ports_and_pings_of_the_service_reach_nobody(six: Scene) -> None:
    guest = six.lab.guests["vm1"]
    before = six.drops("vnet1").get("not_http", 0)
    with guest.open_socket(socket.AF_INET6, socket.SOCK_STREAM) as other:
        other.settimeout(0.5)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        with pytest.raises(TimeoutError):
            other.connect((LINK_LOCAL, 8776))
    assert six.drops("vnet1").get("not_http", 0) > before


def test_ipv4_and_ipv6_share_the_limit_of_connections(six: Scene) -> None:
    guest = six.lab.guests["vm1"]
    guest.ip("address add 10.0.0.5/24 dev eth0", "route add 169.254.0.0/16 dev eth0 scope link")
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(16):
                # The kernel would keep a silent connection to itself for a while.
                stack.enter_context(guest.connect()).sendall(b"G")
                stack.enter_context(connect(guest, LINK_LOCAL)).sendall(b"G")
            with pytest.raises(ConnectionError):
                stack.enter_context(connect(guest, LINK_LOCAL)).recv(1)
    finally:
        guest.ip("address flush dev eth0 to 10.0.0.0/24")
