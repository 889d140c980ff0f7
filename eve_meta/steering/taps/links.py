"""The host's links: which exist, and when they come, change and go.

The reactor reads one netlink socket. A resync requests a dump of all links on that same socket: its messages are
treated as changes are, and a link that a finished dump did not name is gone. So start-up, changes and the recovery from
lost messages are one piece of code, and none of it blocks the reactor.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Callable
from typing import Protocol

from attrs import frozen
from pyroute2.netlink.rtnl.ifinfmsg import IFF_LOWER_UP, ifinfmsg
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from eve_meta.steering.taps.rtnetlink import (
    IFINDEX,
    MESSAGE,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSG_NOOP,
    RTM_DELLINK,
    RTM_DELQDISC,
    RTM_DELTFILTER,
    RTM_GETLINK,
    RTM_NEWLINK,
    RTM_NEWQDISC,
    RTMGRP_LINK,
    RTMGRP_TC,
    SO_RCVBUFFORCE,
    messages,
)

# linux/if_link.h, linux/netlink.h, linux/rtnetlink.h, linux/if_arp.h
IFLA_IFNAME, IFLA_LINKINFO, IFLA_INFO_KIND, IFLA_CARRIER_DOWN_COUNT = 3, 18, 1, 48
IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS = 29, 8
NLA_TYPE_MASK = 0x3FFF
ARPHRD_ETHER = 1

LINK = struct.Struct("=BxHiI4x")
ATTRIBUTE = struct.Struct("=HH")
COUNT = struct.Struct("=I")
LINK_REQUEST = struct.Struct("=BxHiIIHHI")

RECEIVE_BUFFER = 8 * 1024 * 1024
"""Bytes of messages that may wait while the reactor is busy: enough for some 5,000 links."""

CATCH_UP = 48
"""Messages that :meth:`LinkMonitor.catch_up` reads at most. One may bring a new tap, which takes two milliseconds."""

RECEIVE_SIZE = 128 * 1024
"""Bytes received at once; the kernel sends dumps in pieces of 32 KiB at most (netlink_dump())."""


@frozen
class Link:
    """A network device of the host.

    :ivar carrier: whether something, such as a QEMU process, holds its other end.
    :ivar losses: how often the link has lost its carrier. Nothing else shows that the carrier went and came back while
        messages were lost.
    """

    ifindex: int
    name: str
    kind: str | None
    ethernet: bool
    carrier: bool
    losses: int


class LinkSocket(Protocol):
    """The netlink socket on which the kernel reports changes of links, qdiscs and filters, and sends dumps of links."""

    def fileno(self) -> int: ...

    def send(self, request: bytes, /) -> int: ...

    def recv(self, size: int, /) -> bytes:
        """Return one or more messages; raise OSError (ENOBUFS) when the kernel had to drop some."""

    def close(self) -> None: ...


def link_socket() -> socket.socket:
    """Open a :class:`LinkSocket` in the network namespace of the calling thread.

    :raises OSError: when the kernel refuses; to set :data:`RECEIVE_BUFFER` takes root.
    """
    with contextlib.ExitStack() as undo:
        opened = undo.enter_context(
            socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
            )
        )
        opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        opened.bind((0, RTMGRP_LINK | RTMGRP_TC))
        undo.pop_all()
    return opened


@implementer(IReadDescriptor)
class LinkMonitor:
    """Reports every link at first, then each that changes or goes.

    :param links: the socket to read; the monitor closes it.
    :param changed: called with a :class:`Link` that exists, often without any difference to the last call.
    :param gone: called with the ifindex of a link that no longer exists.
    :param filter_lost: called with the ifindex of a link from which somebody deleted a qdisc or filter.
    :param qdisc_added: called with the ifindex of a link to which somebody added a qdisc.
    :param synced: called whenever a dump is complete.
    :param own_port: the netlink port through which the daemon itself adds qdiscs, which are not reported.
    :ivar overruns: how often the kernel had to drop messages.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorFDSet,
        links: LinkSocket,
        *,
        changed: Callable[[Link], None],
        gone: Callable[[int], None],
        filter_lost: Callable[[int], None],
        qdisc_added: Callable[[int], None],
        synced: Callable[[], None],
        own_port: int,
    ) -> None:
        self._reactor = reactor
        self._changed = changed
        self._gone = gone
        self._filter_lost = filter_lost
        self._qdisc_added = qdisc_added
        self._synced = synced
        self._own_port = own_port
        self._known: set[int] = set()
        self._dumped: set[int] | None = None
        self._again = False
        self._sequence = 0
        self._marker: tuple[int, float] | None = None  # the sequence number of the one under way, and when it was sent
        self._reported_until: float | None = None
        self.overruns = 0
        self._socket = links

    def start(self) -> None:
        self._reactor.addReader(self)
        self.resync()

    def stop(self) -> None:
        self._reactor.removeReader(self)
        self._socket.close()

    def resync(self) -> None:
        """Request a dump of all links."""
        self._marker = self._reported_until = None
        if self._dumped is not None:
            # The kernel runs one dump per socket at a time (EBUSY). Links that the running one has passed may have
            # changed since.
            self._again = True
            return
        self._dumped = set()
        self._sequence += 1
        request = LINK_REQUEST.pack(0, 0, 0, 0, 0, 8, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
        size = MESSAGE.size + len(request)
        self._socket.send(MESSAGE.pack(size, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, self._sequence, 0) + request)

    def catch_up(self, now: float) -> float | None:
        """Read the messages that wait, up to :data:`CATCH_UP` of them.

        The queue need not become empty, which it may never be where many taps come and go. A request that does nothing
        marks the place in it: the kernel's answer stands behind everything that it had reported until the request.

        :param now: the time, in seconds of a monotonic clock.
        :return: a time until which every change that the kernel had reported has been passed on; *now*, unless too many
            messages wait. None while messages were lost and the dump that replaces them is not complete. A dump is left
            to the reactor's turns, because one message of it has dozens of links.
        """
        if self._dumped is None and self._marker is None:
            self._send_marker(now)
        for _ in range(CATCH_UP):
            if self._dumped is not None or self._marker is None or not self._read():
                break
        return self._reported_until

    def _send_marker(self, now: float) -> None:
        self._sequence += 1
        self._marker = (self._sequence, now)
        # A control message with NLM_F_ACK is acknowledged and nothing else (netlink_rcv_skb()), before send() returns.
        self._socket.send(MESSAGE.pack(MESSAGE.size, NLMSG_NOOP, NLM_F_REQUEST | NLM_F_ACK, self._sequence, 0))

    # -- IReadDescriptor --

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "links"

    def connectionLost(self, reason: object) -> None:
        """Do nothing: a netlink socket has no peer that could go away."""

    def doRead(self) -> None:
        # One buffer per turn of the reactor, so that thousands of links do not keep it from everything else.
        self._read()

    def _read(self) -> bool:
        """Read one buffer of messages, and act on them; return False where none wait."""
        try:
            data = self._socket.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            # netlink(7): messages were lost, and nothing shows which.
            self.overruns += 1
            self._log.warn("netlink messages were lost; requesting all links again")
            self.resync()
            return True
        for kind, sequence, port, offset in messages(data):
            try:
                self._message(kind, sequence, port, data, offset)
            except Exception:
                # An exception that left this method would make the reactor drop the socket: no tap would be noticed
                # any more.
                self._log.failure("handling the change of a link failed")
        return True

    def _message(self, kind: int, sequence: int, port: int, data: bytes, offset: int) -> None:
        if kind in (RTM_NEWLINK, RTM_DELLINK) and data[offset + MESSAGE.size] != socket.AF_UNSPEC:
            # A bridge reports its ports in messages of these types and of family AF_BRIDGE. RTM_DELLINK then means that
            # the link left the bridge, not the host (br_ifinfo_notify()).
            return
        if kind == RTM_NEWLINK:
            link = read_link(data, offset)
            self._known.add(link.ifindex)
            if self._dumped is not None:
                self._dumped.add(link.ifindex)
            self._changed(link)
        elif kind == RTM_DELLINK:
            self._forget(read_link(data, offset).ifindex)
        elif kind in (RTM_DELQDISC, RTM_DELTFILTER):
            self._filter_lost(IFINDEX.unpack_from(data, offset + MESSAGE.size)[0])
        elif kind == RTM_NEWQDISC and port != self._own_port:
            self._qdisc_added(IFINDEX.unpack_from(data, offset + MESSAGE.size)[0])
        elif kind == NLMSG_ERROR and self._marker is not None and sequence == self._marker[0]:
            self._reported_until, self._marker = self._marker[1], None
        elif kind == NLMSG_DONE and self._dumped is not None and sequence == self._sequence:
            missing = self._known - self._dumped
            self._dumped = None
            for ifindex in missing:
                self._forget(ifindex)
            if self._again:
                self._again = False
                self.resync()
            else:
                self._synced()

    def _forget(self, ifindex: int) -> None:
        self._known.discard(ifindex)
        if self._dumped is not None:
            self._dumped.discard(ifindex)
        self._gone(ifindex)


def read_link(data: bytes, offset: int) -> Link:
    """Return the link that the RTM_NEWLINK or RTM_DELLINK at *offset* of *data* describes.

    Without pyroute2, which takes 1.7 ms per message, because it decodes every attribute. A tap that comes and goes
    makes twelve messages; with a hundred such taps a second the daemon would fall behind for good.
    """
    length, *_ = MESSAGE.unpack_from(data, offset)
    start = offset + MESSAGE.size
    _family, device, ifindex, flags = LINK.unpack_from(data, start)
    attributes = _attributes(data, start + LINK.size, offset + length)
    info = attributes.get(IFLA_LINKINFO, b"")
    kind = _attributes(info, 0, len(info)).get(IFLA_INFO_KIND)
    return Link(
        ifindex=ifindex,
        # The kernel allows any bytes but "/", ":" and white space.
        name=_text(attributes[IFLA_IFNAME]),
        kind=None if kind is None else _text(kind),
        ethernet=device == ARPHRD_ETHER,
        carrier=bool(flags & IFF_LOWER_UP),
        losses=COUNT.unpack(attributes[IFLA_CARRIER_DOWN_COUNT])[0] if IFLA_CARRIER_DOWN_COUNT in attributes else 0,
    )


def _attributes(data: bytes, offset: int, end: int) -> dict[int, bytes]:
    """Return the attributes (struct nlattr) of *data* from *offset* to *end*, by type."""
    attributes = {}
    while offset + ATTRIBUTE.size <= end:
        length, kind = ATTRIBUTE.unpack_from(data, offset)
        if length < ATTRIBUTE.size:
            break
        attributes[kind & NLA_TYPE_MASK] = data[offset + ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return attributes


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="surrogateescape")


def link_of(message: ifinfmsg) -> Link:
    """Return the link that *message*, decoded by pyroute2, describes; for code that reads links only once."""
    name = message.get_attr("IFLA_IFNAME")
    return Link(
        ifindex=message["index"],
        # The kernel allows any bytes but "/", ":" and white space; pyroute2 returns a name that is no UTF-8 as bytes.
        name=name.decode(errors="surrogateescape") if isinstance(name, bytes) else name,
        kind=message.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND"),
        ethernet=message["ifi_type"] == ARPHRD_ETHER,
        carrier=bool(message["flags"] & IFF_LOWER_UP),
        losses=message.get_attr("IFLA_CARRIER_DOWN_COUNT", 0),
    )
