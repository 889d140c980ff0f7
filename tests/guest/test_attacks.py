"""What a hostile guest tries against its neighbour, the host and the service."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from attrs import frozen

from harness.guests import Guest
from harness.namespace import Namespace
from tests.guest.scene import META_DATA, ROUTER, SERVICE, SERVICE_MAC, Identity, Scene, domain, eventually, scene

ETH_P_ALL = 0x0003
BROADCAST = "ff:ff:ff:ff:ff:ff"
ATTACKER_MAC, NEIGHBOUR_MAC, STRANGER_MAC = "52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:09"
NEIGHBOUR_IP = "10.0.0.6"

SHORT = 0.5
"""Seconds to wait for what must not come; what does come takes a millisecond."""


@frozen
class Street:
    """An attacker and its neighbour on one bridge, a third guest on a routed tap, and a stranger.

    The stranger is on the bridge too, behind a link that the daemon does not steer. It shows what an attack does where
    nothing stops it.
    """

    scene: Scene
    attacker: Guest
    neighbour: Guest
    routed: Guest
    stranger: Guest

    def drops(self) -> dict[str, int]:
        """Return the number of the attacker's frames that were dropped, by reason."""
        return self.scene.drops("vnet1")


@pytest.fixture(scope="module")
def street() -> Iterator[Street]:
    domains = {f"vm{number}": domain(number, f"vnet{number}") for number in (1, 2, 3)}
    with scene("emg-attack", domains) as stage:
        lab = stage.lab
        attacker = lab.guest("attacker", tap="vnet1", bridge="br0", mac=ATTACKER_MAC)
        # Its route is on-link: it asks by ARP who has 169.254.169.254.
        neighbour = lab.guest("neighbour", tap="vnet2", bridge="br0", mac=NEIGHBOUR_MAC, address=f"{NEIGHBOUR_IP}/24")
        routed = lab.guest("routed", tap="vnet3")
        stranger = lab.guest("stranger", tap="other9", bridge="br0", mac=STRANGER_MAC, address="10.0.0.9/24")
        stage.wait_until_known(vnet1=1, vnet2=2, vnet3=3)
        # Each ARP reply replaces the known address at once, not only after a second (arp(7), locktime).
        for guest in (neighbour, stranger):
            guest.run("ip", "netns", "exec", guest.name, "sysctl", "-qw", "net.ipv4.neigh.eth0.locktime=0")
        yield Street(stage, attacker, neighbour, routed, stranger)


def arp(operation: int, *, source: str, target_mac: str, target: str, to: str) -> bytes:
    """Return an ARP frame that claims that 169.254.169.254 (the sender) has the MAC *source*."""
    mac, target_hardware, destination = (bytes.fromhex(m.replace(":", "")) for m in (source, target_mac, to))
    body = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, operation, mac, socket.inet_aton(SERVICE), target_hardware,
                       socket.inet_aton(target))  # fmt: skip
    return destination + mac + b"\x08\x06" + body


def poison(source: str) -> list[bytes]:
    """Return the frames with which a guest of the MAC *source* can claim in ARP to be 169.254.169.254."""
    nobody = "00:00:00:00:00:00"
    return [
        arp(1, source=source, target_mac=nobody, target=SERVICE, to=BROADCAST),  # gratuitous, a request
        arp(2, source=source, target_mac=BROADCAST, target=SERVICE, to=BROADCAST),  # gratuitous, a reply
        arp(2, source=source, target_mac=NEIGHBOUR_MAC, target=NEIGHBOUR_IP, to=NEIGHBOUR_MAC),  # an unsolicited reply
        arp(1, source=source, target_mac=nobody, target=NEIGHBOUR_IP, to=NEIGHBOUR_MAC),  # a request, which teaches too
    ]


def send(guest: Guest, frames: list[bytes]) -> None:
    """Send *frames* from the guest's NIC, bypassing its network stack."""
    with guest.open_socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as wire:
        wire.bind(("eth0", 0))
        for frame in frames:
            wire.send(frame)


def known_mac(guest: Guest) -> str:
    """Return the MAC address that *guest* has in its neighbour table for 169.254.169.254."""
    shown = guest.run("ip", "neighbour", "show", SERVICE).stdout.split()
    return shown[shown.index("lladdr") + 1] if "lladdr" in shown else ""


def increase(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {reason: after[reason] - before.get(reason, 0) for reason in after if after[reason] > before.get(reason, 0)}


# -- a guest that poses as the service --


def test_poisoned_arp_does_not_reach_the_neighbour(street: Street) -> None:
    before = street.drops()
    assert Identity.asked_by(street.neighbour) == Identity.of(2)
    assert known_mac(street.neighbour) == SERVICE_MAC
    frames = poison(ATTACKER_MAC)
    send(street.attacker, frames)
    eventually(lambda: increase(before, street.drops()) == {"spoofed_arp": len(frames)}, 2)
    assert known_mac(street.neighbour) == SERVICE_MAC
    assert Identity.asked_by(street.neighbour) == Identity.of(2)
    assert street.scene.drops("vnet2") == {}


def test_a_poisoned_neighbour_still_gets_its_own_metadata(street: Street) -> None:
    """The stranger, whose link is not steered, poisons it; its own tap takes its frames, whatever MAC they are for."""
    assert Identity.asked_by(street.neighbour) == Identity.of(2)
    send(street.stranger, poison(STRANGER_MAC))
    eventually(lambda: known_mac(street.neighbour) == STRANGER_MAC, 2)  # otherwise this test shows nothing
    assert Identity.asked_by(street.neighbour) == Identity.of(2)
    street.neighbour.ip("neighbour flush dev eth0")


@contextlib.contextmanager
def serving(where: Namespace, text: str, *ports: int, address: str = SERVICE) -> Iterator[list[str]]:
    """Run an HTTP server that answers *text*; the value is the list of the addresses that connected."""
    guests: list[str] = []
    body = text.encode()
    answer = b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the socket is closed: the end
            while True:
                connection, peer = listener.accept()
                with connection, contextlib.suppress(OSError):
                    guests.append(peer[0])
                    connection.settimeout(1)
                    connection.recv(4096)
                    connection.sendall(answer)

    with contextlib.ExitStack() as undo:
        for port in ports:
            listener = undo.enter_context(where.open_socket(socket.AF_INET, socket.SOCK_STREAM))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            listener.listen()
            thread = threading.Thread(target=serve, args=(listener,), daemon=True)
            thread.start()
            undo.callback(thread.join, 5)
            undo.callback(listener.shutdown, socket.SHUT_RDWR)  # wakes accept()
        yield guests


def test_a_guest_that_takes_the_services_address_serves_nobody(street: Street) -> None:
    attacker = street.attacker
    attacker.ip(f"address add {SERVICE}/32 dev eth0")
    try:
        with serving(attacker, "I am evil", 80) as caught:
            before = street.drops()
            send(attacker, poison(ATTACKER_MAC))
            # Otherwise its kernel asks for the neighbour's MAC as the service, which goes nowhere.
            attacker.ip(f"neighbour replace {NEIGHBOUR_IP} lladdr {NEIGHBOUR_MAC} dev eth0")
            with attacker.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as posing:
                posing.bind((SERVICE, 80))
                posing.sendto(b"hello from the service", (NEIGHBOUR_IP, 9))
            street.neighbour.ip("neighbour flush dev eth0")
            assert Identity.asked_by(street.neighbour) == Identity.of(2)
            # Nor the stranger: its ARP request does reach the attacker, whose kernel answers it.
            with pytest.raises(OSError):  # a timeout or "no route to host": nothing answered
                street.stranger.connect(timeout=SHORT)
            eventually(lambda: {"spoofed_arp", "spoofed_ip"} <= set(increase(before, street.drops())), 2)
            assert increase(before, street.drops())["spoofed_arp"] > len(poison(ATTACKER_MAC))
            assert caught == []
    finally:
        attacker.ip(f"address delete {SERVICE}/32 dev eth0")
    assert Identity.asked_by(attacker) == Identity.of(1)


# -- a guest that wants more than the service --


@pytest.mark.parametrize("port", [22, 443, 8080, 8776])
def test_no_other_tcp_port_answers(street: Street, port: int) -> None:
    before = street.drops()
    with pytest.raises(TimeoutError):
        street.attacker.connect(port=port, timeout=SHORT)
    assert increase(before, street.drops()).keys() == {"not_http"}


@pytest.mark.parametrize("port", [53, 67, 80, 123])
def test_udp_is_dropped(street: Street, port: int) -> None:
    before = street.drops()
    with street.attacker.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(SHORT)
        asking.connect((SERVICE, port))
        asking.send(b"anybody?")
        with pytest.raises(TimeoutError):  # ConnectionRefusedError would be an answer: ICMP
            asking.recv(1)
    assert increase(before, street.drops()) == {"not_http": 1}


def test_ping_is_dropped(street: Street) -> None:
    before = street.drops()
    echo = struct.pack("!BBHHH", 8, 0, 0xF7FE, 1, 0)  # type, code, checksum, identifier, number
    with street.attacker.open_socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as asking:
        asking.settimeout(SHORT)
        asking.sendto(echo, (SERVICE, 0))
        with pytest.raises(TimeoutError):
            asking.recv(1)
    assert increase(before, street.drops()) == {"not_http": 1}


@pytest.mark.parametrize("port", [80, 8776])
def test_the_workers_own_address_cannot_be_reached(street: Street, port: int) -> None:
    """127.0.0.1 and the tag's zone belong to the private namespace; a guest's packets to it end at the guest's tap."""
    before = street.scene.status_of("vnet1")["frames_in"]
    source = bytes.fromhex(ATTACKER_MAC.replace(":", ""))
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 1, 0, 64, 6, 0, socket.inet_aton("10.0.0.5"),
                         socket.inet_aton("127.0.0.1"))  # fmt: skip
    checksum = ~(sum(struct.unpack("!10H", header)) + sum(struct.unpack("!10H", header)) // 65536) & 0xFFFF
    syn = struct.pack("!HHIIBBHHH", 40001, port, 1, 0, 0x50, 0x02, 65535, 0, 0)
    packet = header[:10] + struct.pack("!H", checksum) + header[12:] + syn
    send(street.attacker, [bytes.fromhex(SERVICE_MAC.replace(":", "")) + source + b"\x08\x00" + packet])
    time.sleep(0.1)
    assert street.scene.status_of("vnet1")["frames_in"] == before


# -- the host is itself a VM of a cloud, and has secrets at the same address --


@pytest.fixture
def host_secret(street: Street) -> Iterator[list[str]]:
    """A server at the host's own 169.254.169.254; the value is the list of the addresses that connected to it."""
    host = street.scene.lab.host
    host.ip("link add cloud0 type bridge", f"address add {SERVICE}/32 dev cloud0", "link set cloud0 up")
    try:
        with serving(host, "host secret", 80, 8080) as caught:
            yield caught
    finally:
        host.ip("link delete cloud0")


def fetch(where: Namespace, port: int) -> bytes:
    with where.connect(port=port, timeout=SHORT) as connection:
        connection.sendall(b"GET /latest/meta-data/iam HTTP/1.0\r\n\r\n")
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
        return answer


@pytest.mark.parametrize("which", ["attacker", "neighbour", "routed"])
def test_no_guest_reaches_the_hosts_own_metadata(street: Street, host_secret: list[str], which: str) -> None:
    guest: Guest = getattr(street, which)
    number = {"attacker": 1, "neighbour": 2, "routed": 3}[which]
    assert fetch(street.scene.lab.host, 80).endswith(b"host secret")  # the host itself still does
    assert b"host secret" not in fetch(guest, 80)
    assert Identity.asked_by(guest) == Identity.of(number)
    with pytest.raises(TimeoutError):
        fetch(guest, 8080)
    assert host_secret == [SERVICE]  # the host's own request, and no guest's


def test_a_route_through_the_host_does_not_lead_to_its_metadata(street: Street, host_secret: list[str]) -> None:
    """The host is the gateway and forwards, so a guest's default route leads through it."""
    guest = street.neighbour
    street.scene.lab.host.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    guest.ip(f"route replace {SERVICE}/32 via {ROUTER} dev eth0")
    try:
        assert Identity.asked_by(guest) == Identity.of(2)
        with pytest.raises(TimeoutError):
            fetch(guest, 8080)
        # Where nothing is steered, it does lead there: otherwise this test would show nothing.
        street.stranger.ip(f"route replace {SERVICE}/32 via {ROUTER} dev eth0")
        assert fetch(street.stranger, 80).endswith(b"host secret")
        assert host_secret == ["10.0.0.9"]
    finally:
        guest.ip(f"route delete {SERVICE}/32")
        street.stranger.ip(f"route delete {SERVICE}/32")
        street.scene.lab.host.run("sysctl", "-qw", "net.ipv4.ip_forward=0")


def test_nothing_that_a_guest_sends_decides_whose_data_it_gets(street: Street) -> None:
    headers = {
        "X-Instance-ID": Identity.of(2).uuid,
        "X-Forwarded-For": NEIGHBOUR_IP,
        "X-Tenant-ID": "other",
    }
    meta_data = json.loads(street.attacker.get(META_DATA, headers=headers).body)
    plain = json.loads(street.attacker.get(META_DATA).body)
    assert meta_data.pop("random_seed") != plain.pop("random_seed")
    assert meta_data == plain
    assert meta_data["uuid"] == Identity.of(1).uuid


def test_a_guest_with_its_neighbours_addresses_gets_its_own_data(street: Street) -> None:
    """The guest takes the neighbour's IP and MAC addresses, on the same bridge."""
    attacker = street.attacker
    attacker.ip(
        f"link set eth0 address {NEIGHBOUR_MAC}", "address flush dev eth0", f"address add {NEIGHBOUR_IP}/24 dev eth0",
        "route replace 169.254.0.0/16 dev eth0 scope link",
    )  # fmt: skip
    try:
        for _ in range(5):
            assert Identity.asked_by(attacker) == Identity.of(1)
            assert Identity.asked_by(street.neighbour) == Identity.of(2)
    finally:
        attacker.ip(
            f"link set eth0 address {ATTACKER_MAC}", "address flush dev eth0", "address add 10.0.0.5/24 dev eth0",
            "route replace 169.254.0.0/16 dev eth0 scope link",
        )  # fmt: skip
