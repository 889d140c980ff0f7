"""Random frames that are nearly right: those that a guest may try on the service."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import ip_address
from random import Random
from typing import TypeVar

from tests.kernel.wires import Offload

T = TypeVar("T")

GUEST_MAC = bytes.fromhex("525400000005")
SERVICE_MAC = bytes.fromhex("02a9fea9fe01")
META0_MAC = bytes.fromhex("02a9fea9fe02")
MACS = (
    bytes.fromhex("525400000006"),
    bytes(6),
    b"\xff" * 6,
    bytes.fromhex("3333fffea9fe"),
    bytes.fromhex("0180c2000000"),
    SERVICE_MAC,
    META0_MAC,
    bytes.fromhex("02a9fe000000"),
    bytes.fromhex("02a9fe000001"),
    bytes.fromhex("02a9fe001234"),
    bytes.fromhex("03a9fe001234"),
    bytes.fromhex("02a9fe011234"),
)

SERVICE = ip_address("169.254.169.254").packed
SERVICES6 = tuple(ip_address(text).packed for text in ("fe80::a9fe:a9fe", "fd00:ec2::254"))
ADDRESSES = tuple(
    ip_address(text).packed
    for text in (
        "10.0.0.5", "10.0.0.6", "0.0.0.0", "127.0.0.1", "224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255",
        "169.254.169.253", "169.254.169.255", "169.254.0.0", "10.0.169.254", "169.0.0.254", "254.169.254.169",
        "1.2.3.4", "223.255.255.255", "126.0.0.1",
    )
)  # fmt: skip
ADDRESSES6 = tuple(
    ip_address(text).packed
    for text in (
        "fe80::5054:ff:fe00:5", "fe80::6", "::", "::1", "::ffff:10.0.0.5", "::ffff:169.254.169.254", "::10.0.0.5",
        "ff02::1", "ff02::1:fffe:a9fe", "fd00:a9fe::1", "fd00:a9fe::2", "fe80::a9fe:a9ff", "fe80::a9fe:0",
        "fe80::1:a9fe:a9fe", "fd00:ec2::253", "fd00:ec2::1:254", "fd00:ec3::254", "fec0::a9fe:a9fe", "fe80::",
        "64:ff9b::a9fe:a9fe", "2001:db8::5",
    )
)  # fmt: skip
PROTOCOLS = (6, 6, 17, 1, 58, 0, 43, 44, 51, 60, 135, 59, 50, 41, 4, 47)
EXTENSIONS = (0, 43, 44, 51, 60, 135)
VLANS = (0x8100, 0x8100, 0x88A8, 0x9100)
TYPES = (0x0800, 0x0806, 0x86DD, 0x8100, 0x88A8, 0x8035, 0x88CC, 0x8847, 0x8864, 46, 0)
PORTS = (80, 80, 80, 8080, 22, 0x5000, 8775, 0, 65535)
WORDS = (b"\0", b"\1", b"\2", b"\6", b"\x40", b"\x45", b"\x4f", b"\x60", b"\x80", b"\xff", SERVICE, *SERVICES6)


def ones_sum(data: bytes) -> int:
    """Return the ones' complement sum, of which an Internet checksum is the complement (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


class Frames:
    """Makes frames, from *random*."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def one_in(self, number: int) -> bool:
        return self.random.randrange(number) == 0

    def mostly(self, usual: T, others: Sequence[T], one_in: int = 10) -> T:
        return self.random.choice(others) if self.one_in(one_in) else usual

    def guests(self) -> bytes:
        """Return a frame that a guest sends: some four in ten concern the service."""
        kind = self.random.randrange(8)
        if kind < 2:
            ethertype, payload = 0x0806, self.arp()
        elif kind < 5:
            ethertype, payload = 0x0800, self.ipv4()
        elif kind < 7:
            ethertype, payload = 0x86DD, self.ipv6()
        else:
            ethertype, payload = self.random.choice(TYPES), self.anything()
        packet = ethertype.to_bytes(2, "big") + payload
        for _ in range(self.mostly(0, (1, 1, 2, 2, 3, 4, 9), 5)):
            packet = struct.pack("!HH", self.mostly(0x8100, VLANS, 3), self.random.choice((0, 0, 7, 0x2005))) + packet
        return self.damaged(self.mac(MACS[0]) + self.mac(GUEST_MAC) + packet)

    def offload(self, length: int) -> Offload:
        """Return an offload for a frame of *length* bytes; most have the kernel write a checksum into its headers."""
        choice, randrange = self.random.choice, self.random.randrange
        start = self.mostly(randrange(min(length, 100) + 1), (0, 34, 54, length, 65535), 3)
        return Offload(
            flags=choice((0, 1, 1, 1, 3)),
            gso=self.mostly(0, (1, 3, 4, 5, 0x81), 6),
            header_length=choice((0, 14, 18, 34, randrange(length + 1))),
            gso_size=choice((0, 1, 8, 100, 1400)),
            checksum_start=start,
            checksum_offset=self.mostly(randrange(20), (0, 6, 16, max(0, 10 - start), 65535), 3),
        )

    def forged_by_offload(self) -> tuple[bytes, Offload]:
        """Return an honest frame, and an offload that makes it claim to come from the service.

        The checksum is the word that the service's address lacks: the frame's last two bytes are chosen for that.
        """
        service6 = self.random.choice(SERVICES6)
        address, at, packet = self.random.choice(
            (
                (SERVICE, 28, b"\x08\x06\0\1\x08\0\6\4\0\2" + GUEST_MAC + SERVICE + MACS[0] + ADDRESSES[1]),
                (SERVICE, 26, b"\x08\0\x45" + bytes(8) + b"\x11\0\0" + SERVICE + ADDRESSES[1] + bytes(8)),
                (service6, 22, b"\x86\xdd\x60\0\0\0\0\x08\x11\x40" + service6 + ADDRESSES6[1] + bytes(8)),
                (
                    service6,
                    62,
                    b"\x86\xdd\x60\0\0\0\0\x18\x3a\xff"
                    + ADDRESSES6[0]
                    + ADDRESSES6[1]
                    + b"\x88\0\0\0\x20\0\0\0"
                    + service6,
                ),
            )
        )
        frame = bytearray(MACS[0] + GUEST_MAC + packet + bytes(20))
        assert frame[at : at + len(address)] == address
        at += self.random.randrange(-1, len(address))
        start = self.random.randrange(14, at + 1)
        frame += bytes((len(frame) - start) % 2)
        wanted = int.from_bytes(frame[at : at + 2], "big")
        frame[at : at + 2] = b"\0\0"
        frame[-2:] = ((0xFFFF - wanted - ones_sum(bytes(frame[start:]))) % 0xFFFF).to_bytes(2, "big")
        return bytes(frame), Offload(flags=1, checksum_start=start, checksum_offset=at - start)

    def between(self, tag: int) -> bytes:
        """Return a frame between the namespaces, mostly with *tag*."""
        mac = b"\x02\xa9\xfe\0" + self.mostly(tag, (0, 1, 0xFFFF, tag ^ 1, tag ^ 256)).to_bytes(2, "big")
        one, other = self.mac(mac), self.mac(META0_MAC)
        if self.one_in(2):
            one, other = other, one
        return self.damaged(one + other + self.random.choice(TYPES).to_bytes(2, "big") + self.ipv4())

    def mac(self, usual: bytes) -> bytes:
        return self.mostly(usual, (*MACS, self.random.randbytes(6)), 6)

    def anything(self) -> bytes:
        return self.random.choice((self.arp, self.ipv4, self.ipv6, lambda: self.random.randbytes(60)))()

    def address(self) -> bytes:
        return SERVICE if self.one_in(2) else self.mostly(self.random.choice(ADDRESSES), (self.random.randbytes(4),))

    def guests_address(self) -> bytes:
        return self.mostly(ADDRESSES[0], (SERVICE, *ADDRESSES), 3)

    def address6(self) -> bytes:
        if self.one_in(2):
            return self.random.choice(SERVICES6)
        return self.mostly(self.random.choice(ADDRESSES6), (self.random.randbytes(16),))

    def guests_address6(self) -> bytes:
        return self.mostly(ADDRESSES6[0], (*SERVICES6, *ADDRESSES6), 3)

    def arp(self) -> bytes:
        layout = struct.pack(
            "!HHBBH",
            self.mostly(1, (6, 0, 256)),
            self.mostly(0x0800, (0x86DD, 0)),
            self.mostly(6, (0, 8), 20),
            self.mostly(4, (0, 16), 20),
            self.mostly(1, (0, 2, 2, 3, 256, 8), 3),
        )
        return layout + self.mac(GUEST_MAC) + self.guests_address() + self.mac(bytes(6)) + self.address()

    def ipv4(self) -> bytes:
        words = self.mostly(5, (4, 0, 6, 10, 15))
        options = self.random.randbytes(max(0, words - 5) * 4)
        behind = self.tcp()
        header = struct.pack(
            "!BBHHHBBH",
            self.mostly(0x40, (0x60, 0x50, 0)) | words,
            0,
            20 + len(options) + len(behind),
            1,
            self.mostly(0, (0x4000, 0x8000, 0x2000, 1, 0x1FFF)),
            64,
            self.mostly(6, PROTOCOLS),
            0,
        )
        return header + self.guests_address() + self.address() + options + behind

    def tcp(self) -> bytes:
        ports = struct.pack("!HH", self.random.choice((4711, 80, 1)), self.mostly(80, PORTS, 4))
        segment = ports + bytes(8) + b"\x50\x02\xff\xff" + bytes(4)
        return segment + bytes(self.mostly(0, (1, 6, 40, 1200), 5))

    def ipv6(self) -> bytes:
        neighbour = self.one_in(2)
        kind, behind = (58, self.neighbour()) if neighbour else (self.mostly(6, PROTOCOLS), self.tcp())
        for _ in range(self.mostly(0, (1, 1, 2, 3, 4, 5, 6), 4)):
            (kind, behind) = self.extension(kind, behind)
        header = struct.pack(
            "!IHBB",
            (self.mostly(6, (4, 0, 15), 20) << 28) | self.mostly(0, (0xFFFFFFF,)),
            len(behind) & 0xFFFF,
            kind,
            self.mostly(255 if neighbour else 64, (255, 64, 1, 0)),
        )
        return header + self.guests_address6() + self.address6() + behind

    def neighbour(self) -> bytes:
        kind = self.mostly(135, (136, 136, 133, 134, 137, 128, 0), 2)
        message = (
            struct.pack("!BBHI", kind, self.mostly(0, (1, 255)), self.random.randrange(65536), 0) + self.address6()
        )
        return message + self.mostly(b"\x01\x01" + GUEST_MAC, (b"", bytes(8), b"\x02\x01" + bytes(30)), 3)

    def extension(self, kind: int, behind: bytes) -> tuple[int, bytes]:
        which = self.random.choice(EXTENSIONS)
        units = self.mostly(0, (1, 2, 31, 255), 6)
        if which == 44:
            offset = self.mostly(0, (1, 8, 0xFFF8, 6), 3)
            return which, struct.pack("!BBHI", kind, self.mostly(0, (255,)), offset, 7) + behind
        size = (units + 2) * 4 if which == 51 else (units + 1) * 8
        # Some are shorter than their length field demands.
        present = self.mostly(size, (0, 2, 4, 8), 20)
        return which, (bytes((kind, units)) + bytes(size))[:present] + behind

    def damaged(self, frame: bytes) -> bytes:
        """Return *frame*, or a variant that a hostile or careless guest may send."""
        if self.one_in(4):
            data = bytearray(frame)
            for _ in range(self.random.choice((1, 1, 1, 2, 4))):
                at = self.random.randrange(min(len(data), 120))
                piece = self.random.choice((*WORDS, self.random.randbytes(1)))
                cut = self.random.choice((len(piece), len(piece), 0))
                data[at : at + cut] = piece
            frame = bytes(data)
        if self.one_in(5):
            frame = frame[: self.random.randrange(14, max(15, min(len(frame), 120)))]
        elif self.one_in(5):
            frame += bytes(self.random.choice((1, 18, 46)))
        return frame
