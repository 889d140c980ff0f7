"""The law of bpf/README.rst for a guest's frame, written from that text and from the RFCs, not from the C code.

:func:`fate` returns what tap_in must do with a frame. :func:`claims` decides less, and reads frames more leniently:
whether any neighbour, as tolerant as the most tolerant kernel, would believe that the service has sent the frame. Such
a frame must never pass, whatever else is true of it.
"""

from __future__ import annotations

import enum
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from attrs import frozen

from eve_meta.steering.bpf.maps import Reason

SERVICE = IPv4Address("169.254.169.254")
SERVICES6 = (IPv6Address("fe80::a9fe:a9fe"), IPv6Address("fd00:ec2::254"))
WORKER6 = IPv6Address("fd00:a9fe::1")
SERVICE_PORT = 80

ETHERNET, ARP_SIZE, IPV4_SIZE, IPV6_SIZE, TCP_SIZE, NEIGHBOUR_SIZE = 14, 28, 20, 40, 20, 24
IPV4, ARP, IPV6, VLANS = 0x0800, 0x0806, 0x86DD, (0x8100, 0x88A8)
TCP, ICMPV6 = 6, 58
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION, MOBILITY = 0, 43, 44, 51, 60, 135
EXTENSIONS = (HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION, MOBILITY)
SOLICITATION, ADVERTISEMENT = 135, 136

MAX_VLANS, MAX_EXTENSIONS = 2, 4
"""How many of them the programs parse."""


class Fate(enum.Enum):
    """The end that a frame meets."""

    OTHERS = enum.auto()
    """It does not concern the service, and goes unchanged to the next filter."""

    ARP_ANSWER = enum.auto()
    ND_ANSWER = enum.auto()
    """It is turned into the answer, and goes back to its tap."""

    REQUEST = enum.auto()
    """It goes to the private namespace, with its tap's tag."""

    DROP = enum.auto()


@frozen
class Verdict:
    """The end that a frame must meet; when it is dropped, for one of *reasons*, each of which is true of it."""

    fate: Fate
    reasons: frozenset[Reason] = frozenset()


OTHERS, REQUEST = Verdict(Fate.OTHERS), Verdict(Fate.REQUEST)
ARP_ANSWER, ND_ANSWER = Verdict(Fate.ARP_ANSWER), Verdict(Fate.ND_ANSWER)


def drop(*reasons: Reason) -> Verdict:
    return Verdict(Fate.DROP, frozenset(reasons))


@frozen
class _Link:
    """The payload behind a frame's Ethernet header and VLAN tags; *vlans* includes a last tag that is cut off."""

    vlans: int
    whole: bool
    kind: int
    at: int


def _link(frame: bytes) -> _Link:
    vlans, at = 0, ETHERNET
    kind = int.from_bytes(frame[12:14], "big")
    while kind in VLANS:
        vlans += 1
        if len(frame) < at + 4:
            return _Link(vlans, False, kind, at)
        kind = int.from_bytes(frame[at + 2 : at + 4], "big")
        at += 4
    return _Link(vlans, True, kind, at)


@frozen
class _Chain:
    """The extension headers of an IPv6 packet (RFC 8200 section 4), and what follows them."""

    number: int
    whole: bool
    fragment: bool
    later: bool
    """Whether it is not the first fragment: then no header follows."""
    next: int
    at: int


def _chain(frame: bytes, at: int, next_header: int) -> _Chain:
    number, fragment = 0, False
    while next_header in EXTENSIONS:
        number += 1
        header = frame[at : at + 4]
        if len(header) < 4:
            return _Chain(number, False, fragment, False, next_header, at)
        if next_header == FRAGMENT:
            fragment = True
            at += 8
            if int.from_bytes(header[2:4], "big") >> 3:
                return _Chain(number, True, True, True, header[0], at)
        elif next_header == AUTHENTICATION:
            at += (header[1] + 2) * 4  # RFC 4302 section 2.2
        else:
            at += (header[1] + 1) * 8
        next_header = header[0]
    return _Chain(number, True, fragment, False, next_header, at)


def _is_arp(frame: bytes, at: int) -> bool:
    return len(frame) >= at + ARP_SIZE and frame[at + 2 : at + 6] == b"\x08\x00\x06\x04"


def _is_ipv4(frame: bytes, at: int) -> bool:
    return len(frame) >= at + IPV4_SIZE and frame[at] >> 4 == 4 and frame[at] & 15 >= 5


def _is_ipv6(frame: bytes, at: int) -> bool:
    return len(frame) >= at + IPV6_SIZE and frame[at] >> 4 == 6


def _address(frame: bytes, at: int, size: int) -> IPv4Address | IPv6Address:
    return ip_address(frame[at : at + size])


def _is_about_service(frame: bytes, at: int) -> bool:
    """Return whether the neighbour message at *at* has one of the service's addresses as its target."""
    return len(frame) >= at + NEIGHBOUR_SIZE and _address(frame, at + 8, 16) in SERVICES6


def claims(frame: bytes) -> bool:
    """Return whether a neighbour that gets *frame* would believe that the service has sent it."""
    link = _link(frame)
    at = link.at
    if not link.whole:
        return False
    if link.kind == ARP:
        return _is_arp(frame, at) and _address(frame, at + 14, 4) == SERVICE
    if link.kind == IPV4:
        return _is_ipv4(frame, at) and _address(frame, at + 12, 4) == SERVICE
    if link.kind == IPV6 and _is_ipv6(frame, at):
        if _address(frame, at + 8, 16) in SERVICES6:
            return True
        chain = _chain(frame, at + IPV6_SIZE, frame[at + 6])
        if chain.whole and not chain.later and chain.next == ICMPV6 and _is_about_service(frame, chain.at):
            return frame[chain.at] == ADVERTISEMENT
    return False


def fate(frame: bytes, *, stripped: int = 0) -> Verdict:
    """Return the end that *frame*, which came through a tap with a tag, must meet.

    :param stripped: how many VLAN tags the kernel takes off a frame before the program sees it.
    """
    link = _link(frame)
    if link.vlans > MAX_VLANS + stripped:
        return drop(Reason.DROP_VLAN)
    if not link.whole:
        return OTHERS
    vlan = {Reason.DROP_VLAN} if link.vlans else set()
    if link.kind == ARP and _is_arp(frame, link.at):
        return _arp_fate(frame, link.at, vlan)
    if link.kind == IPV4 and _is_ipv4(frame, link.at):
        return _ipv4_fate(frame, link.at, vlan)
    if link.kind == IPV6 and _is_ipv6(frame, link.at):
        return _ipv6_fate(frame, link.at, vlan)
    return OTHERS


def _arp_fate(frame: bytes, at: int, flaws: set[Reason]) -> Verdict:
    if _address(frame, at + 14, 4) == SERVICE:
        return drop(Reason.DROP_SPOOFED_ARP)
    if _address(frame, at + 24, 4) != SERVICE:
        return OTHERS
    if frame[at + 6 : at + 8] != b"\0\1":
        flaws.add(Reason.DROP_ARP)
    return drop(*flaws) if flaws else ARP_ANSWER


def _ipv4_fate(frame: bytes, at: int, flaws: set[Reason]) -> Verdict:
    source = _address(frame, at + 12, 4)
    if source == SERVICE:
        return drop(Reason.DROP_SPOOFED_IP)
    if _address(frame, at + 16, 4) != SERVICE:
        return OTHERS
    # "This network", loopback, multicast, reserved, broadcast.
    if source.packed[0] in (0, 127) or source.packed[0] >= 224:
        flaws.add(Reason.DROP_SOURCE)
    if int.from_bytes(frame[at + 6 : at + 8], "big") & 0x3FFF:
        flaws.add(Reason.DROP_FRAGMENT)
    return _segment(frame, at + (frame[at] & 15) * 4, frame[at + 9], flaws)


def _ipv6_fate(frame: bytes, at: int, flaws: set[Reason]) -> Verdict:
    source = _address(frame, at + 8, 16)
    if source in SERVICES6:
        return drop(Reason.DROP_SPOOFED_IP)
    chain = _chain(frame, at + IPV6_SIZE, frame[at + 6])
    if not chain.whole or chain.number > MAX_EXTENSIONS:
        return drop(Reason.DROP_EXTENSION)
    if chain.next == ICMPV6 and not chain.later and _is_about_service(frame, chain.at):
        kind, code = frame[chain.at : chain.at + 2]
        if kind == ADVERTISEMENT:
            return drop(Reason.DROP_SPOOFED_ND)
        if kind == SOLICITATION:
            if chain.number or frame[at + 7] != 255 or code:
                flaws.add(Reason.DROP_ND)
            return drop(*flaws) if flaws else ND_ANSWER
    if _address(frame, at + 24, 16) not in SERVICES6:
        return OTHERS
    if source == WORKER6 or any(source in network for network in IMPOSSIBLE6):
        flaws.add(Reason.DROP_SOURCE)
    if chain.fragment:
        flaws.add(Reason.DROP_FRAGMENT)
    if chain.number:
        flaws.add(Reason.DROP_NOT_HTTP)
    return _segment(frame, chain.at, chain.next, flaws)


IMPOSSIBLE6 = (IPv6Network("::/96"), IPv6Network("::ffff:0:0/96"), IPv6Network("ff00::/8"))
"""Unspecified, loopback and IPv4 within IPv6; multicast."""


def _segment(frame: bytes, at: int, protocol: int, flaws: set[Reason]) -> Verdict:
    if protocol != TCP:
        flaws.add(Reason.DROP_NOT_HTTP)
    elif len(frame) < at + TCP_SIZE:
        flaws.add(Reason.DROP_MALFORMED)
    elif int.from_bytes(frame[at + 2 : at + 4], "big") != SERVICE_PORT:
        flaws.add(Reason.DROP_NOT_HTTP)
    return drop(*flaws) if flaws else REQUEST
