"""DHCP on a real tap, with no daemon and no server: its guest is a test that writes and reads frames, as QEMU does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from eve_meta.steering.bpf.maps import TapDhcp
from tests.kernel import dhcp_model
from tests.kernel.dhcp_frames import ADDRESS, END, TEMPLATE, bootp, discover, kind, option, packet, renewal, request
from tests.kernel.frames import Frames
from tests.kernel.wires import GUEST_MAC, TAG, Offload, Wires, open_wires

UDP_AT, UDP_CHECKSUM = 34, 6


@pytest.fixture(scope="module")
def real(pins: Path) -> Iterator[Wires]:
    with open_wires(pins, "emdhcp") as wires:
        yield wires


@pytest.fixture
def wires(real: Wires) -> Wires:
    """The wires of a tap that answers DHCP and denies servers."""
    real.maps.add_tap(TAG, real.guest.ifindex)
    real.maps.write_dhcp(TAG, TapDhcp(TEMPLATE, deny_servers=True))
    real.drain()
    return real


def offloaded_answers(wires: Wires) -> list[tuple[Offload, bytes]]:
    """Return what the guest has got from its tap's program, not what the host itself sent: IGMP."""
    return [got for got in wires.guest.drain_offloaded() if got[1][6:12] == dhcp_model.SERVER_MAC]


def answers(wires: Wires) -> list[bytes]:
    return [frame for _, frame in offloaded_answers(wires)]


def left_to_the_kernel(frame: bytes) -> bytes:
    """Return *frame* with the UDP checksum as the guest's kernel writes it: the sum of the pseudo-header."""
    pseudo = frame[26:34] + b"\0\x11" + frame[38:40]
    check = dhcp_model.checksum(pseudo) ^ 0xFFFF
    return frame[:40] + check.to_bytes(2, "big") + frame[42:]


def test_a_lease_is_given_and_renewed_and_the_bridge_gets_nothing_of_it(wires: Wires) -> None:
    for frame in (
        discover(),
        request(option(50, ADDRESS)),
        renewal(),
        packet(bootp(kind(3) + END, ciaddr=ADDRESS), source=ADDRESS),
        request(option(50, b"\x0a\0\0\x4d")),
    ):
        assert wires.neighbour_gets(frame) == []
        assert answers(wires) == [dhcp_model.expected(frame, TEMPLATE)]
    # Without the template the bridge gets it, and the tap answers nothing.
    wires.maps.write_dhcp(TAG, TapDhcp())
    assert [bytes(got) for got in wires.neighbour_gets(discover())] == [discover()]
    assert answers(wires) == []


@pytest.mark.parametrize("frame", [discover(), renewal()], ids=["broadcast", "unicast"])
def test_a_checksum_that_the_guest_leaves_to_the_kernel_is_completed_in_the_answer(wires: Wires, frame: bytes) -> None:
    """UDP sockets leave it: those of a client that renews."""
    wires.guest.send(left_to_the_kernel(frame), checksum=(UDP_AT, UDP_CHECKSUM))
    assert answers(wires) == [dhcp_model.expected(frame, TEMPLATE)]
    assert sum(wires.counted().values()) == 1


def test_a_guest_that_accepts_unfinished_checksums_gets_one_that_it_can_complete(pins: Path) -> None:
    with open_wires(pins, "emdhcpo") as wires:
        wires.guest.accept_offloads()
        wires.maps.write_dhcp(TAG, TapDhcp(TEMPLATE))
        frame = renewal()
        wires.guest.send(left_to_the_kernel(frame), checksum=(UDP_AT, UDP_CHECKSUM))
        ((offload, answer),) = offloaded_answers(wires)
        assert (offload.flags, offload.checksum_start, offload.checksum_offset) == (1, UDP_AT, UDP_CHECKSUM)
        finished = dhcp_model.checksum(answer[UDP_AT:])
        assert answer[:40] + finished.to_bytes(2, "big") + answer[42:] == dhcp_model.expected(frame, TEMPLATE)
        # A complete one is answered with a complete one.
        wires.guest.send(frame)
        ((offload, answer),) = offloaded_answers(wires)
        assert (offload.flags & 1, answer) == (0, dhcp_model.expected(frame, TEMPLATE))


@pytest.mark.parametrize("padding", [0, 6000])
def test_a_message_outside_the_linear_part_is_answered(wires: Wires, padding: int) -> None:
    """More than a page: the kernel makes a shorter frame linear anyway (tun_alloc_skb())."""
    frame = discover(option(61, b"\1client")) + bytes(padding)
    assert wires.neighbour_gets(frame, header_length=14) == []
    assert answers(wires) == [dhcp_model.expected(frame, TEMPLATE)]


@pytest.mark.parametrize("header_length", [0, 14, 34])
def test_a_server_outside_the_linear_part_is_dropped(wires: Wires, header_length: int) -> None:
    offer = TO_NEIGHBOUR / UDP(sport=67, dport=68) / Raw(bytes(6000))
    assert wires.neighbour_gets(offer, header_length=header_length) == []
    assert wires.counted() == {"drop_dhcp_server": 1}


def test_no_work_that_a_guest_leaves_to_the_kernel_brings_its_dhcp_to_the_bridge(wires: Wires) -> None:
    """Whatever the offload, true or not: segmentation, checksums anywhere, any length of the linear part."""
    sent = 0
    for seed in range(400):
        random = Random(seed)
        frame = random.choice((discover(), renewal(), discover() + bytes(random.randrange(3000))))
        sent += wires.guest.try_to_send(frame, Frames(random).offload(len(frame)))
        back, neighbours, service = wires.drain()
        assert (neighbours, service) == ([], []), f"seed {seed}"
        assert all(got[6:12] == dhcp_model.SERVER_MAC for got in back), f"seed {seed}"
    assert sent > 100
    # And the next answer is whole.
    wires.guest.try_to_send(discover(), Offload())
    assert answers(wires) == [dhcp_model.expected(discover(), TEMPLATE)]


LINK = Ether(src=GUEST_MAC, dst="52:54:00:00:00:06")
TO_NEIGHBOUR: Packet = LINK / IP(src="10.0.0.5", dst="10.0.0.6")
PORTS = b"\0\x43\0\x44"
OFFLOADS = {
    "source port": (bytes(TO_NEIGHBOUR / UDP(sport=5000, dport=5000) / Raw(bytes(18))), 34, 67),
    "destination port": (bytes(TO_NEIGHBOUR / UDP(sport=5000, dport=5000) / Raw(bytes(18))), 36, 68),
    "behind ip options": (packet(bytes(20), ports=(5000, 5000), ip_options=bytes(8), source=ADDRESS), 42, 67),
    "protocol": (bytes(TO_NEIGHBOUR / Raw(PORTS + bytes(16))), 22, 64 << 8 | 17),
    "protocol of tcp": (bytes(TO_NEIGHBOUR / TCP(sport=67, dport=68)), 22, 64 << 8 | 17),
    "fragment": (packet(bytes(16), ports=(67, 68), fragment=1, source=ADDRESS), 20, 0x4000),
}
"""Honest frames, and the place and number of a checksum that makes each come from a DHCP server."""


def with_checksum(frame: bytes, wanted: int) -> bytes:
    """Return *frame* with other last bytes, so that its checksum from byte 20 on is *wanted*."""
    rest = dhcp_model.checksum(frame[20:-2])
    return frame[:-2] + ((rest - wanted) % 0xFFFF).to_bytes(2, "big")


@pytest.mark.parametrize("what", OFFLOADS)
def test_checksum_offload_cannot_turn_an_honest_frame_into_a_servers(wires: Wires, what: str) -> None:
    """The kernel writes the checksum after tap_in, when the frame leaves for the neighbour, where the guest chooses."""
    honest, at, wanted = OFFLOADS[what]
    frame = with_checksum(honest, wanted)
    wires.maps.write_dhcp(TAG, TapDhcp(None, deny_servers=True))
    assert wires.neighbour_gets(frame, checksum=(20, at - 20)) == []
    assert wires.counted() == {"drop_rewritten": 1}
    # Without the offload it is honest; and where servers are allowed, this is how one comes about.
    assert [bytes(got) for got in wires.neighbour_gets(frame)] == [frame]
    wires.maps.write_dhcp(TAG, TapDhcp(None, deny_servers=False))
    (got,) = wires.neighbour_gets(frame, checksum=(20, at - 20))
    forged = bytes(got)
    behind = 14 + (forged[14] & 15) * 4
    assert (forged[23], int.from_bytes(forged[20:22], "big") & 0x1FFF) == (17, 0)
    assert forged[behind : behind + 2] == PORTS[:2] or forged[behind + 2 : behind + 4] == PORTS[2:]


@pytest.mark.parametrize(
    ("frame", "checksum"),
    [
        (TO_NEIGHBOUR / UDP(sport=5000, dport=53) / Raw(b"hello"), (34, 6)),
        (TO_NEIGHBOUR / TCP(sport=5000, dport=443), (34, 16)),
        (TO_NEIGHBOUR / TCP(sport=67, dport=68), (34, 16)),
        (TO_NEIGHBOUR / UDP(sport=5000, dport=53) / Raw(bytes(6000)), (34, 6)),
    ],
    ids=["udp", "tcp", "tcp of these ports", "large"],
)
def test_where_servers_are_denied_ordinary_offloads_work(
    wires: Wires, frame: Packet, checksum: tuple[int, int]
) -> None:
    (got,) = wires.neighbour_gets(frame, checksum=checksum)
    assert bytes(got)[: sum(checksum)] == bytes(frame)[: sum(checksum)]
    assert wires.counted() == {}
