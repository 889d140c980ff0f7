"""The framing of rtnetlink(7) messages, for modules that read or write them without pyroute2."""

from __future__ import annotations

import struct
from collections.abc import Iterator

# linux/netlink.h, linux/rtnetlink.h
NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE = 1, 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWQDISC, RTM_DELQDISC = 36, 37
RTM_NEWTFILTER, RTM_DELTFILTER, RTM_GETTFILTER = 44, 45, 46
RTMGRP_LINK, RTMGRP_TC = 0x1, 0x8
SO_RCVBUFFORCE = 33

MESSAGE = struct.Struct("=IHHII")
"""``struct nlmsghdr``: length, type, flags, sequence, port."""

IFINDEX = struct.Struct("=4xi")
"""The link's ifindex, behind :data:`MESSAGE`; its place is the same in ``struct ifinfomsg`` and ``struct tcmsg``."""


def messages(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield type, sequence, port and offset of each message in *data*; the port is that of the change's requester."""
    offset = 0
    while offset + MESSAGE.size <= len(data):
        length, kind, _flags, sequence, port = MESSAGE.unpack_from(data, offset)
        if length < MESSAGE.size:
            return
        yield kind, sequence, port, offset
        offset += (length + 3) & ~3
