"""What surrounds messages of rtnetlink(7), for who reads or writes them by hand."""

from __future__ import annotations

import struct
from collections.abc import Iterator

# linux/netlink.h, linux/rtnetlink.h
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWQDISC, RTM_DELQDISC = 36, 37
RTM_NEWTFILTER, RTM_DELTFILTER, RTM_GETTFILTER = 44, 45, 46
RTMGRP_LINK, RTMGRP_TC = 0x1, 0x8
SO_RCVBUFFORCE = 33

MESSAGE = struct.Struct("=IHHII")
"""``struct nlmsghdr``: length, type, flags, sequence, port."""

IFINDEX = struct.Struct("=4xi")
"""Where ``struct ifinfomsg`` and ``struct tcmsg`` alike have the number of the link, behind :data:`MESSAGE`."""


def messages(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(type, sequence, port of who asked for it, offset) of each message in *data*."""
    offset = 0
    while offset + MESSAGE.size <= len(data):
        length, kind, _flags, sequence, port = MESSAGE.unpack_from(data, offset)
        if length < MESSAGE.size:
            return
        yield kind, sequence, port, offset
        offset += (length + 3) & ~3
