"""A worker's sockets: what a connection inherits from its listener, its tap's tag, and how far its answers may travel.

*Inherited options*: what every accepted socket takes over from the listening one costs no connection a call of its own.

*The tag of the tap* comes from the kernel, as the mark of the socket, and from nothing that the guest sends.

*The hop limit*: a session token must not leave its guest: where a guest routes for others (containers, a careless NAT),
the answer dies at that router, as with AWS (``HttpPutResponseHopLimit``). On its path to the guest an answer is routed
only by the private namespace from which it leaves, which takes nothing off the hop limit.
"""

from __future__ import annotations

import socket

from eve_meta.values.tag import tag_of_mark

SEND_BUFFER = 64 * 1024
"""Bytes of an answer that the kernel takes off a connection's hands, by ``SO_SNDBUF``; the kernel doubles the number
for its bookkeeping. Left alone the buffer grows to 4 MiB (``net.ipv4.tcp_wmem``) for each connection of a guest that
does not read. To a guest on this host, 0.1 ms away, 64 KiB a turn are 5 Gbit/s."""

SILENT_TIME = 1
"""Seconds for which the kernel keeps a connection to itself whose guest has not sent anything (``TCP_DEFER_ACCEPT``,
tcp(7)). So nearly every connection has its request when it is accepted; without, three in ten are accepted too early
for that, and cost twice as much as the others (:mod:`eve_meta.web.accept`). A guest that keeps silent is accepted after
that time."""


def prepare(listener: socket.socket) -> None:
    """Set the options of *listener*, a TCP socket of this process or another, as :mod:`eve_meta.web.accept` needs them.

    Sockets accepted from now on inherit the first two options (Linux copies the listener's ``struct sock``).
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    # Otherwise the second of two small answers waits 40 ms for the guest's delayed acknowledgement of the first.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, SILENT_TIME)


def tag_of_socket(connection: socket.socket) -> int | None:
    """Return the tag that the accepted socket *connection* carries, or None when it came through no tap of ours.

    The kernel gave the mark of the first packet to the socket (``net.ipv4.tcp_fwmark_accept``, see
    ``inet_request_mark()`` in ``net/inet_sock.h``). To read it takes no privilege, to change it does, and no later
    packet can change it: the tap of a connection is decided once, when the connection is made.
    """
    return tag_of_mark(connection.getsockopt(socket.SOL_SOCKET, socket.SO_MARK))


def limit_hops(connection: socket.socket, hops: int) -> None:
    """Let all that *connection* still sends leave with *hops* as its IP TTL or IPv6 hop limit.

    TCP writes the socket's present value into each segment that it sends, the first time and again after a loss. So the
    value may not be restored while the guest may not have received everything, and an answer for which this is called
    is the last on its connection. An earlier answer that has not left yet goes no further than this one; only a guest
    that asks for a token without waiting for the answer before sees that.
    """
    if connection.family == socket.AF_INET6:
        connection.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
    else:
        connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
