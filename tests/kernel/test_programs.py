"""Each program by BPF_PROG_TEST_RUN: a packet in; a verdict, bytes and a counter out. Directions as the host's."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from eve_meta.config import MAX_WORKERS
from eve_meta.steering.bpf.loader import source_directory
from eve_meta.steering.bpf.maps import Reason, Settings
from eve_meta.steering.path.iptables import places_of
from eve_meta.values.tag import MAX_PLACE, MAX_TAG, PLACE_SHIFT, STEERED, worker_of_tag
from tests.kernel.progrun import LOOPBACK, TC_ACT_OK, TC_ACT_REDIRECT, TC_ACT_SHOT, TC_ACT_UNSPEC
from tests.kernel.steer import TAG, Steer

SERVICE = "169.254.169.254"
SERVICE_MAC = "02:a9:fe:a9:fe:01"
META0_MAC = "02:a9:fe:a9:fe:02"
TAG_MAC = "02:a9:fe:00:12:34"
GUEST = "10.0.0.5"
GUEST_MAC = "52:54:00:00:00:05"
ROUTER_MAC = "52:54:00:00:00:01"


@pytest.fixture
def steer(loaded: Steer) -> Steer:
    loaded.reset()
    return loaded


def syn(**ip: Any) -> Packet:
    return Ether(src=GUEST_MAC, dst=ROUTER_MAC) / IP(**{"src": GUEST, "dst": SERVICE, **ip}) / TCP(sport=4711, dport=80)


def who_has(**arp: Any) -> Packet:
    fields = {"op": 1, "hwsrc": GUEST_MAC, "psrc": GUEST, "pdst": SERVICE, **arp}
    return Ether(src=GUEST_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(**fields)


def with_hardware_type(frame: Packet, hwtype: int) -> bytes:
    return bytes(frame)[:14] + hwtype.to_bytes(2, "big") + bytes(frame)[16:]


# -- both sides of bpf/shared.h --


def test_reasons_are_the_same_in_c_and_python() -> None:
    header = (source_directory() / "shared.h").read_text()
    body = re.search(r"enum reason \{(.*?)\};", header, re.DOTALL)
    assert body is not None
    names = re.findall(r"^\s*([A-Z_]+)\b", body.group(1), re.MULTILINE)
    assert names == [*(reason.name for reason in Reason), "REASONS"]
    assert [reason.value for reason in Reason] == list(range(len(Reason)))


def test_tag_numbers_are_the_same_in_c_and_python() -> None:
    header = (source_directory() / "shared.h").read_text()
    defines = dict(re.findall(r"#define (\w+)\s+(\w+)", header))
    assert int(defines["STEERED"].rstrip("U"), 0) == STEERED
    assert int(defines["MAX_TAG"].rstrip("U"), 0) == MAX_TAG
    assert (int(defines["PLACE_SHIFT"]), int(defines["MAX_PLACE"].rstrip("U"), 0)) == (PLACE_SHIFT, MAX_PLACE)
    assert int(defines["MAX_WORKERS"]) == MAX_WORKERS
    assert max(places_of(MAX_WORKERS - 1)) <= MAX_PLACE


# -- tap_in: frames that are not ours --


@pytest.mark.parametrize(
    "frame",
    [
        Ether(src=GUEST_MAC, dst=ROUTER_MAC) / IP(src=GUEST, dst="10.0.0.1") / TCP(dport=80),
        Ether(src=GUEST_MAC, dst=ROUTER_MAC) / IP(src=GUEST, dst="169.254.169.253") / UDP(dport=53),
        Ether(src=GUEST_MAC, dst=ROUTER_MAC) / IP(src=GUEST, dst="169.254.169.255") / ICMP(),
        Ether(src=GUEST_MAC, dst=ROUTER_MAC) / Dot1Q(vlan=7) / IP(src=GUEST, dst="10.0.0.1") / TCP(dport=80),
        who_has(pdst="10.0.0.1"),
        who_has(op=2, psrc=GUEST, pdst="10.0.0.1"),
        Ether(src=GUEST_MAC, dst="33:33:00:00:00:02", type=0x86DD) / Raw(bytes(40)),
        Ether(src=GUEST_MAC, dst=ROUTER_MAC, type=0x88CC) / Raw(bytes(46)),
    ],
    ids=["http", "dns", "icmp", "vlan", "arp", "arp-reply", "ipv6", "lldp"],
)
def test_frames_that_are_not_ours_pass_unchanged_to_the_next_filter(steer: Steer, frame: Packet) -> None:
    done = steer.run("tap_in", frame)
    assert done.verdict == TC_ACT_UNSPEC
    assert done.frame == bytes(frame)
    assert steer.counted() == {}
    assert steer.counted(0) == {}


# -- tap_in: ARP --


@pytest.mark.parametrize("hwtype", [1, 6], ids=["ethernet", "ieee802"])
def test_arp_for_the_service_is_answered_out_of_the_same_tap(steer: Steer, hwtype: int) -> None:
    done = steer.run("tap_in", with_hardware_type(who_has() / Raw(bytes(18)), hwtype))
    assert done.verdict == TC_ACT_REDIRECT
    answer = Ether(with_hardware_type(Ether(done.frame), 1))  # scapy parses only the addresses of type 1
    assert (answer.src, answer.dst) == (SERVICE_MAC, GUEST_MAC)
    arp = answer[ARP]
    assert (arp.op, done.frame[14:16]) == (2, hwtype.to_bytes(2, "big"))
    assert (arp.hwsrc, arp.psrc, arp.hwdst, arp.pdst) == (SERVICE_MAC, SERVICE, GUEST_MAC, GUEST)
    assert steer.counted() == {"answered_arp": 1}


def test_a_guest_that_probes_for_the_address_learns_that_it_is_taken(steer: Steer) -> None:
    done = steer.run("tap_in", who_has(psrc="0.0.0.0"))
    assert done.verdict == TC_ACT_REDIRECT
    assert Ether(done.frame)[ARP].psrc == SERVICE


@pytest.mark.parametrize(
    "frame",
    [
        who_has(psrc=SERVICE),
        who_has(psrc=SERVICE, pdst=GUEST),
        who_has(op=2, psrc=SERVICE, pdst="10.0.0.6"),
        with_hardware_type(who_has(op=2, psrc=SERVICE, pdst="10.0.0.6"), 6),
        Ether(src=GUEST_MAC, dst="ff:ff:ff:ff:ff:ff") / Dot1Q(vlan=7) / ARP(op=2, psrc=SERVICE, pdst="10.0.0.6"),
        Ether(src=GUEST_MAC) / Dot1AD(vlan=7) / Dot1Q(vlan=8) / ARP(op=2, psrc=SERVICE, pdst="10.0.0.6"),
    ],
    ids=["gratuitous", "request", "reply", "reply-ieee802", "reply-vlan", "reply-qinq"],
)
def test_arp_that_poses_as_the_service_never_reaches_a_neighbour(steer: Steer, frame: Packet | bytes) -> None:
    assert steer.run("tap_in", frame).verdict == TC_ACT_SHOT
    assert steer.counted() == {"drop_spoofed_arp": 1}


def test_an_arp_reply_to_the_service_is_dropped(steer: Steer) -> None:
    assert steer.run("tap_in", who_has(op=2)).verdict == TC_ACT_SHOT
    assert steer.counted() == {"drop_arp": 1}


# -- tap_in: IPv4 --


def test_a_segment_to_the_service_goes_to_the_private_namespace_with_its_tag(steer: Steer) -> None:
    frame = syn()
    done = steer.run("tap_in", frame)
    assert done.verdict == TC_ACT_REDIRECT
    passed = Ether(done.frame)
    assert (passed.src, passed.dst) == (TAG_MAC, META0_MAC)
    assert done.frame[12:] == bytes(frame)[12:]
    assert steer.counted() == {"passed_request": 1}
    assert steer.maps.tap(TAG).mac == bytes.fromhex(GUEST_MAC.replace(":", ""))


def test_ip_options_do_not_hide_the_port(steer: Steer) -> None:
    options = b"\x94\x04\x00\x00" * 10
    good = Ether(src=GUEST_MAC, dst=ROUTER_MAC) / IP(src=GUEST, dst=SERVICE, ihl=15, options=[]) / Raw(options)
    frame = bytes(good / TCP(sport=1, dport=80))
    assert steer.run("tap_in", _with_protocol(frame, 6)).verdict == TC_ACT_REDIRECT
    frame = bytes(good / TCP(sport=1, dport=22))
    assert steer.run("tap_in", _with_protocol(frame, 6)).verdict == TC_ACT_SHOT
    assert steer.counted() == {"passed_request": 1, "drop_not_http": 1}


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (syn(src=SERVICE), "drop_spoofed_ip"),
        (syn(src=SERVICE, dst="10.0.0.6"), "drop_spoofed_ip"),
        (Ether() / Dot1Q(vlan=7) / IP(src=SERVICE, dst="10.0.0.6") / UDP(), "drop_spoofed_ip"),
        (syn(src="127.0.0.1"), "drop_source"),
        (syn(src="0.0.0.0"), "drop_source"),
        (syn(src="224.0.0.1"), "drop_source"),
        (syn(src="255.255.255.255"), "drop_source"),
        (syn(flags="MF"), "drop_fragment"),
        (syn(frag=1), "drop_fragment"),
        (Ether() / IP(src=GUEST, dst=SERVICE) / TCP(dport=22), "drop_not_http"),
        (Ether() / IP(src=GUEST, dst=SERVICE) / TCP(sport=80, dport=8080), "drop_not_http"),
        (Ether() / IP(src=GUEST, dst=SERVICE) / UDP(dport=80), "drop_not_http"),
        (Ether() / IP(src=GUEST, dst=SERVICE) / ICMP(), "drop_not_http"),
        (Ether() / Dot1Q(vlan=7) / IP(src=GUEST, dst=SERVICE) / TCP(dport=80), "drop_vlan"),
        (Ether() / Dot1AD(vlan=7) / Dot1Q(vlan=8) / IP(src=GUEST, dst=SERVICE) / TCP(dport=80), "drop_vlan"),
        (Ether() / Dot1Q(vlan=7) / ARP(op=1, psrc=GUEST, pdst=SERVICE), "drop_vlan"),
    ],
)
def test_frames_that_must_not_pass_are_dropped_and_counted(steer: Steer, frame: Packet, reason: str) -> None:
    assert steer.run("tap_in", frame).verdict == TC_ACT_SHOT
    assert steer.counted() == {reason: 1}


def test_a_tap_without_a_tag_reaches_nothing(steer: Steer) -> None:
    steer.maps.remove_tap(TAG, LOOPBACK)
    assert steer.run("tap_in", syn()).verdict == TC_ACT_SHOT
    assert steer.run("tap_in", who_has()).verdict == TC_ACT_SHOT
    assert steer.counted(0) == {"drop_no_tag": 2}


def test_without_the_private_namespace_nothing_passes(steer: Steer) -> None:
    steer.maps.write_settings(Settings(host_ifindex=0, next_tag=1, build=0))
    assert steer.run("tap_in", syn()).verdict == TC_ACT_SHOT
    assert steer.counted() == {"drop_no_tag": 1}


def _with_protocol(frame: bytes, protocol: int) -> bytes:
    return frame[:23] + bytes([protocol]) + frame[24:]


@pytest.mark.parametrize("tags", [0, 1, 2], ids=["plain", "vlan", "qinq"])
@pytest.mark.parametrize("kind", ["tcp", "arp", "options"])
def test_a_frame_that_ends_early_is_never_taken_for_a_whole_one(steer: Steer, tags: int, kind: str) -> None:
    """Every length of every header: a frame too short for any host passes; one that names the service is dropped."""
    link: Packet = Ether(src=GUEST_MAC, dst=ROUTER_MAC)
    for vlan in range(tags):
        link = link / Dot1Q(vlan=vlan + 1)
    whole = bytes(
        {
            "tcp": lambda: link / IP(src=GUEST, dst=SERVICE) / TCP(dport=80),
            "arp": lambda: link / ARP(op=1, psrc=GUEST, pdst=SERVICE),
            "options": lambda: (
                link / IP(src=GUEST, dst=SERVICE, ihl=15, proto=6) / Raw(bytes(40) + bytes(TCP(dport=80)))
            ),
        }[kind]()
    )
    names_service = 14 + 4 * tags + (28 if kind == "arp" else 20)
    # A test run itself refuses a frame of 14 bytes, and one with half an IPv4 header; test_real_tap.py sends those.
    for length in range(34 if kind != "arp" and not tags else 15, len(whole)):
        before = sum(steer.counted().values())
        done = steer.run("tap_in", whole[:length])
        counted = sum(steer.counted().values()) - before
        if length < names_service:
            assert (done.verdict, counted) == (TC_ACT_UNSPEC, 0), length
        else:
            assert (done.verdict, counted) == (TC_ACT_SHOT, 1), length
    expected = {"drop_vlan"} if tags else {"drop_malformed"}
    assert set(steer.counted()) == (set() if kind == "arp" else expected)


@pytest.mark.parametrize(
    "patch",
    [
        lambda frame: frame[:14] + b"\x65" + frame[15:],
        lambda frame: frame[:14] + b"\x44" + frame[15:],
        lambda frame: frame[:14] + b"\x00" + frame[15:],
    ],
    ids=["version-6", "ihl-4", "zero"],
)
def test_an_ipv4_header_that_every_kernel_refuses_is_not_ours(steer: Steer, patch: Callable[[bytes], bytes]) -> None:
    assert steer.run("tap_in", patch(bytes(syn()))).verdict == TC_ACT_UNSPEC
    assert steer.counted() == {}


@pytest.mark.parametrize(
    "arp",
    [
        {"ptype": 0x0806},
        {"hwlen": 8},
        {"plen": 16},
    ],
    ids=["not-ipv4", "long-hardware-address", "long-address"],
)
def test_arp_of_another_layout_is_not_ours(steer: Steer, arp: dict[str, int]) -> None:
    frame = bytearray(bytes(who_has()))
    offsets = {"ptype": (16, 2), "hwlen": (18, 1), "plen": (19, 1)}
    for name, value in arp.items():
        at, size = offsets[name]
        frame[at : at + size] = value.to_bytes(size, "big")
    assert steer.run("tap_in", bytes(frame)).verdict == TC_ACT_UNSPEC
    assert steer.counted() == {}


# -- tap_in: IPv6 --

SERVICES6 = ["fe80::a9fe:a9fe", "fd00:ec2::254"]
GUEST6 = "fe80::5054:ff:fe00:5"
LINK = Ether(src=GUEST_MAC, dst=ROUTER_MAC)


def solicits(target: str, *, option: bool = True, **ip: Any) -> Packet:
    fields = {"src": GUEST6, "dst": "ff02::1:fffe:a9fe", "hlim": 255, **ip}
    message = Ether(src=GUEST_MAC, dst="33:33:ff:fe:a9:fe") / IPv6(**fields) / ICMPv6ND_NS(tgt=target)
    return message / ICMPv6NDOptSrcLLAddr(lladdr=GUEST_MAC) if option else message


@pytest.mark.parametrize("target", SERVICES6)
@pytest.mark.parametrize("padding", [0, 30])
@pytest.mark.parametrize(
    "variant", [{}, {"option": False}, {"dst": "fe80::a9fe:a9fe"}], ids=["usual", "bare", "unicast"]
)
def test_a_solicitation_for_the_service_is_answered_out_of_the_same_tap(
    steer: Steer, target: str, variant: dict[str, Any], padding: int
) -> None:
    done = steer.run("tap_in", bytes(solicits(target, **variant)) + bytes(padding))
    assert done.verdict == TC_ACT_REDIRECT
    answer = Ether(done.frame)
    assert (answer.src, answer.dst) == (SERVICE_MAC, GUEST_MAC)
    assert (answer[IPv6].src, answer[IPv6].dst, answer[IPv6].hlim) == (target, GUEST6, 255)
    advertisement = answer[ICMPv6ND_NA]
    assert (advertisement.tgt, advertisement.R, advertisement.S, advertisement.O) == (target, 0, 1, 1)
    assert answer[ICMPv6NDOptDstLLAddr].lladdr == SERVICE_MAC
    sent = advertisement.cksum
    del advertisement.cksum
    assert Ether(bytes(answer))[ICMPv6ND_NA].cksum == sent
    assert len(done.frame) == 86
    assert steer.counted() == {"answered_nd": 1}


def test_a_guest_that_wants_the_address_itself_learns_that_it_is_taken(steer: Steer) -> None:
    done = steer.run("tap_in", solicits("fe80::a9fe:a9fe", option=False, src="::"))
    assert done.verdict == TC_ACT_REDIRECT
    answer = Ether(done.frame)
    assert (answer.dst, answer[IPv6].dst) == ("33:33:00:00:00:01", "ff02::1")
    assert (answer[ICMPv6ND_NA].S, answer[ICMPv6ND_NA].O) == (0, 1)
    sent = answer[ICMPv6ND_NA].cksum
    del answer[ICMPv6ND_NA].cksum
    assert Ether(bytes(answer))[ICMPv6ND_NA].cksum == sent


@pytest.mark.parametrize("service", SERVICES6)
def test_a_segment_to_the_service_over_ipv6_goes_to_the_private_namespace(steer: Steer, service: str) -> None:
    frame = LINK / IPv6(src=GUEST6, dst=service) / TCP(sport=4711, dport=80)
    done = steer.run("tap_in", frame)
    assert done.verdict == TC_ACT_REDIRECT
    passed = Ether(done.frame)
    assert (passed.src, passed.dst) == (TAG_MAC, META0_MAC)
    assert done.frame[12:] == bytes(frame)[12:]
    assert steer.counted() == {"passed_request": 1}


def to6(**ip: Any) -> Packet:
    return LINK / IPv6(**{"src": GUEST6, "dst": "fe80::a9fe:a9fe", **ip})


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (to6(src="fe80::a9fe:a9fe") / TCP(dport=80), "drop_spoofed_ip"),
        (to6(src="fd00:ec2::254", dst="fe80::6") / UDP(), "drop_spoofed_ip"),
        (LINK / Dot1Q(vlan=7) / IPv6(src="fd00:ec2::254", dst="fe80::6") / UDP(), "drop_spoofed_ip"),
        (to6(src="::1") / TCP(dport=80), "drop_source"),
        (to6(src="::") / TCP(dport=80), "drop_source"),
        (to6(src="::ffff:10.0.0.5") / TCP(dport=80), "drop_source"),
        (to6(src="ff02::1") / TCP(dport=80), "drop_source"),
        (to6(src="fd00:a9fe::1") / TCP(dport=80), "drop_source"),
        (to6() / TCP(dport=22), "drop_not_http"),
        (to6() / UDP(dport=80), "drop_not_http"),
        (to6() / ICMPv6EchoRequest(), "drop_not_http"),
        (to6(nh=59), "drop_not_http"),
        (to6() / IPv6ExtHdrDestOpt() / TCP(dport=80), "drop_not_http"),
        (to6() / IPv6ExtHdrFragment(m=1) / TCP(dport=80), "drop_fragment"),
        (to6() / IPv6ExtHdrFragment(offset=1) / Raw(bytes(20)), "drop_fragment"),
        (LINK / Dot1Q(vlan=7) / IPv6(src=GUEST6, dst="fd00:ec2::254") / TCP(dport=80), "drop_vlan"),
        (to6(nh=6) / Raw(bytes(19)), "drop_malformed"),
        (to6(dst="fe80::6", hlim=255) / ICMPv6ND_NA(tgt="fe80::a9fe:a9fe"), "drop_spoofed_nd"),
        (to6(dst="ff02::1", hlim=255) / ICMPv6ND_NA(tgt="fd00:ec2::254"), "drop_spoofed_nd"),
        (LINK / Dot1Q(vlan=7) / IPv6(dst="fe80::6") / ICMPv6ND_NA(tgt="fd00:ec2::254"), "drop_spoofed_nd"),
        (to6(dst="fe80::6") / IPv6ExtHdrDestOpt() / ICMPv6ND_NA(tgt="fe80::a9fe:a9fe"), "drop_spoofed_nd"),
        (
            to6(dst="fe80::6") / IPv6ExtHdrHopByHop() / IPv6ExtHdrFragment(m=1) / ICMPv6ND_NA(tgt="fe80::a9fe:a9fe"),
            "drop_spoofed_nd",
        ),
        (solicits("fe80::a9fe:a9fe", hlim=64), "drop_nd"),
        (to6(hlim=255) / IPv6ExtHdrDestOpt() / ICMPv6ND_NS(tgt="fe80::a9fe:a9fe"), "drop_nd"),
        (to6(hlim=255) / ICMPv6ND_NS(tgt="fe80::a9fe:a9fe", code=1), "drop_nd"),
        (LINK / Dot1Q(vlan=7) / IPv6(hlim=255) / ICMPv6ND_NS(tgt="fe80::a9fe:a9fe"), "drop_vlan"),
    ],
)
def test_ipv6_frames_that_must_not_pass_are_dropped_and_counted(steer: Steer, frame: Packet, reason: str) -> None:
    assert steer.run("tap_in", frame).verdict == TC_ACT_SHOT
    assert steer.counted() == {reason: 1}


def test_an_advertisement_cannot_hide_behind_many_extension_headers(steer: Steer) -> None:
    frame = to6(dst="fe80::6", hlim=255)
    for _ in range(4):
        frame = frame / IPv6ExtHdrDestOpt()
    posing = frame / ICMPv6ND_NA(tgt="fe80::a9fe:a9fe")
    assert steer.run("tap_in", posing).verdict == TC_ACT_SHOT
    assert steer.run("tap_in", frame / IPv6ExtHdrDestOpt() / ICMPv6ND_NA(tgt="fe80::1")).verdict == TC_ACT_SHOT
    assert steer.counted() == {"drop_spoofed_nd": 1, "drop_extension": 1}


@pytest.mark.parametrize(
    "frame",
    [
        to6(dst="fe80::6") / TCP(dport=80),
        to6(dst="fe80::a9fe:a9ff") / TCP(dport=80),
        to6(dst="fd00:ec2::253") / TCP(dport=80),
        to6(dst="fe80::6") / ICMPv6EchoRequest(),
        to6(dst="fe80::6") / IPv6ExtHdrDestOpt() / UDP(),
        to6(dst="fe80::6") / IPv6ExtHdrFragment(offset=1) / Raw(bytes(ICMPv6ND_NA(tgt="fe80::a9fe:a9fe"))),
        solicits("fe80::6"),
        to6(dst="fe80::6", hlim=255) / ICMPv6ND_NA(tgt="fe80::6"),
        LINK / Raw(b"\x40" + bytes(39)),
    ],
    ids=[
        "tcp",
        "near-miss",
        "near-miss-ec2",
        "ping",
        "options",
        "later-fragment",
        "solicits",
        "advertises",
        "version-4",
    ],
)
def test_ipv6_frames_that_are_not_ours_pass_unchanged(steer: Steer, frame: Packet) -> None:
    raw = bytes(frame)[:12] + b"\x86\xdd" + bytes(frame)[14:]
    done = steer.run("tap_in", raw)
    assert (done.verdict, done.frame) == (TC_ACT_UNSPEC, raw)
    assert steer.counted() == {}


def test_over_ipv6_a_frame_that_ends_early_is_never_taken_for_a_whole_one(steer: Steer) -> None:
    for whole in (bytes(to6() / TCP(dport=80)), bytes(to6(hlim=255) / ICMPv6ND_NS(tgt="fe80::a9fe:a9fe"))):
        for length in range(54, len(whole)):
            assert steer.run("tap_in", whole[:length]).verdict == TC_ACT_SHOT, length
    assert set(steer.counted()) == {"drop_malformed", "drop_not_http"}


def test_over_ipv6_a_tap_without_a_tag_reaches_nothing(steer: Steer) -> None:
    steer.maps.remove_tap(TAG, LOOPBACK)
    assert steer.run("tap_in", to6() / TCP(dport=80)).verdict == TC_ACT_SHOT
    assert steer.run("tap_in", solicits("fe80::a9fe:a9fe")).verdict == TC_ACT_SHOT
    assert steer.counted(0) == {"drop_no_tag": 2}


# -- the private namespace's end --


def test_ns_in_makes_the_tag_a_mark(steer: Steer) -> None:
    done = steer.run("ns_in", Ether(src=TAG_MAC, dst=META0_MAC) / IP() / TCP())
    assert (done.verdict, done.mark) == (TC_ACT_OK, STEERED | TAG)


@pytest.mark.parametrize("workers", [1, 2, 3, MAX_WORKERS])
def test_the_mark_leads_each_tag_to_the_place_of_its_worker(steer: Steer, workers: int) -> None:
    places = [places_of(number)[number % 2] for number in range(workers)]
    steer.maps.write_places(places)
    assert steer.maps.places() == tuple(places)
    for tag in (1, 2, 3, 63, 64, 65, TAG, MAX_TAG):
        frame = Ether(src=f"02:a9:fe:00:{tag >> 8:02x}:{tag & 255:02x}", dst=META0_MAC) / IP() / TCP()
        mark = places[worker_of_tag(tag, workers)] << PLACE_SHIFT | STEERED | tag
        assert steer.run("ns_in", frame).mark == mark
        assert steer.run("ns_out", frame, mark=mark).frame[:6] == bytes(frame)[6:12]


@pytest.mark.parametrize(
    "source",
    [GUEST_MAC, META0_MAC, SERVICE_MAC, "02:a9:fe:00:00:00", "03:a9:fe:00:12:34", "02:a9:fe:01:12:34"],
)
def test_ns_in_drops_a_frame_without_a_tag(steer: Steer, source: str) -> None:
    done = steer.run("ns_in", Ether(src=source, dst=META0_MAC) / IP() / TCP(), mark=STEERED | TAG)
    assert done.verdict == TC_ACT_SHOT
    assert steer.counted(0) == {"drop_untagged": 1}


def test_ns_out_makes_the_mark_a_tag(steer: Steer) -> None:
    done = steer.run("ns_out", Ether(src=META0_MAC, dst=META0_MAC) / IP() / TCP(), mark=STEERED | TAG)
    assert done.verdict == TC_ACT_OK
    assert Ether(done.frame).dst == TAG_MAC


@pytest.mark.parametrize("mark", [0, TAG, STEERED, STEERED << 1 | TAG])
def test_ns_out_drops_a_packet_that_answers_no_tap(steer: Steer, mark: int) -> None:
    assert steer.run("ns_out", Ether(src=META0_MAC, dst=META0_MAC) / IP() / TCP(), mark=mark).verdict == TC_ACT_SHOT
    assert steer.counted(0) == {"drop_unmarked": 1}


# -- host_in --


def test_host_in_returns_the_answer_to_the_guest_that_sent_the_request(steer: Steer) -> None:
    steer.run("tap_in", syn())
    done = steer.run("host_in", Ether(src=META0_MAC, dst=TAG_MAC) / IP(src=SERVICE, dst=GUEST) / TCP())
    assert done.verdict == TC_ACT_REDIRECT
    answer = Ether(done.frame)
    assert (answer.src, answer.dst) == (SERVICE_MAC, GUEST_MAC)
    assert steer.counted() == {"passed_request": 1, "passed_answer": 1}


def test_a_guest_that_changes_its_mac_gets_its_answer_at_the_new_one(steer: Steer) -> None:
    steer.run("tap_in", syn())
    moved = syn()
    moved.src = "52:54:00:00:00:99"
    steer.run("tap_in", moved)
    done = steer.run("host_in", Ether(src=META0_MAC, dst=TAG_MAC) / IP(src=SERVICE, dst=GUEST) / TCP())
    assert Ether(done.frame).dst == "52:54:00:00:00:99"


def test_an_answer_for_a_tap_that_is_gone_goes_nowhere(steer: Steer) -> None:
    steer.run("tap_in", syn())
    steer.maps.remove_tap(TAG, LOOPBACK)
    done = steer.run("host_in", Ether(src=META0_MAC, dst=TAG_MAC) / IP(src=SERVICE, dst=GUEST) / TCP())
    assert done.verdict == TC_ACT_SHOT
    assert steer.counted(0) == {"drop_no_tap": 1}


def test_an_answer_before_any_request_goes_nowhere(steer: Steer) -> None:
    done = steer.run("host_in", Ether(src=META0_MAC, dst=TAG_MAC) / IP(src=SERVICE, dst=GUEST) / TCP())
    assert done.verdict == TC_ACT_SHOT
    assert steer.counted() == {"drop_no_tap": 1}


def test_host_in_drops_a_frame_without_a_tag(steer: Steer) -> None:
    assert steer.run("host_in", Ether(src=META0_MAC, dst=GUEST_MAC) / IP() / TCP()).verdict == TC_ACT_SHOT
    assert steer.counted(0) == {"drop_untagged": 1}
