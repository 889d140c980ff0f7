"""Real taps whose guest is the test: it writes frames to their tun file descriptors, as QEMU does."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen
from pyroute2 import IPRoute
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from eve_meta.steering.bpf.libbpf import open_pin
from eve_meta.steering.bpf.maps import Maps, Settings
from eve_meta.steering.taps.tapfilter import TapFilter
from harness.guests import Lab
from harness.namespace import inside

TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
TUN_F_CSUM = 1
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x2, 0x1000, 0x4000
VNET_HEADER = struct.Struct("=BBHHHH")
VIRTIO_NET_HDR_F_NEEDS_CSUM = 1

TAG = 7
GUEST_MAC = "52:54:00:00:00:05"
BRIDGE_MAC = "02:00:00:00:00:01"
"""The source of the frames that the host itself sends on the bridge: IGMP."""


@frozen
class Offload:
    """A ``struct virtio_net_hdr`` (linux/virtio_net.h): the work that a guest leaves to the kernel, true or not."""

    flags: int = 0
    gso: int = 0
    header_length: int = 0
    gso_size: int = 0
    checksum_start: int = 0
    checksum_offset: int = 0

    def packed(self) -> bytes:
        return VNET_HEADER.pack(
            self.flags, self.gso, self.header_length, self.gso_size, self.checksum_start, self.checksum_offset
        )


class Device:
    """A tap whose guest is this test."""

    def __init__(self, host: str, name: str) -> None:
        with inside(host):
            self._fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(self._fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
            self.ifindex = socket.if_nametoindex(name)

    def close(self) -> None:
        os.close(self._fd)

    def send(self, frame: Packet | bytes, *, header_length: int = 0, checksum: tuple[int, int] | None = None) -> None:
        """Send *frame*.

        :param header_length: the number of bytes that the kernel puts into the linear part; 0 for all.
        :param checksum: the offset at which the kernel begins a checksum, and how far behind that it writes it.
        """
        flags = 0 if checksum is None else VIRTIO_NET_HDR_F_NEEDS_CSUM
        start, offset = checksum or (0, 0)
        os.write(self._fd, Offload(flags, 0, header_length, 0, start, offset).packed() + bytes(frame))

    def try_to_send(self, frame: bytes, offload: Offload) -> bool:
        """Send *frame*; return whether the kernel accepts it."""
        try:
            os.write(self._fd, offload.packed() + frame)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return False
        return True

    def accept_offloads(self) -> None:
        """Let the kernel leave checksums to the guest, as a guest's driver does."""
        fcntl.ioctl(self._fd, TUNSETOFFLOAD, TUN_F_CSUM)

    def drain(self) -> list[bytes]:
        """Return the frames that have arrived: the kernel delivers a frame before write() to its tap returns."""
        return [frame for _, frame in self.drain_offloaded()]

    def drain_offloaded(self) -> list[tuple[Offload, bytes]]:
        """Return the frames that have arrived, each with the work that the kernel leaves to the guest."""
        frames = []
        with contextlib.suppress(BlockingIOError):
            while True:
                raw = os.read(self._fd, 1 << 17)
                frames.append((Offload(*VNET_HEADER.unpack_from(raw)), raw[VNET_HEADER.size :]))
        return frames

    def receive(self, patience: float = 2.0) -> list[Packet]:
        """Return the frames that arrive before a pause of 50 ms; none after *patience* seconds without any."""
        frames: list[Packet] = []
        deadline = time.monotonic() + patience
        while select.select([self._fd], [], [], 0.05 if frames else max(0.0, deadline - time.monotonic()))[0]:
            frames.append(Ether(os.read(self._fd, 65536)[VNET_HEADER.size :]))
        return frames


@frozen
class Wires:
    """A guest and its neighbour on one bridge, and a tap in place of the veth pair into the private namespace."""

    guest: Device
    neighbour: Device
    service: Device
    maps: Maps
    lab: Lab
    ipr: IPRoute
    filter: TapFilter

    def tc(self, command: str) -> str:
        return self.lab.host.run("tc", *command.split()).stdout

    def counted(self) -> dict[str, int]:
        return {reason.label: number for reason, number in self.maps.counters(TAG).items() if number}

    def drain(self) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """Return the frames that guest, neighbour and service have got, without those that the host itself sent."""
        host = bytes.fromhex(BRIDGE_MAC.replace(":", ""))
        guest, neighbour, service = (
            [frame for frame in device.drain() if frame[6:12] != host]
            for device in (self.guest, self.neighbour, self.service)
        )
        return guest, neighbour, service

    def neighbour_gets(
        self, frame: Packet | bytes, *, header_length: int = 0, checksum: tuple[int, int] | None = None
    ) -> list[Packet]:
        """Send *frame* from the guest, then a broadcast; return the guest's frames that arrive before the broadcast."""
        self.guest.send(frame, header_length=header_length, checksum=checksum)
        self.guest.send(Ether(src=GUEST_MAC, dst="ff:ff:ff:ff:ff:ff", type=0x88B5) / Raw(b"end"))
        # Without the IGMP that the host itself sends on the bridge.
        got = [frame for frame in self.neighbour.receive() if frame.src == GUEST_MAC]
        assert got, "not even the broadcast arrived"
        assert got[-1].type == 0x88B5
        return got[:-1]


@contextlib.contextmanager
def open_wires(pins: Path, name: str) -> Iterator[Wires]:
    """Give wires in network namespaces whose names begin with *name*; the programs are pinned in *pins*."""
    with contextlib.ExitStack() as undo:
        lab = undo.enter_context(Lab(name))
        host = lab.host.name
        devices = [Device(host, name) for name in ("vnet0", "vnet1", "service")]
        for device in devices:
            undo.callback(device.close)
        lab.bridge("br0")
        # With IPv6 the host would send frames of its own.
        lab.host.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
        lab.host.ip(
            *(f"link set {name} mtu 9000 up" for name in ("vnet0", "vnet1", "service", "br0")),
            f"link set br0 address {BRIDGE_MAC}",
            "link set vnet0 master br0",
            "link set vnet1 master br0",
            # Otherwise the guest could divert its neighbour's frames by sending from the neighbour's address.
            "link set vnet0 type bridge_slave learning off",
            "link set vnet1 type bridge_slave learning off",
        )
        maps = undo.enter_context(contextlib.closing(Maps(pins)))
        guest, neighbour, service = devices
        maps.add_tap(TAG, guest.ifindex)
        undo.callback(maps.remove_tap, TAG, guest.ifindex)
        maps.write_settings(Settings(host_ifindex=service.ifindex, next_tag=1, build=0))
        program = open_pin(pins / "tap_in")
        undo.callback(os.close, program)
        with inside(host):
            ipr = undo.enter_context(IPRoute())
            tap_filter = undo.enter_context(contextlib.closing(TapFilter(program, "tap_in")))
        tap_filter.attach(guest.ifindex)
        yield Wires(guest, neighbour, service, maps, lab, ipr, tap_filter)
