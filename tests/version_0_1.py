"""The sockets and rules that a daemon of version 0.1 leaves to its successor: all workers listened at one port."""

from __future__ import annotations

import ctypes
import socket
import struct

from harness.namespace import Namespace

PORT = 8775

RULES = """\
*raw
-A PREROUTING -i meta0 -j CT --zone-orig mark
COMMIT
*nat
-A PREROUTING -i meta0 -p tcp -d 169.254.169.254 --dport 80 -j DNAT --to-destination 127.0.0.1:8775
COMMIT
"""
"""The rules for IPv4."""

SO_LOCK_FILTER, SO_ATTACH_REUSEPORT_CBPF = 44, 51
LOAD_WORD, AND, MODULO, RETURN_A = 0x20, 0x54, 0x94, 0x16
SKF_AD_MARK = 0x1_0000_0000 - 0x1000 + 20


def sockets(namespace: Namespace, workers: int) -> list[socket.socket]:
    """Return the sockets, in the order in which that daemon kept them."""
    made = []
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "fd00:a9fe::1")):
        group = [namespace.open_socket(family, socket.SOCK_STREAM) for _ in range(workers)]
        for each in group:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if workers > 1:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if workers > 1:
            _attach_choice(group[0], workers)
        for each in group:
            each.bind((address, PORT))
            each.listen(4096)
            each.setsockopt(socket.SOL_SOCKET, SO_LOCK_FILTER, 1)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made += group
    return made


def _attach_choice(first: socket.socket, workers: int) -> None:
    """Have the kernel choose among the sockets by the tag in the mark, modulo *workers*."""
    instructions = ((LOAD_WORD, SKF_AD_MARK), (AND, 0xFFFF), (MODULO, workers), (RETURN_A, 0))
    code = ctypes.create_string_buffer(
        b"".join(struct.pack("=HBBI", code, 0, 0, value) for code, value in instructions)
    )
    first.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, struct.pack("@HP", len(instructions), ctypes.addressof(code))
    )
