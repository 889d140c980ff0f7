"""Reads the links of this network namespace without netlink, for commands where no daemon runs."""

from __future__ import annotations

import fcntl
import socket
import struct
from array import array

from eve_meta.explain.facts import LinkFacts

# linux/sockios.h, linux/if.h
SIOCGIFFLAGS = 0x8913
IFF_UP, IFF_RUNNING = 0x1, 0x40
IFREQ = struct.Struct("16sH22x")

# linux/ethtool.h
SIOCETHTOOL = 0x8946
ETHTOOL_GDRVINFO = 3
ETHTOOL_REQUEST = struct.Struct("16sP16x")
DRIVER_INFO = struct.Struct("=I32s160x")

_KINDS = {"macvlan": "macvtap", "ipvlan": "ipvtap"}
"""The kinds that matter here, by driver. A guest's NIC can only be the tap of the two."""


def names() -> frozenset[str]:
    """Return the names of all links."""
    return frozenset(name for _, name in socket.if_nameindex())


def read_link(name: str) -> LinkFacts | None:
    """Return the link *name*, without its bridge; None where there is no such link."""
    indices = {other: index for index, other in socket.if_nameindex()}
    if name not in indices:
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        try:
            answer = fcntl.ioctl(any_socket, SIOCGIFFLAGS, IFREQ.pack(name.encode(errors="surrogateescape"), 0))
        except OSError:
            return None  # the link is gone by now
        kind = _KINDS.get(_driver(any_socket, name), "")
    _, flags = IFREQ.unpack(answer)
    # A running link is up and has a carrier (dev_get_flags()). The flags of a link that is down show no carrier.
    return LinkFacts(ifindex=indices[name], up=bool(flags & IFF_UP), carrier=bool(flags & IFF_RUNNING), kind=kind)


def _driver(any_socket: socket.socket, name: str) -> str:
    """Return the driver of the link *name*, "" for none."""
    info = array("B", DRIVER_INFO.pack(ETHTOOL_GDRVINFO, b""))
    request = ETHTOOL_REQUEST.pack(name.encode(errors="surrogateescape"), info.buffer_info()[0])
    try:
        fcntl.ioctl(any_socket, SIOCETHTOOL, request)
    except OSError:
        return ""
    _, driver = DRIVER_INFO.unpack(info.tobytes())
    return str(driver.rstrip(b"\0").decode(errors="replace"))
