"""The kernel's notifications of links and filters, with their times."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

from attrs import field, frozen

from eve_meta.steering.taps.rtnetlink import (
    IFINDEX,
    MESSAGE,
    RTM_NEWLINK,
    RTM_NEWTFILTER,
    RTMGRP_LINK,
    RTMGRP_TC,
    SO_RCVBUFFORCE,
    messages,
)
from harness.namespace import Namespace


@frozen
class Watch:
    """When the kernel first announced each link, and the first filter on it.

    :ivar links: seconds of the monotonic clock by the link's index.
    :ivar filters: the same for the filters.
    """

    links: dict[int, float] = field(factory=dict)
    filters: dict[int, float] = field(factory=dict)

    def run(self, netlink: socket.socket) -> None:
        while True:
            data = netlink.recv(65536)
            now = time.monotonic()
            for kind, _, _, offset in messages(data):
                if kind in (RTM_NEWLINK, RTM_NEWTFILTER):
                    seen = self.links if kind == RTM_NEWLINK else self.filters
                    seen.setdefault(IFINDEX.unpack_from(data, offset + MESSAGE.size)[0], now)
                elif not kind:  # our own message, which ends the watch
                    return


@contextlib.contextmanager
def watching(where: Namespace) -> Iterator[Watch]:
    """Record the kernel's notifications in a thread of their own while the context lasts."""
    watch = Watch()
    with where.open_socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 * 1024 * 1024)
        netlink.bind((0, RTMGRP_LINK | RTMGRP_TC))
        address = netlink.getsockname()
        thread = threading.Thread(target=watch.run, args=(netlink,), daemon=True)
        thread.start()
        try:
            yield watch
        finally:
            with where.open_socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sender:
                sender.sendto(MESSAGE.pack(MESSAGE.size, 0, 0, 0, 0), address)
            thread.join(5)
