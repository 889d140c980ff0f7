"""Who is asking: the tag of a connection's tap, told by the kernel and by nothing that the guest sends."""

from __future__ import annotations

import socket

from eve_meta.tag import tag_of_mark


def tag_of_socket(connection: socket.socket) -> int | None:
    """The tag that the accepted socket *connection* carries, or None when it came through no tap of ours.

    The kernel gave the mark of the first packet to the socket (``net.ipv4.tcp_fwmark_accept``, see
    ``inet_request_mark()`` in ``net/inet_sock.h``). Reading it needs no privilege, changing it does, and no later
    packet can change it: who asks is decided once, when the connection is made.
    """
    return tag_of_mark(connection.getsockopt(socket.SOL_SOCKET, socket.SO_MARK))
