"""What a worker keeps when it is confined: the calls of its sockets beside those of every confined process."""

from __future__ import annotations

import socket

from eve_meta.runtime.sandbox.policy import Call, Policy, Where
from eve_meta.runtime.sandbox.syscalls import INTERPRETER, permit

MAX_OPEN_FILES = 2 * 65536
"""File descriptors of a worker, where the hard limit allows it: 32 connections for each of 2,000 taps at once, and as
many large contents (:mod:`eve_meta.runtime.sealed`)."""

MAX_MEMORY = 2 * 1024 * 1024 * 1024
"""Bytes of address space of a worker. One that has just started has 50 MiB, and 1,000 domains with 1 MiB of documents
each make it 1 GiB; the other half is for answers on their way. Where guests have more, ``[web] workers`` shares them
out."""

_SET = (
    # On the listening sockets (eve_meta.web.sockets).
    (socket.SOL_SOCKET, socket.SO_SNDBUF),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY),
    (socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT),
    # On a guest's connection: a reset, and answers that must not leave the guest.
    (socket.SOL_SOCKET, socket.SO_LINGER),
    (socket.IPPROTO_IP, socket.IP_TTL),
    (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
)
"""Socket options that a worker sets. Among those that it may not: any that attaches or detaches a program."""

_GET = (
    (socket.SOL_SOCKET, socket.SO_MARK),  # the tap of a connection
    (socket.SOL_SOCKET, socket.SO_ERROR),
    # What Python asks of a descriptor that becomes a socket object.
    (socket.SOL_SOCKET, socket.SO_DOMAIN),
    (socket.SOL_SOCKET, socket.SO_PROTOCOL),
    (socket.SOL_SOCKET, socket.SO_TYPE),
)

CALLS = (
    *INTERPRETER,
    # No socket(), bind() or connect(): a worker's connections are those that its listening sockets accept.
    *permit("accept", "accept4", "getpeername", "getsockname", "shutdown"),
    # recvmsg() also brings the descriptors of contents in sealed memory. The calls that read these (pread64(), fstat(),
    # and fcntl() for the seals) are every interpreter's.
    *permit("recv", "recvfrom", "recvmsg", "send", "sendmsg", "sendto", "sendfile", "sendfile64"),
    *(Call("setsockopt", (Where(1, level), Where(2, option))) for level, option in _SET),
    *(Call("getsockopt", (Where(1, level), Where(2, option))) for level, option in _GET),
)

WORKER = Policy(process="worker", calls=CALLS, open_files=MAX_OPEN_FILES, memory=MAX_MEMORY)
