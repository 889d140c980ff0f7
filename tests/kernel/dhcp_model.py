"""What a tap does with DHCP, written from RFC 2131, 2132 and 6842 and from bpf/README.rst, not from the C code.

:func:`judge` says what becomes of a frame, :func:`expected` which answer it gets, byte by byte.
"""

from __future__ import annotations

import enum
import struct
from ipaddress import IPv4Address

from attrs import frozen

from eve_meta.steering.bpf.maps import Reason, TapDhcp
from eve_meta.values.dhcp import DhcpTemplate

SERVER = IPv4Address("169.254.169.254").packed
SERVER_MAC = bytes.fromhex("02a9fea9fe01")
BROADCAST = b"\xff" * 4
ANSWER_SIZE = 576
"""Bytes of IP in each answer (RFC 2131 section 2: what every client accepts)."""

LONGEST_CLIENT_ID = 38
MOST_OPTIONS = 64
"""What bpf/README.rst says of longer client identifiers and of more options."""

UDP, FIXED = 17, 240
"""The protocol's number, and the size of a message's fixed part with the magic number."""


class Kind(enum.IntEnum):
    """The types of messages (RFC 2132 section 9.6)."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


ANSWERED = {
    Kind.OFFER: Reason.ANSWERED_DHCP_OFFER,
    Kind.ACK: Reason.ANSWERED_DHCP_ACK,
    Kind.NAK: Reason.ANSWERED_DHCP_NAK,
}


@frozen
class Judgement:
    """What becomes of a frame: an answer, a drop for one of *flaws*, each of which is true of it, or neither."""

    answer: Kind | None = None
    flaws: frozenset[Reason] = frozenset()
    concerns: bool = True
    """Whether the frame is DHCP that the tap deals with; otherwise it meets the end that all other frames do."""


NOT_OURS = Judgement(concerns=False)


def drop(*flaws: Reason) -> Judgement:
    return Judgement(flaws=frozenset(flaws))


@frozen
class _Packet:
    """A UDP packet, as far as its headers tell.

    :ivar udp: what of the IP packet the frame has, from the UDP header on.
    :ivar whole: whether that is all of it.
    """

    tagged: bool
    fragment: bool
    options: bool
    destination: bytes
    source_port: int
    port: int
    udp: bytes
    whole: bool


def _packet(frame: bytes) -> _Packet | None:
    at, kind, tags = 14, frame[12:14], 0
    while kind in (b"\x81\x00", b"\x88\xa8"):
        tags += 1
        if tags > 2 or len(frame) < at + 4:
            return None
        kind = frame[at + 2 : at + 4]
        at += 4
    if kind != b"\x08\x00" or len(frame) < at + 20:
        return None
    header = frame[at : at + 20]
    size = (header[0] & 15) * 4
    fragment = int.from_bytes(header[6:8], "big")
    if header[0] >> 4 != 4 or size < 20 or header[9] != UDP or fragment & 0x1FFF:
        return None
    if header[12:16] == SERVER:
        return None  # the law of spoofed packets comes first
    udp = frame[at + size :]
    if len(udp) < 8:
        return None
    end = at + int.from_bytes(header[2:4], "big")
    source_port, port = struct.unpack_from("!HH", udp)
    return _Packet(
        tagged=tags > 0,
        fragment=bool(fragment & 0x3FFF),
        options=size > 20,
        destination=header[16:20],
        source_port=source_port,
        port=port,
        udp=frame[at + size : max(end, at + size)],
        whole=end <= len(frame),
    )


@frozen
class Message:
    """A client's message."""

    kind: int | None
    xid: bytes
    flags: bytes
    ciaddr: bytes
    chaddr: bytes
    requested: bytes | None
    server: bytes | None
    client_id: bytes | None


def _options(raw: bytes) -> tuple[dict[int, bytes], set[Reason]]:
    """Return the options that matter, and what is wrong with the options."""
    found: dict[int, bytes] = {}
    flaws: set[Reason] = set()
    number = 0
    while True:
        number += 1
        if not raw or number > MOST_OPTIONS:
            return found, flaws | {Reason.DROP_DHCP_MALFORMED}
        code = raw[0]
        if code == 255:
            return found, flaws
        if code == 0:
            raw = raw[1:]
            continue
        if len(raw) < 2 or len(raw) < 2 + raw[1]:
            return found, flaws | {Reason.DROP_DHCP_MALFORMED}
        value = raw[2 : 2 + raw[1]]
        if code == 52:
            flaws.add(Reason.DROP_DHCP_OVERLOAD)
        elif code == 82:
            flaws.add(Reason.DROP_DHCP_RELAY)
        elif code in (50, 53, 54, 61):
            wrong = {50: len(value) != 4, 54: len(value) != 4, 53: len(value) != 1 or value == b"\0", 61: False}[code]
            if code in found or wrong:
                flaws.add(Reason.DROP_DHCP_MALFORMED)
            found[code] = value
        raw = raw[2 + len(value) :]


def _read(packet: _Packet) -> tuple[Message | None, set[Reason]]:
    """Return the message, where its fixed part is valid, and what is wrong with it."""
    length = int.from_bytes(packet.udp[4:6], "big") if len(packet.udp) >= 8 else 0
    if not packet.whole or length < 8 + FIXED or length > len(packet.udp):
        return None, {Reason.DROP_DHCP_MALFORMED}
    raw = packet.udp[8:length]
    if raw[:3] != b"\1\1\6" or raw[236:240] != b"\x63\x82\x53\x63":
        return None, {Reason.DROP_DHCP_MALFORMED}
    found, flaws = _options(raw[240:])
    if any(raw[24:28]):
        flaws.add(Reason.DROP_DHCP_RELAY)
    kind = found.get(53)
    return (
        Message(
            kind=kind[0] if kind else None,
            xid=raw[4:8],
            flags=raw[10:12],
            ciaddr=raw[12:16],
            chaddr=raw[28:44],
            requested=found.get(50),
            server=found.get(54),
            client_id=found.get(61),
        ),
        flaws,
    )


def judge(frame: bytes, tap: TapDhcp) -> Judgement:
    """Return what becomes of *frame*, which comes from the guest of *tap*."""
    packet = _packet(frame)
    if packet is None:
        return NOT_OURS
    if tap.deny_servers and (packet.source_port == 67 or packet.port == 68):
        return drop(Reason.DROP_DHCP_SERVER)
    if tap.template is None or packet.port != 67:
        return NOT_OURS
    message, flaws = _read(packet)
    if packet.tagged:
        flaws.add(Reason.DROP_DHCP_VLAN)
    if packet.fragment:
        flaws.add(Reason.DROP_DHCP_FRAGMENT)
    if packet.options:
        flaws.add(Reason.DROP_DHCP_IP_OPTIONS)
    if packet.source_port == 67:
        flaws.add(Reason.DROP_DHCP_RELAY)
    if packet.destination not in (BROADCAST, SERVER):
        flaws.add(Reason.DROP_DHCP_OTHER_SERVER)
    answer = None
    if message is not None:
        if message.server not in (None, SERVER):
            flaws.add(Reason.DROP_DHCP_OTHER_SERVER)
        match message.kind:
            case Kind.DISCOVER:
                answer = Kind.OFFER
            case Kind.INFORM:
                answer = Kind.ACK
            case Kind.REQUEST:
                # RFC 2131 section 4.3.2, in whichever of its four states.
                wanted = set() if message.ciaddr == bytes(4) else {message.ciaddr}
                if message.requested is not None:
                    wanted.add(message.requested)
                if not wanted:
                    flaws.add(Reason.DROP_DHCP_MALFORMED)
                answer = Kind.ACK if wanted == {tap.template.address.packed} else Kind.NAK
            case Kind.DECLINE:
                flaws.add(Reason.DROP_DHCP_DECLINE)
            case Kind.RELEASE:
                flaws.add(Reason.DROP_DHCP_RELEASE)
            case _:
                flaws.add(Reason.DROP_DHCP_MALFORMED)
    return Judgement(flaws=frozenset(flaws)) if flaws else Judgement(answer)


def checksum(data: bytes) -> int:
    """Return the Internet checksum of *data* (RFC 1071)."""
    total = 0
    for at in range(0, len(data), 2):
        total += data[at] << 8 | (data[at + 1] if at + 1 < len(data) else 0)
    while total > 0xFFFF:
        total = (total >> 16) + (total & 0xFFFF)
    return total ^ 0xFFFF


def expected(frame: bytes, template: DhcpTemplate) -> bytes:
    """Return the frame that answers *frame*, which :func:`judge` has answered, with complete checksums."""
    packet = _packet(frame)
    assert packet is not None
    message, _ = _read(packet)
    answer = judge(frame, TapDhcp(template)).answer
    assert message is not None
    assert answer is not None
    leases = answer is Kind.OFFER or (answer is Kind.ACK and message.kind == Kind.REQUEST)
    yiaddr = template.address.packed if leases else bytes(4)
    # RFC 2131 section 4.1: where an answer goes; and table 3: what it has.
    if answer is Kind.NAK:
        to, mac = BROADCAST, b"\xff" * 6
    elif message.ciaddr != bytes(4):
        to, mac = message.ciaddr, message.chaddr[:6]
    elif message.flags[0] & 0x80 or not leases:
        to, mac = BROADCAST, b"\xff" * 6
    else:
        to, mac = yiaddr, message.chaddr[:6]
    ciaddr = message.ciaddr if answer is Kind.ACK else bytes(4)
    bootp = (
        b"\2\1\6\0" + message.xid + b"\0\0" + message.flags + ciaddr + yiaddr + bytes(8) + message.chaddr + bytes(192)
    )
    options = bytes([53, 1, answer, 54, 4]) + SERVER
    if leases:
        lease, t1, t2 = template.lease_time, template.lease_time // 2, template.lease_time * 7 // 8
        if lease == 0xFFFFFFFF:
            t1 = t2 = lease
        options += struct.pack("!BBIBBIBBI", 51, 4, lease, 58, 4, t1, 59, 4, t2)
    if answer is not Kind.NAK:
        options += template.options
    if message.client_id is not None and len(message.client_id) <= LONGEST_CLIENT_ID:
        options += bytes([61, len(message.client_id)]) + message.client_id
    payload = (bootp + b"\x63\x82\x53\x63" + options + b"\xff").ljust(ANSWER_SIZE - 28, b"\0")
    length = (8 + len(payload)).to_bytes(2, "big")
    udp = b"\0\x43\0\x44" + length + b"\0\0" + payload
    check = checksum(SERVER + to + b"\0\x11" + length + udp) or 0xFFFF
    udp = udp[:6] + check.to_bytes(2, "big") + udp[8:]
    header = b"\x45\0" + (20 + len(udp)).to_bytes(2, "big") + b"\0\0\x40\0\x40\x11\0\0" + SERVER + to
    header = header[:10] + checksum(header).to_bytes(2, "big") + header[12:]
    return mac + SERVER_MAC + b"\x08\0" + header + udp
