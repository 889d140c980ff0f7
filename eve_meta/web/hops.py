"""How far an answer may travel.

A session token must not leave its guest: where a guest routes for others (containers, a careless NAT), its answer dies
at that router, as AWS has it (``HttpPutResponseHopLimit``). On its way to the guest it is routed only by the private
namespace that it leaves from, which takes nothing off the number.
"""

from __future__ import annotations

import socket


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
