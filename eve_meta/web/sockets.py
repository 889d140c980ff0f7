"""A worker's sockets: what a connection inherits from its listener, whose it is, and how far its answers may travel."""

from __future__ import annotations

import socket

from eve_meta.values.tag import tag_of_mark

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


def tag_of_socket(connection: socket.socket) -> int | None:
    """The tag that the accepted socket *connection* carries, or None when it came through no tap of ours.

    The kernel gave the mark of the first packet to the socket (``net.ipv4.tcp_fwmark_accept``, see
    ``inet_request_mark()`` in ``net/inet_sock.h``). Reading it needs no privilege, changing it does, and no later
    packet can change it: who asks is decided once, when the connection is made.
    """
    return tag_of_mark(connection.getsockopt(socket.SOL_SOCKET, socket.SO_MARK))


def limit_hops(connection: socket.socket, hops: int) -> None:
    """Let all that *connection* still sends leave with *hops* as its IP TTL or IPv6 hop limit.

    TCP writes the socket's present value into each segment that it sends, the first time and again after a loss. So the
    value may not be put back while the guest may not have everything; an answer for which this is called is the last
    one on its connection. An earlier one that has not left yet goes no further than it; only a guest that asks for a
    token without waiting for the answer before sees that.
    """
    if connection.family == socket.AF_INET6:
        connection.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
    else:
        connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
