"""The links of this network namespace, without netlink: what a command can see where no daemon tells it."""

from __future__ import annotations

import fcntl
import socket
import struct

from eve_meta.explain.facts import LinkFacts

# linux/sockios.h, linux/if.h
SIOCGIFFLAGS = 0x8913
IFF_UP, IFF_RUNNING = 0x1, 0x40
IFREQ = struct.Struct("16sH22x")


def names() -> frozenset[str]:
    """The names of all links."""
    return frozenset(name for _, name in socket.if_nameindex())


def read_link(name: str) -> LinkFacts | None:
    """The link *name*; None where there is none. It does not say on which bridge the link is."""
    indices = {other: index for index, other in socket.if_nameindex()}
    if name not in indices:
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        try:
            said = fcntl.ioctl(any_socket, SIOCGIFFLAGS, IFREQ.pack(name.encode(errors="surrogateescape"), 0))
        except OSError:
            return None  # gone meanwhile
    _, flags = IFREQ.unpack(said)
    # Running is up and with carrier (dev_get_flags()); of one that is down nobody can say whether it has one.
    return LinkFacts(ifindex=indices[name], up=bool(flags & IFF_UP), carrier=bool(flags & IFF_RUNNING))
