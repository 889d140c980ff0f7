"""The listening socket's part: what every accepted socket inherits from it, so that no connection costs a call for
it."""

from __future__ import annotations

import socket

SEND_BUFFER = 64 * 1024
"""Bytes of an answer that the kernel takes off our hands, by ``SO_SNDBUF``; it doubles the number for its bookkeeping.
Left alone it grows to 4 MiB (``net.ipv4.tcp_wmem``) for each connection of a guest that does not read. To a guest on
this host, 0.1 ms away, 64 KiB a turn are 5 Gbit/s."""

SILENT_TIME = 1
"""Seconds for which the kernel keeps a connection to itself whose guest has not sent anything (``TCP_DEFER_ACCEPT``,
tcp(7)). So nearly every one has its request when it is accepted; without, three in ten come too early for that, and
cost twice as much as the others (:mod:`eve_meta.web.accept`). A guest that keeps silent is heard of after that time."""


def prepare(listener: socket.socket) -> None:
    """Set *listener*, a TCP socket of this process or another, up for a :class:`~eve_meta.web.site.Site`.

    Sockets accepted from now on inherit the first two options (Linux copies the listener's ``struct sock``).
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    # Or the second of two small answers waits 40 ms for the guest's delayed acknowledgement of the first.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, SILENT_TIME)
