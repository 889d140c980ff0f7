"""DHCP messages of clients, as they are sent and as nobody sends them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import IPv4Address
from random import Random

from eve_meta.steering.bpf.maps import TapDhcp
from eve_meta.values.dhcp import MAX_LEASE_TIME, MAX_OPTIONS, DhcpTemplate
from tests.kernel.frames import ones_sum

CLIENT_MAC = bytes.fromhex("525400000005")
ANYONE, NOBODY = b"\xff" * 4, bytes(4)
SERVER = IPv4Address("169.254.169.254").packed
ADDRESS = IPv4Address("10.0.0.5").packed
OTHER = IPv4Address("10.0.0.77").packed
OTHER_SERVER = IPv4Address("10.0.0.1").packed
MAGIC = b"\x63\x82\x53\x63"
XID = bytes.fromhex("deadbeef")
END = b"\xff"

SMALLEST = 60
"""Bytes of a frame, as Ethernet demands. Some kernels refuse to test shorter ones."""

MASK_AND_ROUTER = bytes.fromhex("0104ffffff00 03040a000001")
TEMPLATE = DhcpTemplate(IPv4Address(ADDRESS), 3600, MASK_AND_ROUTER)


def option(code: int, value: bytes = b"") -> bytes:
    return bytes([code, len(value)]) + value


def kind(number: int) -> bytes:
    """Return the option that says a message's type."""
    return option(53, bytes([number]))


def bootp(
    options: bytes,
    *,
    head: bytes = b"\1\1\6\0",
    xid: bytes = XID,
    flags: int = 0,
    ciaddr: bytes = NOBODY,
    giaddr: bytes = NOBODY,
    chaddr: bytes = CLIENT_MAC,
    magic: bytes = MAGIC,
    rest: bytes = b"",
) -> bytes:
    """Return a message whose *options* have an end of their own; *rest* begins its fields sname and file."""
    fixed = head + xid + struct.pack("!HH", 3, flags) + ciaddr + bytes(8) + giaddr
    return fixed + chaddr.ljust(16, b"\0") + rest.ljust(192, b"\0") + magic + options


def packet(
    message: bytes,
    *,
    source: bytes = NOBODY,
    to: bytes = ANYONE,
    ports: tuple[int, int] = (68, 67),
    fragment: int = 0,
    ip_options: bytes = b"",
    tags: Sequence[bytes] = (),
    total: int | None = None,
    length: int | None = None,
    padding: int = 0,
) -> bytes:
    """Return the frame with *message*.

    :param tags: VLAN tags, the outer one first.
    :param total: the IP header's length field, where that is not right.
    :param length: the UDP header's.
    """
    size = 8 + len(message)
    udp = struct.pack("!HHHH", *ports, size if length is None else length, 0) + message
    words = 5 + len(ip_options) // 4
    whole = words * 4 + size if total is None else total
    header = struct.pack("!BBHHHBBH", 0x40 | words, 0, whole & 0xFFFF, 1, fragment, 64, 17, 0) + source + to
    check = 0xFFFF - ones_sum(header + ip_options)
    header = header[:10] + check.to_bytes(2, "big") + header[12:]
    link = b"\xff" * 6 + CLIENT_MAC + b"".join(tags) + b"\x08\0"
    return link + header + ip_options + udp + bytes(padding)


def discover(*options: bytes, **fields: object) -> bytes:
    return packet(bootp(kind(1) + b"".join(options) + END, **fields))  # type: ignore[arg-type]


def request(*options: bytes, **fields: object) -> bytes:
    return packet(bootp(kind(3) + b"".join(options) + END, **fields))  # type: ignore[arg-type]


def renewal(ciaddr: bytes = ADDRESS) -> bytes:
    """Return the request by which a client renews its lease (RFC 2131 section 4.3.2: RENEWING)."""
    return packet(bootp(kind(3) + END, ciaddr=ciaddr), source=ciaddr, to=SERVER)


class DhcpFrames:
    """Makes frames that are nearly a client's, and taps for them, from *random*. Half of the frames have no flaw."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self._sound = self.one_in(2)

    def one_in(self, number: int) -> bool:
        return self.random.randrange(number) == 0

    def flaw(self, one_in: int) -> bool:
        return not self._sound and self.one_in(one_in)

    def tap(self) -> TapDhcp:
        """Return what a tap does with DHCP."""
        if self.one_in(12):
            return TapDhcp(None, self.one_in(2))
        size = self.random.choice((0, 2, 12, 102, MAX_OPTIONS - 1, MAX_OPTIONS))
        codes = iter(self.random.sample([*range(1, 50), *range(62, 81), 119, 121, 249], 60))
        options = b""
        while len(options) + 2 <= size:
            room = min(255, size - len(options) - 2)
            options += option(next(codes), self.random.randbytes(min(room, self.random.choice((0, 4, 24, 255)))))
        lease = self.random.choice((60, 3600, 86400, MAX_LEASE_TIME))
        return TapDhcp(DhcpTemplate(IPv4Address(ADDRESS), lease, options), self.one_in(2))

    def frame(self) -> bytes:
        """Return a frame."""
        choice, randrange, randbytes = self.random.choice, self.random.randrange, self.random.randbytes
        one_in, flaw = self.one_in, self.flaw
        options = self._options()
        if one_in(3):
            options += bytes(choice((1, 3, 60, 240, 400)))
        addresses = (NOBODY, NOBODY, NOBODY, ADDRESS, OTHER, SERVER, ANYONE, randbytes(4))
        message = bootp(
            options,
            head=b"\1\1\6\0" if not flaw(6) else bytes(choice((0, 1, 1, 1, 2, 6, 16, 255)) for _ in range(4)),
            xid=randbytes(4),
            flags=choice((0, 0, 0x8000, randrange(65536))),
            ciaddr=choice(addresses),
            giaddr=NOBODY if not flaw(6) else choice(addresses),
            chaddr=CLIENT_MAC if one_in(2) else randbytes(16),
            magic=MAGIC if not flaw(10) else randbytes(4),
            rest=randbytes(192) if one_in(4) else b"",
        )
        if flaw(5):
            message = message[: randrange(len(message) + 1)]
        size = 8 + len(message)
        frame = packet(
            message,
            source=choice((NOBODY, ADDRESS, OTHER)) if not flaw(8) else SERVER,
            to=choice((ANYONE, ANYONE, SERVER)) if not flaw(5) else choice((OTHER_SERVER, OTHER, randbytes(4))),
            ports=(68, 67) if not flaw(4) else choice(((67, 67), (67, 68), (68, 68), (5000, 67), (67, 80), (53, 53))),
            fragment=0 if not flaw(6) else choice((0x4000, 0x2000, 1, 0x8000, 0x2001)),
            ip_options=b"" if not flaw(8) else bytes(4 * choice((1, 2, 10))),
            tags=() if not flaw(6) else choice(((b"\x81\0\0\7",), (b"\x88\xa8\0\7", b"\x81\0\0\0"))),
            total=None
            if not one_in(15)
            else choice((0, 20, 28, 20 + size - 1, 20 + size + 1, 0xFFFF, randrange(1500))),
            length=None if not flaw(8) else choice((0, 7, 8, 247, 248, 249, size - 1, size + 1, randrange(700))),
            padding=choice((0, 0, 1, 18, 300)),
        )
        return self._damaged(frame)

    def _options(self) -> bytes:
        choice, randbytes = self.random.choice, self.random.randbytes
        pieces = [kind(choice((2, 4, 5, 6, 7, 0, 9, 255)) if self.flaw(4) else choice((1, 3, 3, 8)))]
        if self.one_in(2):
            pieces.append(option(50, choice((ADDRESS, ADDRESS, ADDRESS, OTHER, NOBODY, SERVER))))
        if self.one_in(3):
            pieces.append(option(54, choice((OTHER_SERVER, NOBODY)) if self.flaw(3) else SERVER))
        if self.one_in(2):
            pieces.append(option(61, randbytes(choice((0, 1, 7, 7, 19, 19, 37, 38, 39, 255)))))
        for _ in range(choice((0, 0, 1, 3, 8))):
            pieces.append(option(choice((12, 55, 57, 60, 80, 81, 116, 145)), randbytes(choice((0, 1, 2, 16, 60)))))
        if self.one_in(12):
            pieces.append(
                choice((option(82, b"\1\2ab"), option(52, b"\1"), kind(1), option(50, b"abc"), option(54, b"")))
            )
        if self.flaw(8):
            pieces.append(bytes(choice((1, 2, 40, 62, 63, 64, 65))))
        if self.flaw(12):
            pieces.append(option(choice((61, 50, 53, 54, 77)), randbytes(choice((0, 1, 4, 200)))))
        self.random.shuffle(pieces)
        end = b"" if self.flaw(10) else END
        options = b"".join(pieces) + end
        return options[: self.random.randrange(len(options) + 1)] if self.flaw(8) else options

    def _damaged(self, frame: bytes) -> bytes:
        if self.flaw(4):
            data = bytearray(frame)
            for _ in range(self.random.choice((1, 1, 2, 8))):
                # The Ethernet addresses do not matter.
                data[self.random.randrange(12, len(data))] = self.random.choice(
                    (0, 1, 50, 53, 54, 61, 255, self._byte())
                )
            frame = bytes(data)
        if self.flaw(8):
            frame = frame[: self.random.randrange(14, len(frame) + 1)]
        return frame.ljust(SMALLEST, b"\0")

    def _byte(self) -> int:
        return self.random.randrange(256)
