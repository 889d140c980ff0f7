"""tap_in on a real tap: the test writes frames to its tun file descriptor, as QEMU does."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyroute2.netlink.exceptions import NetlinkError
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_NA, IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from eve_meta.steering.bpf.libbpf import open_pin
from eve_meta.steering.path import filters
from tests.kernel.wires import GUEST_MAC, Wires, open_wires

SERVICE = "169.254.169.254"
NEIGHBOUR_MAC = "52:54:00:00:00:06"


@pytest.fixture
def wires(pins: Path) -> Iterator[Wires]:
    with open_wires(pins, "emtap") as wires:
        yield wires


def test_other_traffic_reaches_the_neighbour(wires: Wires) -> None:
    frame = Ether(src=GUEST_MAC, dst=NEIGHBOUR_MAC) / IP(src="10.0.0.5", dst="10.0.0.6") / UDP(dport=53) / Raw(b"hello")
    assert [bytes(got) for got in wires.neighbour_gets(frame)] == [bytes(frame)]


def test_arp_for_the_service_is_answered_and_goes_no_further(wires: Wires) -> None:
    who_has = Ether(src=GUEST_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=GUEST_MAC, psrc="10.0.0.5", pdst=SERVICE)
    assert wires.neighbour_gets(who_has) == []
    answer = next(frame for frame in wires.guest.receive() if ARP in frame)
    assert (answer.dst, answer[ARP].op, answer[ARP].psrc, answer[ARP].pdst) == (GUEST_MAC, 2, SERVICE, "10.0.0.5")
    assert answer[ARP].hwsrc == answer.src


def test_a_segment_to_the_service_is_taken_whatever_its_destination_mac(wires: Wires) -> None:
    frame = Ether(src=GUEST_MAC, dst=NEIGHBOUR_MAC) / IP(src="10.0.0.5", dst=SERVICE) / TCP(dport=80)
    assert wires.neighbour_gets(frame) == []
    (passed,) = [got for got in wires.service.receive() if TCP in got]
    assert passed.src == "02:a9:fe:00:00:07"
    assert bytes(passed[IP]) == bytes(frame[IP])


ATTACKS = {
    "poses-by-arp-reply": Ether(src=GUEST_MAC, dst=NEIGHBOUR_MAC)
    / ARP(op=2, hwsrc=GUEST_MAC, psrc=SERVICE, hwdst=NEIGHBOUR_MAC, pdst="10.0.0.6"),
    "poses-by-gratuitous-arp": Ether(src=GUEST_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(psrc=SERVICE, pdst=SERVICE),
    "poses-by-source-address": Ether(src=GUEST_MAC, dst=NEIGHBOUR_MAC) / IP(src=SERVICE, dst="10.0.0.6") / UDP(),
    "asks-another-port": Ether(src=GUEST_MAC, dst=NEIGHBOUR_MAC) / IP(src="10.0.0.5", dst=SERVICE) / TCP(dport=22),
    "asks-by-udp": Ether(src=GUEST_MAC, dst=NEIGHBOUR_MAC) / IP(src="10.0.0.5", dst=SERVICE) / UDP(dport=80),
    "asks-in-fragments": Ether(src=GUEST_MAC, dst=NEIGHBOUR_MAC)
    / IP(src="10.0.0.5", dst=SERVICE, flags="MF")
    / TCP(dport=80),
    "asks-with-a-vlan-tag": Ether(src=GUEST_MAC, dst=NEIGHBOUR_MAC)
    / Dot1Q(vlan=7)
    / IP(src="10.0.0.5", dst=SERVICE)
    / TCP(dport=80),
    "poses-with-two-vlan-tags": Ether(src=GUEST_MAC, dst=NEIGHBOUR_MAC)
    / Dot1Q(vlan=7)
    / Dot1Q(vlan=8)
    / ARP(op=2, psrc=SERVICE, pdst="10.0.0.6"),
    "asks-with-half-a-tcp-header": Ether(src=GUEST_MAC, dst=NEIGHBOUR_MAC)
    / IP(src="10.0.0.5", dst=SERVICE, proto=6)
    / Raw(bytes(10)),
    "asks-without-a-tcp-header": Ether(src=GUEST_MAC, dst=NEIGHBOUR_MAC) / IP(src="10.0.0.5", dst=SERVICE, proto=6),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_reaches_neither_neighbour_nor_service(wires: Wires, attack: str) -> None:
    assert wires.neighbour_gets(ATTACKS[attack]) == []
    assert [got for got in wires.service.receive(patience=0.1) if got.src.startswith("02:a9:fe:00")] == []
    assert sum(number for label, number in wires.counted().items() if label.startswith("drop_")) == 1


@pytest.mark.parametrize("attack", ["poses-by-source-address", "asks-by-udp", "asks-another-port"])
def test_headers_outside_the_linear_part_are_read_all_the_same(wires: Wires, attack: str) -> None:
    # More than a page: the kernel makes a shorter frame linear anyway (tun_alloc_skb()).
    frame = ATTACKS[attack] / Raw(bytes(6000))
    assert wires.neighbour_gets(frame, header_length=14) == []
    assert sum(number for label, number in wires.counted().items() if label.startswith("drop_")) == 1


TO_NEIGHBOUR = Ether(src=GUEST_MAC, dst=NEIGHBOUR_MAC)


@pytest.mark.parametrize(
    ("frame", "checksum"),
    [
        (TO_NEIGHBOUR / ARP(op=2, hwsrc=GUEST_MAC, psrc="169.254.0.0", pdst="10.0.0.6") / Raw(bytes(18)), (22, 8)),
        (TO_NEIGHBOUR / ARP(op=2, hwsrc=GUEST_MAC, psrc="10.0.169.254", pdst="10.0.0.6") / Raw(bytes(18)), (20, 8)),
        (TO_NEIGHBOUR / IP(src="169.254.0.0", dst="10.0.0.6") / UDP() / Raw(bytes(18)), (20, 8)),
        (TO_NEIGHBOUR / IP(src="10.0.169.254", dst="10.0.0.6") / UDP() / Raw(bytes(18)), (20, 6)),
        (TO_NEIGHBOUR / IP(src="169.0.0.254", dst="10.0.0.6") / UDP() / Raw(bytes(18)), (21, 6)),
        (TO_NEIGHBOUR / IP(src="10.0.0.5", dst="169.254.0.0") / UDP() / Raw(bytes(18)), (26, 6)),
        (TO_NEIGHBOUR / IPv6(src="fe80::", dst="fe80::6") / UDP() / Raw(bytes(18)), (30, 6)),
        (TO_NEIGHBOUR / IPv6(src="fe80::a9fe:1", dst="fe80::6") / UDP() / Raw(bytes(18)), (30, 6)),
        (TO_NEIGHBOUR / IPv6(src="fe80::6", dst="fe80::5") / ICMPv6ND_NA(tgt="fe80::a9fe:0") / Raw(bytes(18)), (70, 6)),
        # Behind an extension header; and in the extension header's own fields, next header and length.
        (
            TO_NEIGHBOUR
            / IPv6(src="fe80::6", dst="fe80::5", hlim=255)
            / IPv6ExtHdrDestOpt()
            / ICMPv6ND_NA(tgt="fe80::a9fe:0"),
            (78, 6),
        ),
        (
            TO_NEIGHBOUR
            / IPv6(src="fe80::6", dst="fe80::5", hlim=255, nh=60)
            / Raw(bytes([59, 0, 1, 4, 0, 0, 0, 0]) + bytes(ICMPv6ND_NA(tgt="fe80::a9fe:a9fe"))),
            (54, 0),
        ),
        # Older kernels write a checksum even into the EtherType, so frames of any type are tested.
        (Ether(src=GUEST_MAC, dst=NEIGHBOUR_MAC, type=0x88B6) / Raw(bytes(46)), (20, 8)),
    ],
)
def test_checksum_offload_cannot_turn_an_honest_frame_into_a_forged_one(
    wires: Wires, frame: Packet, checksum: tuple[int, int]
) -> None:
    """The kernel writes the checksum after tap_in, when the frame leaves for the neighbour, where the guest chooses."""
    assert wires.neighbour_gets(frame, checksum=checksum) == []
    assert wires.counted() == {"drop_rewritten": 1}
    # Without the offload the frame is not ours.
    assert [bytes(got) for got in wires.neighbour_gets(frame)] == [bytes(frame)]


@pytest.mark.parametrize(
    ("packet", "checksum"),
    [
        (IP(src="10.0.0.5", dst=SERVICE) / TCP(dport=80), (20, 6)),
        (IP(src="10.0.0.5", dst=SERVICE) / TCP(dport=80), (20, 13)),
        (IPv6(src="fe80::5", dst="fe80::a9fe:a9fe") / TCP(dport=80), (20, 20)),
    ],
)
def test_checksum_offload_cannot_write_into_what_identifies_a_request(
    wires: Wires, packet: Packet, checksum: tuple[int, int]
) -> None:
    """Older kernels accept an offload that writes into the MAC address, where the tag is."""
    assert wires.neighbour_gets(TO_NEIGHBOUR / packet, checksum=checksum) == []
    assert wires.service.receive(patience=0.1) == []
    assert wires.counted() == {"drop_rewritten": 1}
    # The place that a guest's own kernel chooses, in the TCP header, is allowed.
    start = 14 + len(packet) - 20
    assert wires.neighbour_gets(TO_NEIGHBOUR / packet, checksum=(start, 16)) == []
    (passed,) = wires.service.receive()
    assert passed.src == "02:a9:fe:00:00:07"


def test_checksum_offload_works_where_it_belongs(wires: Wires) -> None:
    for packet in (
        IP(src="10.0.0.5", dst="10.0.0.6") / UDP() / Raw(b"hello"),
        IP(src="169.254.1.2", dst="169.254.3.4") / UDP() / Raw(b"hello"),
        IPv6(src="fe80::5", dst="fe80::6") / UDP() / Raw(b"hello"),
    ):
        frame = TO_NEIGHBOUR / packet
        whole = bytes(frame)
        start = len(whole) - 13
        (got,) = wires.neighbour_gets(whole[: start + 6] + b"\0\0" + whole[start + 8 :], checksum=(start, 6))
        assert bytes(got)[: start + 6] == whole[: start + 6]
        assert got[UDP].chksum
    assert wires.counted() == {}


@pytest.mark.parametrize("tags", [3, 4, 8])
def test_priority_tags_that_the_kernel_strips_hide_nothing(wires: Wires, tags: int) -> None:
    frame = Ether(src=GUEST_MAC, dst=NEIGHBOUR_MAC)
    for _ in range(tags):
        frame = frame / Dot1Q(vlan=0)
    assert wires.neighbour_gets(frame / IP(src="10.0.0.5", dst=SERVICE) / TCP(dport=80)) == []
    assert wires.neighbour_gets(frame / ARP(op=2, hwsrc=GUEST_MAC, psrc=SERVICE, pdst="10.0.0.6")) == []
    assert sum(wires.counted().values()) == 2


def test_a_large_ordinary_frame_with_headers_outside_the_linear_part_passes(wires: Wires) -> None:
    frame = Ether(src=GUEST_MAC, dst=NEIGHBOUR_MAC) / IP(src="10.0.0.5", dst="10.0.0.6") / UDP() / Raw(bytes(6000))
    assert [bytes(got) for got in wires.neighbour_gets(frame, header_length=14)] == [bytes(frame)]


def test_frames_of_every_short_length_harm_nobody(wires: Wires) -> None:
    """These include lengths that test runs refuse: no frame whose whole destination is the service passes."""
    whole = bytes(ATTACKS["asks-by-udp"])
    for length in range(14, len(whole)):
        got = wires.neighbour_gets(whole[:length])
        assert [frame for frame in got if bytes(frame)[30:34] == socket.inet_aton(SERVICE)] == [], length


def without_parent(filters: str) -> list[dict[str, object]]:
    """Return the filters that tc shows, without their parent, which is that of the latest change of any filter."""
    return [{key: value for key, value in shown.items() if key != "parent"} for shown in json.loads(filters)]


def test_an_ingress_qdisc_of_others_serves_us_and_stays(wires: Wires) -> None:
    """libvirt's bandwidth limits are such a qdisc, with a filter of libvirt's own."""
    tap = wires.neighbour.ifindex
    wires.tc("qdisc add dev vnet1 ingress")
    # libvirt's has "police … drop" before the flowid; not every kernel has act_police.
    wires.tc("filter add dev vnet1 parent ffff: protocol all u32 match u32 0 0 flowid :1")
    before = wires.tc("-j filter show dev vnet1 ingress")
    wires.filter.attach(tap)
    wires.filter.attach(tap)  # replaces, does not append
    assert wires.tc("filter show dev vnet1 ingress").count("eve-meta:tap_in") == 1
    assert filters.is_attached(wires.ipr, tap)
    wires.filter.detach(tap)  # the qdisc stays, because it has a filter of others
    assert without_parent(wires.tc("-j filter show dev vnet1 ingress")) == without_parent(before)
    assert not filters.is_attached(wires.ipr, tap)


def test_a_clsact_qdisc_of_others_serves_us_as_well(wires: Wires) -> None:
    wires.tc("qdisc add dev vnet1 clsact")
    wires.filter.attach(wires.neighbour.ifindex)
    assert wires.tc("filter show dev vnet1 ingress").count("eve-meta:tap_in") == 1
    wires.filter.detach(wires.neighbour.ifindex)
    assert "eve-meta" not in wires.tc("filter show dev vnet1 ingress")
    assert "clsact" in wires.tc("qdisc show dev vnet1")


def test_libvirt_can_set_a_bandwidth_limit_on_a_tap_that_is_ours(wires: Wires) -> None:
    """virNetDevBandwidthSet() runs these; with a clsact of ours on the tap the second command would fail."""
    wires.tc("qdisc del dev vnet0 ingress")
    wires.tc("qdisc add dev vnet0 ingress")


def test_detaching_removes_filter_and_qdisc_and_accepts_a_tap_that_is_gone(wires: Wires) -> None:
    wires.filter.detach(wires.guest.ifindex)
    assert "ingress" not in wires.tc("qdisc show dev vnet0")
    wires.filter.detach(wires.guest.ifindex)
    wires.filter.detach(99999)


def test_the_kernels_error_is_raised(wires: Wires) -> None:
    with pytest.raises(NetlinkError) as gone:
        wires.filter.attach(99999)
    assert gone.value.code == errno.ENODEV
    wires.tc("qdisc add dev vnet1 ingress")
    # Two kinds of filters cannot have one priority.
    wires.tc("filter add dev vnet1 parent ffff: prio 169 protocol all u32 match u32 0 0 flowid :1")
    with pytest.raises(NetlinkError) as refused:
        wires.filter.attach(wires.neighbour.ifindex)
    assert refused.value.code not in filters.GONE or refused.value.code == errno.EINVAL
    wires.filter.attach(wires.guest.ifindex)  # an error about one link does not affect another


def test_the_filter_is_the_one_that_pyroute2_makes(wires: Wires, pins: Path) -> None:
    """TapFilter attaches it to taps, pyroute2 to the links of the path: one request, written twice."""
    program = open_pin(pins / "tap_in")
    try:
        by_us = wires.tc("filter show dev vnet0 ingress")
        assert filters.is_attached(wires.ipr, wires.guest.ifindex)
        filters.attach(wires.ipr, wires.guest.ifindex, program, "tap_in")
    finally:
        os.close(program)
    assert wires.tc("filter show dev vnet0 ingress") == by_us
