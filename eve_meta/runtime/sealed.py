"""Memory that several processes read and none can change any more: sealed files without a name (memfd_create(2)).

The process that makes such a file hands it to others by a descriptor, over a socket that carries nothing else
(:func:`send`). No seal can be removed, and any process may hold the memory: it has neither a writable descriptor nor a
writable mapping, and the kernel grants no new one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct

MFD_NOEXEC_SEAL = 0x8
"""linux/memfd.h, from Linux 6.3 on: the file can neither be executed nor be made executable."""

SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
"""Neither the bytes nor their number nor the seals can change (fcntl(2), "File Sealing")."""

_NUMBER = struct.Struct("!Q")
_DESCRIPTOR = struct.Struct("i")

_NO_ROOM = (errno.EAGAIN, errno.ENOBUFS, errno.ETOOMANYREFS)


class SealedMemory:
    """Sealed memory of this process, as a :class:`~eve_meta.values.content.Storage`.

    The memory is read by pread(2), not mapped: a mapping takes as much address space as it has bytes, and a worker may
    have little of that (RLIMIT_AS).

    :param descriptor: a descriptor of the memory, which is closed when this object is deleted.
    """

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __del__(self) -> None:
        os.close(self._descriptor)

    def read(self, offset: int, length: int) -> bytes:
        """Return *length* bytes from *offset* on; fewer at the end."""
        return os.pread(self._descriptor, length, offset)

    def is_sealed(self, size: int) -> bool:
        """Return whether the memory has *size* bytes, and all of :data:`SEALS`."""
        seals = fcntl.fcntl(self._descriptor, fcntl.F_GET_SEALS)
        return os.fstat(self._descriptor).st_size == size and seals & SEALS == SEALS

    def open_again(self) -> int:
        """Return a new descriptor for another process.

        It shares nothing but the memory with this object's own descriptor: neither a position nor flags nor locks. Both
        are for reading alone.
        """
        return _open(self._descriptor)


def seal(data: bytes) -> SealedMemory:
    """Copy *data* into sealed memory.

    :raises OSError: where the kernel has no memory or no descriptor left.
    """
    writable = _memfd()
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(writable, left) :]
        os.fchmod(writable, 0o400)  # only the owner's, even if somebody could open it by a name
        fcntl.fcntl(writable, fcntl.F_ADD_SEALS, SEALS)
        return SealedMemory(_open(writable))
    finally:
        os.close(writable)


def _memfd() -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    with contextlib.suppress(OSError):  # EINVAL from a kernel that does not know the flag
        return os.memfd_create("eve-meta", flags | MFD_NOEXEC_SEAL)
    return os.memfd_create("eve-meta", flags)


def _open(descriptor: int) -> int:
    return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)


# -- descriptors from one process to another --


def descriptor_pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets: the first one sends descriptors, the second one receives them."""
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sender.setblocking(False)
    sender.shutdown(socket.SHUT_RD)  # the kernel refuses whatever the other process sends
    return sender, receiver


def send(sender: socket.socket, number: int, memory: SealedMemory) -> bool:
    """Send a new descriptor of *memory* under *number*.

    :return: False where there is no room until the receiver has taken others.
    :raises OSError: where the receiver is gone, or no descriptor is left to this process.
    """
    descriptor = memory.open_again()
    try:
        socket.send_fds(sender, [_NUMBER.pack(number)], [descriptor])
    except OSError as error:
        if error.errno in _NO_ROOM:
            return False
        raise
    finally:
        os.close(descriptor)  # a descriptor on its way has a reference of its own
    return True


def receive(receiver: socket.socket, number: int, size: int) -> SealedMemory:
    """Return the memory of *size* bytes that was sent under *number*.

    :raises ValueError: where it is not the next one, has not arrived yet, or is not sealed; or where no descriptor is
        left to this process.
    """
    memory = SealedMemory(_receive_descriptor(receiver, number))
    if not memory.is_sealed(size):
        raise ValueError(f"expected sealed memory of {size} bytes, got something else")
    return memory


def _receive_descriptor(receiver: socket.socket, number: int) -> int:
    try:
        # Not by socket.recv_fds(), which forgets its flags (Python 3.11).
        data, control, _, _ = receiver.recvmsg(
            _NUMBER.size, socket.CMSG_SPACE(_DESCRIPTOR.size), socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
        )
    except BlockingIOError:
        raise ValueError(f"expected descriptor {number}, got none") from None
    descriptors: list[int] = [fd for _, _, rights in control for (fd,) in _DESCRIPTOR.iter_unpack(rights)]
    if len(descriptors) != 1 or data != _NUMBER.pack(number):
        for descriptor in descriptors:
            os.close(descriptor)
        raise ValueError(f"expected descriptor {number}, got another, or no descriptor was left to this process")
    return descriptors[0]
