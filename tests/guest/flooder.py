"""A guest that floods: a program of its own behind a tap of its own, so that tests beside it measure the service alone.

``python -m tests.guest.flooder HOST GUEST TAP RAW`` makes the taps TAP and RAW in the network namespace HOST. Behind
TAP is the ``eth0`` of the network namespace GUEST; behind RAW is this program itself, which is faster than a kernel.
Then each line on standard input, ``HOW ADDRESS SECONDS``, starts an attack on that address, and a line on standard
output reports as JSON what the attack did. The program runs on one CPU, with the lowest priority. So it takes from
others only what its frames and connections cost them, like a VM on a host that gives every VM its share.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator

from harness.namespace import Namespace, inside
from harness.pump import MAX_FRAME, Pump, open_tap
from tests.guest.scene import META_DATA, USER_DATA

GUEST_ADDRESS, HOST_ADDRESS = "10.8.0.2", "10.8.0.1"
"""The host's end has an address where nobody listens: an attack on it costs the attacker the same, and the service
nothing."""

GUEST_MAC = bytes.fromhex("525400000008")
HEADER = bytes(10)
"""A virtio_net_hdr that leaves nothing to the kernel."""

SYN, ACK = 0x02, 0x10

FIRST_PORT = 1024

MAX_HELD = 40
"""Connections that an attack holds at once: more than a tap may have."""

BATCH = 256

SOURCES = 8192
"""The number of frames that are made once and sent again and again, because making one costs more than sending it. They
belong to more than twice as many connections as the service can have half open."""


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def segments(address: str, flags: int) -> Iterator[bytes]:
    """Yield TCP segments, each from another address and port: 256 addresses, then the next port."""
    destination = socket.inet_aton(address)
    for number in range(SOURCES):
        port, last = FIRST_PORT + number // 256, number % 256
        source = bytes([10, 8, 1, last])
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 0, 0, 64, 6, 0, source, destination)
        head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
        body = struct.pack("!HHIIBBHHH", port, 80, 1, 1 if flags & ACK else 0, 0x50, flags, 65535, 0, 0)
        pseudo = source + destination + struct.pack("!HH", 6, len(body))
        body = body[:16] + struct.pack("!H", checksum(pseudo + body)) + body[18:]
        yield HEADER + b"\xff" * 6 + GUEST_MAC + b"\x08\x00" + head + body


def questions(address: str) -> Iterator[bytes]:
    """Yield ARP requests for *address*, without end."""
    body = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, GUEST_MAC, socket.inet_aton(GUEST_ADDRESS), bytes(6),
                       socket.inet_aton(address))  # fmt: skip
    return itertools.repeat(HEADER + b"\xff" * 6 + GUEST_MAC + b"\x08\x06" + body + bytes(18))


class Flooder:
    """The attacks, each a method. An attack ends at *deadline* (monotonic) and returns how much it did."""

    def __init__(self, guest: str, raw: int) -> None:
        self._guest = guest
        self._raw = raw

    def _write(self, frames: Iterator[bytes], deadline: float) -> int:
        sent = 0
        ready = list(itertools.islice(frames, SOURCES))
        while time.monotonic() < deadline:
            for frame in ready[sent % len(ready) :][:BATCH]:
                os.write(self._raw, frame)
            sent += BATCH
        return sent

    def handshakes(self, address: str, deadline: float) -> int:
        """Complete thousands of connections in one moment, each with a request, and then stay silent."""
        first = list(segments(address, SYN))
        request = f"GET {META_DATA} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode()
        sent = done = 0
        while time.monotonic() < deadline:
            ready = []
            for _ in range(SOURCES // 2 // BATCH):
                for frame in first[sent % SOURCES :][:BATCH]:
                    os.write(self._raw, frame)
                sent += BATCH
                for answer in self._answers():
                    last, (port,) = answer[33], struct.unpack_from("!H", answer, 36)
                    following = struct.unpack_from("!I", answer, 38)[0] + 1 & 0xFFFFFFFF
                    ready.append(self._request(first[(port - FIRST_PORT) * 256 + last], following, request))
            for frame in ready:
                os.write(self._raw, frame)
            done += len(ready)
        return done

    def _answers(self) -> Iterator[bytes]:
        """Yield the frames that accept one of the connections."""
        with contextlib.suppress(BlockingIOError):
            while True:
                frame = os.read(self._raw, MAX_FRAME)[len(HEADER) :]
                if len(frame) >= 54 and frame[12:14] == b"\x08\x00" and frame[47] == SYN | ACK:
                    yield frame

    @staticmethod
    def _request(syn: bytes, following: int, request: bytes) -> bytes:
        """Return the frame with *request* that follows *syn*, when the other side's next byte is number *following*."""
        head = bytearray(syn[24:44])
        head[2:4] = (40 + len(request)).to_bytes(2, "big")
        head[10:12] = b"\0\0"
        head[10:12] = checksum(bytes(head)).to_bytes(2, "big")
        body = syn[44:48] + struct.pack("!IIBBHHH", 2, following, 0x50, ACK, 65535, 0, 0)
        # The checksum is left to the kernel, which then assumes it to be right (VIRTIO_NET_HDR_F_NEEDS_CSUM).
        return struct.pack("=BBHHHH", 1, 0, 0, 0, 34, 16) + syn[10:24] + bytes(head) + body + request

    def syns(self, address: str, deadline: float) -> int:
        """Send the first segment of a connection from each of many sources, and never a second one."""
        return self._write(segments(address, SYN), deadline)

    def acks(self, address: str, deadline: float) -> int:
        """Send segments of connections that never existed."""
        return self._write(segments(address, ACK), deadline)

    def arps(self, address: str, deadline: float) -> int:
        """Ask by ARP who has the address."""
        return self._write(questions(address), deadline)

    def connects(self, address: str, deadline: float) -> int:
        """Open real connections, and reset each as soon as it is established."""
        return self._hold(address, deadline, lambda connection, now: False)

    def requests(self, address: str, deadline: float) -> int:
        """Send requests on connections that stay open, whatever the answers are."""
        request = f"GET {META_DATA} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode() * 8

        def ask(connection: socket.socket, now: float) -> bool:
            with contextlib.suppress(BlockingIOError):
                if not connection.recv(65536):
                    return False
            connection.send(request)
            return True

        return self._hold(address, deadline, ask)

    def slow_headers(self, address: str, deadline: float) -> int:
        """Send a byte of a header now and then on each connection (Slowloris)."""
        started: set[socket.socket] = set()

        def byte(connection: socket.socket, now: float) -> bool:
            begun = connection in started
            started.add(connection)
            connection.send(b"x" if begun else b"GET / HTTP/1.1\r\nX-Slow: ")
            return True

        return self._hold(address, deadline, byte, pause=0.2)

    def slow_reading(self, address: str, deadline: float) -> int:
        """Ask for 1 MiB again and again on each connection, and hardly read it."""
        request = f"GET {USER_DATA} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()

        def sip(connection: socket.socket, now: float) -> bool:
            with contextlib.suppress(BlockingIOError):
                connection.send(request)
                connection.recv(512)
            return True

        return self._hold(address, deadline, sip, pause=0.2)

    def _hold(
        self, address: str, deadline: float, act: Callable[[socket.socket, float], bool], pause: float = 0.0
    ) -> int:
        """Open connections as fast as possible, up to :data:`MAX_HELD`; *act* on each; reset it if that is false."""
        opened = 0
        connections: set[socket.socket] = set()
        with inside(self._guest):
            while (now := time.monotonic()) < deadline:
                while len(connections) < MAX_HELD:
                    connection = socket.socket()
                    connection.setblocking(False)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                    connection.connect_ex((address, 80))
                    connections.add(connection)
                    opened += 1
                # A socket that is not connected yet is neither readable nor writable; one that was refused is both.
                _, writable, _ = select.select([], connections, [], 0.01)
                for connection in writable:
                    try:
                        keep = act(connection, now)
                    except OSError:
                        keep = False
                    if not keep:
                        connections.remove(connection)
                        connection.close()
                if pause:
                    time.sleep(pause)
        for connection in connections:
            connection.close()
        return opened


def main(host: str, guest: str, tap: str, raw: str) -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.nice(19)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pump = Pump(theirs)
    pump.make(guest, "eth0")
    pump.make(host, tap)
    pump.connect([guest, "eth0"], [host, tap])
    if os.fork() == 0:
        ours.close()
        pump.run()  # until the parent ends
        os._exit(0)
    Namespace(host).ip(f"address add {HOST_ADDRESS}/24 dev {tap}", f"link set {tap} up")
    Namespace(guest).ip(
        f"link set eth0 address {GUEST_MAC.hex(':')}", f"address add {GUEST_ADDRESS}/24 dev eth0", "link set eth0 up",
        "route add 169.254.0.0/16 dev eth0 scope link",
    )  # fmt: skip
    print(json.dumps("ready"), flush=True)
    flooder = Flooder(guest, open_tap(host, raw))
    Namespace(host).ip(f"link set {raw} up")
    for line in sys.stdin:
        how, address, seconds = line.split()
        print(json.dumps(getattr(flooder, how)(address, time.monotonic() + float(seconds))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
