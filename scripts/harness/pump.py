"""The NICs of a lab's guests: pairs of taps, and the frames carried between the two of each pair.

A VM's NIC is a tap on the host whose other side QEMU holds as a file descriptor. Here this process holds that side
instead. It also holds a second tap, inside the guest's network namespace, and copies what one tap sends into the other.
The host's kernel sees exactly what QEMU would give it: a real tap device, frames from user space, and the virtio
header with its unfinished checksums and its segments of up to 64 KiB.

One single-threaded process serves all guests of a lab. It executes JSON messages from a socket, answers each, and ends
when the other end is closed, for whatever reason: taps made without IFF_PERSIST go with their file descriptors, so
nothing outlives a lab that was killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
from typing import Any

from harness.namespace import inside

# linux/if_tun.h
TUNSETIFF = 0x400454CA
TUNSETPERSIST = 0x400454CB
TUNSETOFFLOAD = 0x400454D0
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6, TUN_F_TSO_ECN = 1, 2, 4, 8

SYS_PIDFD_GETFD = 438  # asm-generic/unistd.h

MAX_FRAME = 10 + 14 + 4 + 65535
"""Bytes of the longest read: virtio_net_hdr, Ethernet header, VLAN tag and a segmentation-offload packet."""

MAX_BURST = 64
"""Frames copied from one tap before it is the next tap's turn, so that no guest starves another."""

MAX_MESSAGE = 4096
"""Bytes of a message: a handful of names."""


def held_tap(name: str, pid: int) -> int:
    """Return a duplicate of the descriptor by which the process *pid* holds the tap *name*.

    :raises KeyError: when the process holds no such tap.
    """
    for entry in os.scandir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):  # closed by now
            with open(f"/proc/{pid}/fdinfo/{entry.name}") as file:
                holds = f"\niff:\t{name}\n" in file.read()
            if holds:
                with os.fdopen(os.pidfd_open(pid)) as process:
                    tap = _libc.syscall(SYS_PIDFD_GETFD, process.fileno(), int(entry.name), 0)
                if tap < 0:
                    raise OSError(ctypes.get_errno(), "pidfd_getfd")
                return int(tap)
    raise KeyError(name)


def open_tap(namespace: str, name: str) -> int:
    """Open the tap *name* in the network namespace *namespace* and return its non-blocking descriptor.

    The kernel makes the tap unless a persistent one has that name.
    """
    # The kernel makes a tap in the namespace in which /dev/net/tun was opened, not in that of the TUNSETIFF call.
    with inside(namespace):
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
        fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
        # What a virtio-net guest negotiates; without it the kernel would finish every checksum before a frame is read.
        fcntl.ioctl(tap, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN)
    except BaseException:
        os.close(tap)
        raise
    return tap


_libc = ctypes.CDLL(None, use_errno=True)


class Pump:
    """The taps by namespace and name, and the pairs that cables connect."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._epoll = select.epoll()
        self._epoll.register(control, select.EPOLLIN)
        self._taps: dict[tuple[str, str], int] = {}
        self._peers: dict[int, int] = {}
        self._buffer = bytearray(MAX_FRAME)

    def run(self) -> None:
        """Carry frames and execute messages until the other end of the control socket is closed."""
        while True:
            # The control socket last: its message may close a tap that the same poll() reported.
            for descriptor, _ in sorted(self._epoll.poll(), key=lambda event: event[0] == self._control.fileno()):
                if descriptor != self._control.fileno():
                    self._carry(descriptor)
                elif not self._execute():
                    return

    def _carry(self, source: int) -> None:
        for _ in range(MAX_BURST):
            try:
                length = os.readv(source, [self._buffer])
            except OSError as error:
                # EBADFD: someone else deleted the device ("ip link delete"). Its descriptor would stay readable for
                # ever, so it is watched no longer; it is closed when the lab deletes the tap.
                if error.errno == errno.EBADFD:
                    self._epoll.unregister(source)
                elif error.errno != errno.EAGAIN:
                    raise
                return
            if (peer := self._peers.get(source)) is None:
                continue  # the cable is out
            try:
                os.write(peer, memoryview(self._buffer)[:length])
            except OSError as error:
                # A NIC that is down, gone or busy loses the frame, as on a wire. EINVAL is the kernel's refusal of a
                # frame that a hostile guest made (linux/virtio_net.h), and concerns no other guest.
                if error.errno not in (errno.EAGAIN, errno.EIO, errno.EBADFD, errno.ENOBUFS, errno.EINVAL):
                    raise

    def _execute(self) -> bool:
        if not (message := self._control.recv(MAX_MESSAGE)):
            return False
        request: dict[str, Any] = json.loads(message)
        answer = {}
        try:
            getattr(self, request.pop("do"))(**request)
        except KeyError:
            answer["error"] = "there is no such tap"
        except OSError as error:
            answer["error"] = os.strerror(error.errno) if error.errno else str(error)
        self._control.send(json.dumps(answer).encode())
        return True

    def make(self, namespace: str, name: str) -> None:
        """Make a tap without a cable."""
        self._keep(namespace, name, open_tap(namespace, name))

    def share(self, namespace: str, name: str, pid: int) -> None:
        """Share a tap with the process *pid*, a QEMU whose guest is halted and so reads nothing from the tap."""
        self._keep(namespace, name, held_tap(name, pid))

    def _keep(self, namespace: str, name: str, tap: int) -> None:
        self._taps[namespace, name] = tap
        self._epoll.register(tap, select.EPOLLIN)

    def connect(self, one: list[str], other: list[str]) -> None:
        """Connect two taps, each given by its namespace and name, by a cable."""
        first, second = self._taps[one[0], one[1]], self._taps[other[0], other[1]]
        self._peers[first], self._peers[second] = second, first

    def delete(self, namespace: str, name: str) -> None:
        """Delete a tap; its peer stays, without a cable."""
        tap = self._taps.pop((namespace, name))
        if (peer := self._peers.pop(tap, None)) is not None:
            del self._peers[peer]
        # epoll forgets a file only when its last descriptor is closed, and a QEMU may have another.
        with contextlib.suppress(FileNotFoundError):
            self._epoll.unregister(tap)
        os.close(tap)

    def release(self) -> None:
        """Leave the taps to their namespaces, which are about to be deleted.

        Each tap that is closed costs the kernel an RCU grace period; the end of a namespace costs one for all its taps.
        """
        for tap in self._taps.values():
            # A device that is gone already has nothing to persist.
            with contextlib.suppress(OSError):
                fcntl.ioctl(tap, TUNSETPERSIST, 1)


def main() -> None:
    """Serve the control socket, whose file descriptor is the only argument."""
    # Ctrl-C reaches every process of a terminal; the lab ends this one when the guests are gone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Two descriptors a guest: the usual soft limit of 1,024 ends at 500 of them.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    Pump(socket.socket(fileno=int(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
