"""DHCP that a tap answers (RFC 2131), by BPF_PROG_TEST_RUN: a client's states, the options, the reasons to drop."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from eve_meta.steering.bpf.libbpf import Map
from eve_meta.steering.bpf.loader import source_directory
from eve_meta.steering.bpf.maps import BUCKETS, DENIERS_WORDS, GUEST_SIZE, U32, TapDhcp
from eve_meta.steering.bpf.maps import DHCP as DHCP_ENTRY
from eve_meta.values.dhcp import MAX_LEASE_TIME, MAX_OPTIONS
from tests import fuzzing
from tests.kernel import dhcp_model
from tests.kernel.dhcp_frames import (
    ADDRESS,
    CLIENT_MAC,
    END,
    MASK_AND_ROUTER,
    OTHER,
    OTHER_SERVER,
    SERVER,
    TEMPLATE,
    XID,
    bootp,
    discover,
    kind,
    option,
    packet,
    renewal,
    request,
)
from tests.kernel.dhcp_fuzz import bench
from tests.kernel.progrun import LOOPBACK, TC_ACT_REDIRECT, TC_ACT_SHOT, TC_ACT_UNSPEC
from tests.kernel.steer import TAG, Steer

GUEST_MAC, EVERYBODY = "52:54:00:00:00:05", "ff:ff:ff:ff:ff:ff"
SERVICE, SERVICE_MAC = "169.254.169.254", "02:a9:fe:a9:fe:01"
GUEST = "10.0.0.5"

INPUTS = 20_000
SEED = 0


@pytest.fixture
def steer(loaded: Steer) -> Steer:
    """The programs, on a tap that answers DHCP and denies servers."""
    loaded.reset()
    loaded.maps.write_dhcp(TAG, TapDhcp(TEMPLATE, deny_servers=True))
    return loaded


def answer(steer: Steer, frame: bytes) -> tuple[Packet, dict[Any, Any]]:
    """Return the answer to *frame*, and its options by the names that scapy gives them."""
    done = steer.run("tap_in", frame)
    assert done.verdict == TC_ACT_REDIRECT, steer.counted()
    assert len(done.frame) == 14 + 576
    got = Ether(done.frame)
    assert (got.src, got[IP].src, got[UDP].sport, got[UDP].dport) == (SERVICE_MAC, SERVICE, 67, 68)
    assert (got[BOOTP].op, got[BOOTP].xid, got[BOOTP].chaddr[:6]) == (2, int.from_bytes(XID, "big"), CLIENT_MAC)
    assert (got[BOOTP].siaddr, got[BOOTP].sname, got[BOOTP].file) == ("0.0.0.0", bytes(64), bytes(128))
    # scapy computes the checksums anew.
    again = Ether(done.frame)
    del again[IP].chksum
    del again[UDP].chksum
    assert (got[IP].chksum, got[UDP].chksum) == (Ether(bytes(again))[IP].chksum, Ether(bytes(again))[UDP].chksum)
    assert got[UDP].chksum != 0
    options = [each for each in got[DHCP].options if each not in ("pad", "end")]
    assert "end" in got[DHCP].options
    return got, {name: value[0] if len(value) == 1 else value for name, *value in options}


LEASE = {
    "server_id": SERVICE,
    "lease_time": 3600,
    "renewal_time": 1800,
    "rebinding_time": 3150,
    "subnet_mask": "255.255.255.0",
    "router": "10.0.0.1",
}

# -- the states of a client --


def test_a_discover_is_answered_with_an_offer_of_the_taps_address(steer: Steer) -> None:
    offer, options = answer(steer, discover(option(50, OTHER)))
    assert (offer.dst, offer[IP].dst, offer[BOOTP].yiaddr, offer[BOOTP].ciaddr) == (GUEST_MAC, GUEST, GUEST, "0.0.0.0")
    assert options == {"message-type": 2, **LEASE}
    assert steer.counted() == {"answered_dhcp_offer": 1}


@pytest.mark.parametrize(
    ("frame", "ciaddr"),
    [
        (request(option(50, ADDRESS), option(54, SERVER)), "0.0.0.0"),
        (request(option(50, ADDRESS)), "0.0.0.0"),
        (renewal(), GUEST),
        (packet(bootp(kind(3) + END, ciaddr=ADDRESS), source=ADDRESS), GUEST),
    ],
    ids=["selecting", "init-reboot", "renewing", "rebinding"],
)
def test_a_request_for_the_taps_address_is_acknowledged(steer: Steer, frame: bytes, ciaddr: str) -> None:
    ack, options = answer(steer, frame)
    assert (ack.dst, ack[IP].dst, ack[BOOTP].yiaddr, ack[BOOTP].ciaddr) == (GUEST_MAC, GUEST, GUEST, ciaddr)
    assert options == {"message-type": 5, **LEASE}
    assert steer.counted() == {"answered_dhcp_ack": 1}


@pytest.mark.parametrize(
    "frame",
    [
        request(option(50, OTHER), option(54, SERVER)),
        request(option(50, OTHER)),
        request(option(50, bytes(4))),
        renewal(OTHER),
        packet(bootp(kind(3) + END, ciaddr=OTHER), source=OTHER),
        packet(bootp(kind(3) + option(50, OTHER) + END, ciaddr=ADDRESS), source=ADDRESS),
    ],
    ids=["selecting", "init-reboot", "of-none", "renewing", "rebinding", "of-two"],
)
def test_a_request_for_another_address_is_refused_with_a_broadcast(steer: Steer, frame: bytes) -> None:
    nak, options = answer(steer, frame)
    assert (nak.dst, nak[IP].dst) == (EVERYBODY, "255.255.255.255")
    assert (nak[BOOTP].yiaddr, nak[BOOTP].ciaddr) == ("0.0.0.0", "0.0.0.0")
    assert options == {"message-type": 6, "server_id": SERVICE}
    assert steer.counted() == {"answered_dhcp_nak": 1}


def test_a_guest_that_has_its_address_is_informed_of_the_rest(steer: Steer) -> None:
    """RFC 2131 section 4.3.5: no address, no lease time."""
    ack, options = answer(steer, packet(bootp(kind(8) + END, ciaddr=OTHER), source=OTHER))
    assert (ack.dst, ack[IP].dst, ack[BOOTP].yiaddr, ack[BOOTP].ciaddr) == (
        GUEST_MAC,
        "10.0.0.77",
        "0.0.0.0",
        "10.0.0.77",
    )
    assert options == {
        "message-type": 5,
        "server_id": SERVICE,
        "subnet_mask": "255.255.255.0",
        "router": "10.0.0.1",
    }
    # Without an address in the message only a broadcast reaches the guest.
    ack, _ = answer(steer, packet(bootp(kind(8) + END)))
    assert (ack.dst, ack[IP].dst) == (EVERYBODY, "255.255.255.255")
    assert steer.counted() == {"answered_dhcp_ack": 2}
    # But the guest has its address from elsewhere, and not by a lease.
    assert steer.maps.sightings(TAG).dhcp_ack is None


def test_a_client_that_hears_no_unicast_yet_is_answered_with_a_broadcast(steer: Steer) -> None:
    for frame in (
        packet(bootp(kind(1) + END, flags=0x8000)),
        packet(bootp(kind(3) + option(50, ADDRESS) + END, flags=0x8000)),
    ):
        got, _ = answer(steer, frame)
        assert (got.dst, got[IP].dst, got[BOOTP].yiaddr) == (EVERYBODY, "255.255.255.255", GUEST)
        assert "B" in got[BOOTP].flags
    # One that has an address hears it, whatever it says (RFC 2131 section 4.1).
    got, _ = answer(steer, packet(bootp(kind(3) + END, flags=0x8000, ciaddr=ADDRESS)))
    assert (got.dst, got[IP].dst) == (GUEST_MAC, GUEST)


# -- options --


def test_an_answer_has_the_templates_options_of_every_length(steer: Steer) -> None:
    for size in (0, 2, 3, 102, MAX_OPTIONS - 1, MAX_OPTIONS):
        options = option(43, bytes(range(size - 2))) if size else b""
        template = evolve(TEMPLATE, options=options)
        steer.maps.write_dhcp(TAG, TapDhcp(template))
        for frame in (
            discover(option(61, b"\1" + CLIENT_MAC)),
            request(option(50, OTHER)),
            packet(bootp(kind(8) + END)),
            discover(option(61, bytes(38))),
        ):
            done = steer.run("tap_in", frame)
            assert done.frame == dhcp_model.expected(frame, template)


def test_a_lease_without_end_is_never_renewed(steer: Steer) -> None:
    steer.maps.write_dhcp(TAG, TapDhcp(evolve(TEMPLATE, lease_time=MAX_LEASE_TIME)))
    _, options = answer(steer, discover())
    assert [options[name] for name in ("lease_time", "renewal_time", "rebinding_time")] == [0xFFFFFFFF] * 3


@pytest.mark.parametrize("size", [1, 7, 19, 38])
def test_every_answer_repeats_the_clients_identifier(steer: Steer, size: int) -> None:
    """RFC 6842: otherwise two clients behind one MAC address could not tell their answers apart."""
    client = bytes(range(1, size + 1))
    for frame in (
        discover(option(61, client)),
        request(option(61, client), option(50, ADDRESS)),
        request(option(61, client), option(50, OTHER)),
        packet(bootp(option(61, client) + kind(8) + END)),
    ):
        _, options = answer(steer, frame)
        assert bytes(options["client_id"]) == client


def test_an_identifier_that_does_not_fit_into_the_answer_is_left_out(steer: Steer) -> None:
    _, options = answer(steer, discover(option(61, bytes(39))))
    assert "client_id" not in options


def test_an_answer_has_nothing_of_the_answer_before(steer: Steer) -> None:
    full = evolve(TEMPLATE, options=option(43, bytes(range(1, MAX_OPTIONS - 1))))
    for template, frame in (
        (full, packet(bootp(kind(1) + option(61, b"\xee" * 38) + END, rest=b"\xee" * 192))),
        (TEMPLATE, discover()),
        (full, request(option(50, OTHER))),
    ):
        steer.maps.write_dhcp(TAG, TapDhcp(template))
        assert steer.run("tap_in", frame).frame == dhcp_model.expected(frame, template)


def test_rapid_commit_is_not_supported_and_so_gets_an_offer(steer: Steer) -> None:
    """RFC 4039 section 3.1."""
    _, options = answer(steer, discover(option(80)))
    assert options["message-type"] == 2


def test_a_message_of_any_size_is_answered(steer: Steer) -> None:
    smallest = discover()
    assert len(smallest) == 14 + 28 + 240 + 4
    for frame in (
        smallest,
        smallest + bytes(14),
        packet(bootp(kind(1) + END + bytes(60))),
        packet(bootp(kind(1) + END + bytes(1200))),
        discover(*[option(43, bytes(255))] * 10),
    ):
        assert steer.run("tap_in", frame).frame == dhcp_model.expected(frame, TEMPLATE)


def test_up_to_64_options_are_read(steer: Steer) -> None:
    answer(steer, packet(bootp(bytes(62) + kind(1) + END)))
    assert steer.run("tap_in", packet(bootp(bytes(63) + kind(1) + END))).verdict == TC_ACT_SHOT
    assert steer.counted() == {"answered_dhcp_offer": 1, "drop_dhcp_malformed": 1}


# -- what is dropped --


DROPPED = {
    "declined": (packet(bootp(kind(4) + option(50, ADDRESS) + option(54, SERVER) + END)), "drop_dhcp_decline"),
    "released": (packet(bootp(kind(7) + option(54, SERVER) + END, ciaddr=ADDRESS), to=SERVER), "drop_dhcp_release"),
    "to another server": (request(option(50, ADDRESS), option(54, OTHER_SERVER)), "drop_dhcp_other_server"),
    "renewed by another server": (
        packet(bootp(kind(3) + END, ciaddr=ADDRESS), source=ADDRESS, to=OTHER_SERVER),
        "drop_dhcp_other_server",
    ),
    "to the subnet's broadcast": (packet(bootp(kind(1) + END), to=bytes([10, 0, 0, 255])), "drop_dhcp_other_server"),
    "relayed": (packet(bootp(kind(1) + END, giaddr=OTHER)), "drop_dhcp_relay"),
    "relayed by an agent": (discover(option(82, b"\1\4abcd")), "drop_dhcp_relay"),
    "overloaded": (discover(option(52, b"\1")), "drop_dhcp_overload"),
    "reply": (packet(bootp(kind(1) + END, head=b"\2\1\6\0")), "drop_dhcp_malformed"),
    "not of ethernet": (packet(bootp(kind(1) + END, head=b"\1\6\6\0")), "drop_dhcp_malformed"),
    "long address": (packet(bootp(kind(1) + END, head=b"\1\1\x10\0")), "drop_dhcp_malformed"),
    "other magic": (packet(bootp(kind(1) + END, magic=b"\x63\x82\x53\x64")), "drop_dhcp_malformed"),
    "bootp": (packet(bootp(END)), "drop_dhcp_malformed"),
    "type 0": (packet(bootp(kind(0) + END)), "drop_dhcp_malformed"),
    "offer": (packet(bootp(kind(2) + END)), "drop_dhcp_malformed"),
    "unknown type": (packet(bootp(kind(9) + END)), "drop_dhcp_malformed"),
    "two types": (packet(bootp(kind(1) + kind(1) + END)), "drop_dhcp_malformed"),
    "long type": (packet(bootp(option(53, b"\1\1") + END)), "drop_dhcp_malformed"),
    "short address": (request(option(50, ADDRESS[:3])), "drop_dhcp_malformed"),
    "two addresses": (request(option(50, ADDRESS), option(50, ADDRESS)), "drop_dhcp_malformed"),
    "short server": (request(option(50, ADDRESS), option(54, b"")), "drop_dhcp_malformed"),
    "two servers": (request(option(50, ADDRESS), option(54, SERVER) * 2), "drop_dhcp_malformed"),
    "two identifiers": (discover(option(61, b"a"), option(61, b"b")), "drop_dhcp_malformed"),
    "no address": (request(option(54, SERVER)), "drop_dhcp_malformed"),
    "no end": (packet(bootp(kind(1))), "drop_dhcp_malformed"),
    "no options": (packet(bootp(b"")), "drop_dhcp_malformed"),
    "no length": (packet(bootp(kind(1) + b"\x0c")), "drop_dhcp_malformed"),
    "cut option": (packet(bootp(kind(1) + b"\x0c\5name")), "drop_dhcp_malformed"),
    "cut message": (packet(bootp(b"")[:-1]), "drop_dhcp_malformed"),
    "end behind the datagram": (packet(bootp(kind(1) + END), length=8 + 240 + 3), "drop_dhcp_malformed"),
    "datagram behind the packet": (packet(bootp(kind(1) + END), total=28 + 240 + 3), "drop_dhcp_malformed"),
    "packet behind the frame": (packet(bootp(kind(1) + END), total=28 + 240 + 5), "drop_dhcp_malformed"),
    "vlan": (packet(bootp(kind(1) + END), tags=[b"\x81\0\0\7"]), "drop_dhcp_vlan"),
    "priority tag": (packet(bootp(kind(1) + END), tags=[b"\x81\0\0\0"]), "drop_dhcp_vlan"),
    "vlan in a vlan": (packet(bootp(kind(1) + END), tags=[b"\x88\xa8\0\7", b"\x81\0\0\7"]), "drop_dhcp_vlan"),
    "vlan of another server": (
        packet(bootp(kind(1) + END), to=OTHER_SERVER, tags=[b"\x81\0\0\7"]),
        "drop_dhcp_vlan",
    ),
    "first fragment": (packet(bootp(kind(1) + END), fragment=0x2000), "drop_dhcp_fragment"),
    "ip options": (packet(bootp(kind(1) + END), ip_options=b"\x94\4\0\0"), "drop_dhcp_ip_options"),
}  # fmt: skip


@pytest.mark.parametrize("what", DROPPED)
def test_what_is_not_answered_never_reaches_the_bridge(steer: Steer, what: str) -> None:
    frame, reason = DROPPED[what]
    steer.maps.write_dhcp(TAG, TapDhcp(TEMPLATE))
    assert steer.run("tap_in", frame).verdict == TC_ACT_SHOT
    assert steer.counted() == {reason: 1}


def test_every_reason_to_drop_dhcp_is_tried() -> None:
    header = (source_directory() / "shared.h").read_text()
    reasons = {name.lower() for name in re.findall(r"\b(DROP_DHCP_\w+),", header)}
    assert {reason for _, reason in DROPPED.values()} == reasons - {"drop_dhcp_server"}


def test_a_flood_of_dhcp_is_limited_like_other_packets_to_the_service(steer: Steer) -> None:
    answer(steer, discover())
    # As after ten seconds of a flood: its allowance of packets is full again that long after now.
    taken = BUCKETS.pack(0, time.clock_gettime_ns(time.CLOCK_BOOTTIME) + 10_000_000_000)
    steer.maps._guests.set(U32.pack(TAG), taken.ljust(GUEST_SIZE, b"\0"))
    assert steer.run("tap_in", discover()).verdict == TC_ACT_SHOT
    assert steer.run("tap_in", DROPPED["released"][0]).verdict == TC_ACT_SHOT
    assert steer.counted() == {"answered_dhcp_offer": 1, "drop_packet_rate": 1, "drop_dhcp_release": 1}


@pytest.mark.parametrize("dhcp", [TapDhcp(), TapDhcp(None, deny_servers=True)])
def test_where_it_is_off_a_guests_dhcp_passes(steer: Steer, dhcp: TapDhcp) -> None:
    steer.maps.write_dhcp(TAG, dhcp)
    for frame in (discover(), request(option(50, ADDRESS)), DROPPED["vlan"][0], DROPPED["relayed"][0]):
        done = steer.run("tap_in", frame)
        assert (done.verdict, done.frame) == (TC_ACT_UNSPEC, frame)
    # To the service's own address nothing but HTTP passes.
    assert steer.run("tap_in", renewal()).verdict == TC_ACT_SHOT
    assert steer.counted() == {"drop_not_http": 1}


def test_other_packets_of_such_a_tap_pass(steer: Steer) -> None:
    link = Ether(src=GUEST_MAC, dst="52:54:00:00:00:06")
    for frame in (
        link / IP(src=GUEST, dst="10.0.0.1") / UDP(sport=53, dport=53),
        link / IP(src=GUEST, dst="10.0.0.1") / UDP(sport=68, dport=69),
        link / IP(src=GUEST, dst="10.0.0.1", frag=100) / Raw(bytes(bootp(kind(1) + END))),
        link / IP(src=GUEST, dst="10.0.0.1", proto=6) / Raw(b"\0\x44\0\x43" + bytes(16)),
    ):
        done = steer.run("tap_in", frame)
        assert (done.verdict, done.frame) == (TC_ACT_UNSPEC, bytes(frame))
    assert steer.counted() == {}


# -- a guest that poses as a server --

TO_NEIGHBOUR: Packet = Ether(src=GUEST_MAC, dst="52:54:00:00:00:06")
REPLY: Packet = IP(src="10.0.0.9", dst="255.255.255.255") / UDP(sport=67, dport=68) / Raw(bytes(300))
REPLY6: Packet = UDP(sport=547, dport=546) / Raw(bytes(60))

POSES = {
    "offer": TO_NEIGHBOUR / REPLY,
    "from another port": TO_NEIGHBOUR / IP(dst="10.0.0.6") / UDP(sport=5000, dport=68),
    "to another port": TO_NEIGHBOUR / IP(dst="10.0.0.6") / UDP(sport=67, dport=5000),
    "vlan": TO_NEIGHBOUR / Dot1Q(vlan=7) / REPLY,
    "vlan in a vlan": TO_NEIGHBOUR / Dot1AD(vlan=7) / Dot1Q(vlan=8) / REPLY,
    "fragment": TO_NEIGHBOUR / IP(dst="10.0.0.6", flags="MF") / UDP(sport=67, dport=68),
    "ip options": packet(bytes(300), ports=(67, 68), ip_options=bytes(40)),
    "ipv6": TO_NEIGHBOUR / IPv6(src="fe80::9", dst="fe80::6") / REPLY6,
    "ipv6 vlan": TO_NEIGHBOUR / Dot1Q(vlan=7) / IPv6(src="fe80::9", dst="fe80::6") / REPLY6,
    "ipv6 from another port": TO_NEIGHBOUR / IPv6(src="fe80::9", dst="fe80::6") / UDP(sport=5000, dport=546),
    "ipv6 near the service": TO_NEIGHBOUR / IPv6(src="fe80::a9fe:a9ff", dst="fe80::6") / REPLY6,
    "ipv6 extension": TO_NEIGHBOUR / IPv6(src="fe80::9", dst="fe80::6") / IPv6ExtHdrDestOpt() / REPLY6,
    "ipv6 fragment": TO_NEIGHBOUR / IPv6(src="fe80::9", dst="fe80::6") / IPv6ExtHdrFragment(m=1) / REPLY6,
    "ipv6 to all servers": TO_NEIGHBOUR / IPv6(src="fe80::9", dst="ff02::1:2") / REPLY6,
}


@pytest.mark.parametrize("template", [TEMPLATE, None], ids=["answers", "passes"])
@pytest.mark.parametrize("what", POSES)
def test_a_guest_cannot_pose_as_a_dhcp_server(steer: Steer, what: str, template: Any) -> None:
    frame = bytes(POSES[what])
    steer.maps.write_dhcp(TAG, TapDhcp(template, deny_servers=True))
    assert steer.run("tap_in", frame).verdict == TC_ACT_SHOT
    assert steer.counted() == {"drop_dhcp_server": 1}
    # The switch is one of its own.
    steer.maps.write_dhcp(TAG, TapDhcp(template, deny_servers=False))
    assert steer.run("tap_in", frame).verdict == TC_ACT_UNSPEC


@pytest.mark.parametrize(
    "frame",
    [
        TO_NEIGHBOUR / IP(dst="10.0.0.6") / UDP(sport=68, dport=67),
        TO_NEIGHBOUR / IP(dst="10.0.0.6", frag=1) / Raw(b"\0\x43\0\x44" + bytes(8)),
        TO_NEIGHBOUR / IP(dst="10.0.0.6", proto=6) / Raw(b"\0\x43\0\x44" + bytes(16)),
        TO_NEIGHBOUR / IP(dst="10.0.0.6", proto=17) / Raw(b"\0\x43\0\x44"),
        TO_NEIGHBOUR / IPv6(src="fe80::9", dst="ff02::1:2") / UDP(sport=546, dport=547),
        TO_NEIGHBOUR / IPv6(src="fe80::9", dst="fe80::6") / IPv6ExtHdrFragment(offset=1) / Raw(b"\2\x23\2\x22" * 4),
    ],
    ids=["client", "later fragment", "tcp", "cut", "client6", "later fragment6"],
)
def test_where_servers_are_denied_other_frames_pass(steer: Steer, frame: Packet) -> None:
    steer.maps.write_dhcp(TAG, TapDhcp(None, deny_servers=True))
    done = steer.run("tap_in", bytes(frame).ljust(60, b"\0") if len(frame) > 60 else bytes(frame))
    assert done.verdict == TC_ACT_UNSPEC
    assert steer.counted() == {}


# -- what is seen --


def test_what_was_answered_is_seen_with_its_times(steer: Steer) -> None:
    for frame, number in (
        (discover(), 3),
        (request(option(50, ADDRESS)), 2),
        (renewal(), 1),
        (request(option(50, OTHER)), 1),
    ):
        for _ in range(number):
            steer.run("tap_in", frame)
    seen = steer.maps.sightings(TAG)
    counts = [None if one is None else one.frames for one in (seen.dhcp, seen.dhcp_offer, seen.dhcp_ack, seen.dhcp_nak)]
    assert counts == [7, 3, 3, 1]
    assert seen.dhcp_offer is not None
    assert seen.dhcp_ack is not None
    assert seen.dhcp_offer.first <= seen.dhcp_offer.last <= seen.dhcp_ack.first


def test_a_guest_that_is_not_answered_is_seen_all_the_same(steer: Steer) -> None:
    steer.run("tap_in", DROPPED["bootp"][0])
    seen = steer.maps.sightings(TAG)
    assert seen.dhcp is not None
    assert (seen.dhcp_offer, seen.dhcp_ack, seen.dhcp_nak) == (None, None, None)


def test_another_holder_of_the_tap_is_not_given_the_lease_of_the_one_before(steer: Steer) -> None:
    steer.maps.remove_tap(TAG, LOOPBACK)
    steer.maps.add_tap(TAG + 1, LOOPBACK)
    assert steer.run("tap_in", discover()).verdict == TC_ACT_UNSPEC
    # Nor is one that gets the same tag, when that is free again.
    steer.maps.write_dhcp(TAG + 1, TapDhcp(TEMPLATE))
    steer.maps.add_tap(TAG + 1, LOOPBACK)
    assert steer.run("tap_in", discover()).verdict == TC_ACT_UNSPEC
    assert steer.counted(TAG + 1) == {}


# -- the layout, and random messages --


def test_an_entry_has_the_layout_of_the_struct() -> None:
    header = (source_directory() / "shared.h").read_text()
    body = re.search(r"struct dhcp \{(.*?)\n\};", header, re.DOTALL)
    assert body is not None
    assert re.findall(r"^\s*(__\w+ \w+(?:\[[^\]]*\])?);", body.group(1), re.MULTILINE) == [
        "__u32 tag",
        "__u8 answers",
        "__u8 deny_servers",
        "__u16 length",
        "__be32 address",
        "__u8 times[18]",
        "__u8 options[DHCP_OPTIONS + 2]",
    ]
    assert f"#define DHCP_OPTIONS {MAX_OPTIONS}\n" in header
    assert f"#define DENIERS_WORDS {DENIERS_WORDS}\n" in header
    assert DHCP_ENTRY.size == 272
    entry = TapDhcp(TEMPLATE, deny_servers=True)
    packed = entry.packed(TAG)
    assert TapDhcp.unpacked(packed) == entry
    assert packed[30:42] == MASK_AND_ROUTER
    assert packed[8:12] == ADDRESS
    assert packed[:4] == U32.pack(TAG)


def test_an_entry_whose_memory_another_tap_has_got_meanwhile_answers_nothing(steer: Steer, pins: Path) -> None:
    """The kernel may do that while tap_in reads; here the entry has the other's tag from the beginning."""
    with contextlib.closing(Map(pins / "dhcp", U32.size, DHCP_ENTRY.size)) as entries:
        entries.set(U32.pack(TAG), TapDhcp(TEMPLATE).packed(TAG + 1))
    ended = steer.run("tap_in", discover())
    assert ended.verdict == TC_ACT_SHOT
    assert steer.counted() == {"drop_dhcp_malformed": 1}


def test_every_message_meets_the_end_that_the_model_demands(pins: Path) -> None:
    with bench(pins) as try_one:
        seen = fuzzing.run(try_one, SEED, INPUTS)
    # The inputs reached all of these; otherwise the run would prove little.
    dropped = {reason for _, reason in DROPPED.values()}
    assert dropped | {
        "answered_dhcp_offer",
        "answered_dhcp_ack",
        "answered_dhcp_nak",
        "drop_dhcp_server",
        "not ours",
    } <= set(seen)
