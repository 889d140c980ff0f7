"""Which worker's socket receives a guest's connection: the kernel chooses by the tag, where there are several workers.

All workers' sockets are bound to one address (``SO_REUSEPORT``), and a classic BPF program of four instructions chooses
among them by number, in the order in which they began to listen (``reuseport_select_sock()`` in
``net/core/sock_reuseport.c``). So all connections of a tap come to one worker: the worker's limits hold however many
workers there are, one guest's flood takes the time of one worker, and a worker knows only its own guests' documents.
"""

from __future__ import annotations

import ctypes
import socket
import struct

from eve_meta.values.tag import MAX_TAG

SO_ATTACH_REUSEPORT_CBPF = 51
"""Of Linux's ``asm-generic/socket.h``, since 4.5; Python has no name for it."""

# linux/filter.h, linux/bpf_common.h
LOAD_WORD, AND, MODULO, RETURN_A = 0x20, 0x54, 0x94, 0x16
SKF_AD_MARK = 0x1_0000_0000 - 0x1000 + 20
"""Where a classic program finds ``skb->mark``: SKF_AD_OFF + SKF_AD_MARK."""

INSTRUCTION = struct.Struct("=HBBI")
"""``struct sock_filter``: operation, two jumps, operand."""


def attach_worker_choice(first: socket.socket, workers: int) -> None:
    """Make the kernel choose among the sockets of *workers* workers by :func:`eve_meta.values.tag.worker_of_tag`.

    :param first: the first of these sockets, not bound yet, so that the program is there before any of them can be
        reached.
    :raises OSError: when the kernel refuses the program.
    """
    instructions = ((LOAD_WORD, SKF_AD_MARK), (AND, MAX_TAG), (MODULO, workers), (RETURN_A, 0))
    code = ctypes.create_string_buffer(
        b"".join(INSTRUCTION.pack(operation, 0, 0, operand) for operation, operand in instructions)
    )
    program = struct.pack("@HP", len(instructions), ctypes.addressof(code))  # struct sock_fprog
    first.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, program)
