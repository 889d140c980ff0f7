"""Memory that another process can read and nobody can change."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eve_meta.runtime.sealed import SealedMemory, descriptor_pair, receive, seal, send

DATA = bytes(range(256)) * 1024

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    sender, receiver = descriptor_pair()
    with sender, receiver:
        yield sender, receiver


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_bytes_are_read_from_any_place() -> None:
    memory = seal(DATA)
    assert memory.read(0, len(DATA)) == DATA
    assert memory.read(300, 7) == DATA[300:307]
    assert memory.read(len(DATA) - 3, 100) == DATA[-3:]


REOPENED = errno.EPERM if os.geteuid() == 0 else errno.EACCES
"""The seals keep root from writing, and the mode of the memory everybody else."""


@pytest.mark.parametrize(
    ("attempt", "error"),
    [
        (lambda fd: os.write(fd, b"x"), errno.EBADF),
        (lambda fd: os.pwrite(fd, b"x", 0), errno.EBADF),
        (lambda fd: os.ftruncate(fd, 0), errno.EINVAL),
        (lambda fd: mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE), errno.EACCES),
        (lambda fd: fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW), errno.EPERM),
        (lambda fd: os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_TRUNC), REOPENED),
        (lambda fd: os.write(os.open(f"/proc/self/fd/{fd}", os.O_RDWR), b"x"), REOPENED),
    ],
    ids=["write", "pwrite", "truncate", "map", "seal", "reopen and truncate", "reopen and write"],
)
def test_no_holder_can_change_the_bytes(pair: Pair, attempt: Callable[[int], object], error: int) -> None:
    memory = seal(DATA)
    send(pair[0], 1, memory)
    received = receive(pair[1], 1, len(DATA))
    with pytest.raises(OSError, match=rf"Errno {error}\b"):
        attempt(received._descriptor)
    assert memory.read(0, len(DATA)) == DATA


def test_the_receiver_shares_neither_a_position_nor_flags_with_the_sender(pair: Pair) -> None:
    memory = seal(DATA)
    send(pair[0], 1, memory)
    received = receive(pair[1], 1, len(DATA))
    os.lseek(received._descriptor, 100, os.SEEK_SET)
    fcntl.fcntl(received._descriptor, fcntl.F_SETFL, os.O_NONBLOCK)
    assert os.lseek(memory._descriptor, 0, os.SEEK_CUR) == 0
    assert not fcntl.fcntl(memory._descriptor, fcntl.F_GETFL) & os.O_NONBLOCK


def test_the_memory_goes_with_its_last_holder(pair: Pair) -> None:
    before = open_descriptors()
    memory = seal(DATA)
    send(pair[0], 1, memory)
    received = receive(pair[1], 1, len(DATA))
    assert open_descriptors() == before + 2
    del memory
    assert received.read(0, 3) == DATA[:3]
    del received
    assert open_descriptors() == before


def test_many_arrive_in_order_and_the_sender_is_told_when_there_is_no_room(pair: Pair) -> None:
    memories = [seal(b"%d" % number) for number in range(1000)]
    sent = received = 0
    while received < len(memories):
        while sent < len(memories) and send(pair[0], sent, memories[sent]):
            sent += 1
        assert sent > received
        for number in range(received, sent):
            size = len(b"%d" % number)
            assert receive(pair[1], number, size).read(0, size) == b"%d" % number
        received = sent


@pytest.mark.parametrize(("number", "size"), [(2, len(DATA)), (1, len(DATA) - 1)])
def test_what_is_not_what_was_announced_is_refused(pair: Pair, number: int, size: int) -> None:
    before = open_descriptors()
    send(pair[0], 1, seal(DATA))
    with pytest.raises(ValueError, match="expected"):
        receive(pair[1], number, size)
    with pytest.raises(ValueError, match="expected descriptor 3, got none"):
        receive(pair[1], 3, size)
    assert open_descriptors() == before


def test_memory_that_somebody_could_still_change_is_refused(pair: Pair) -> None:
    unsealed = SealedMemory(os.memfd_create("test", os.MFD_ALLOW_SEALING))
    os.write(unsealed._descriptor, DATA)
    send(pair[0], 1, unsealed)
    with pytest.raises(ValueError, match="expected sealed memory"):
        receive(pair[1], 1, len(DATA))


def test_a_descriptor_for_which_the_receiver_has_no_room_is_missed(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel then delivers the bytes alone (MSG_CTRUNC)."""
    pair[0].send((1).to_bytes(8, "big"))
    with pytest.raises(ValueError, match="expected descriptor 1"):
        receive(pair[1], 1, len(DATA))


def test_the_receiver_can_send_nothing(pair: Pair) -> None:
    with pytest.raises(BrokenPipeError):
        pair[1].send(b"x")
