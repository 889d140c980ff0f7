"""Which links there are, told as they come and go.

One netlink socket, read by the reactor. A resync asks for a dump of all links on that same socket: its answers are
links like any others, and what a finished dump did not name is gone. So start-up, events and the recovery from lost
messages are one code, and none of it blocks the reactor.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable

from attrs import frozen
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from eve_meta.steering.taps.rtnetlink import (
    IFINDEX,
    MESSAGE,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_DONE,
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

# linux/if_link.h, linux/netlink.h, linux/rtnetlink.h, linux/if_arp.h, linux/if.h
IFLA_IFNAME, IFLA_LINKINFO, IFLA_INFO_KIND, IFLA_CARRIER_DOWN_COUNT = 3, 18, 1, 48
IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS = 29, 8
NLA_TYPE_MASK = 0x3FFF
ARPHRD_ETHER = 1
IFF_LOWER_UP = 0x10000

LINK = struct.Struct("=BxHiI4x")
ATTRIBUTE = struct.Struct("=HH")
COUNT = struct.Struct("=I")
LINK_REQUEST = struct.Struct("=BxHiIIHHI")

RECEIVE_BUFFER = 8 * 1024 * 1024
"""Bytes of messages that may wait while the reactor is busy: some 5,000 links' worth."""

RECEIVE_SIZE = 128 * 1024
"""Bytes asked for at once; the kernel sends dumps in pieces of 32 KiB at most (netlink_dump())."""


@frozen
class Link:
    """A network device of the host.

    :ivar carrier: whether its other end, say a QEMU process, is there.
    :ivar losses: how often that went. Of one that came back while messages were lost, nothing else tells.
    """

    ifindex: int
    name: str
    kind: str | None
    ethernet: bool
    carrier: bool
    losses: int


@implementer(IReadDescriptor)
class LinkMonitor:
    """Tells of every link, first and again when it changes, and of those that are gone.

    :param changed: called with a :class:`Link` that is there, often with nothing new in it.
    :param gone: called with the ifindex of a link that is no more.
    :param filter_lost: called with the ifindex of a link from which somebody took a qdisc or filter.
    :param qdisc_added: called with the ifindex of a link to which somebody added a qdisc.
    :param synced: called whenever a dump is complete.
    :param ours: the netlink port of who adds qdiscs for us; of those there is nothing to tell.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorFDSet,
        *,
        changed: Callable[[Link], None],
        gone: Callable[[int], None],
        filter_lost: Callable[[int], None],
        qdisc_added: Callable[[int], None],
        synced: Callable[[], None],
        ours: int,
    ) -> None:
        self._reactor = reactor
        self._changed = changed
        self._gone = gone
        self._filter_lost = filter_lost
        self._qdisc_added = qdisc_added
        self._synced = synced
        self._ours = ours
        self._known: set[int] = set()
        self._dumped: set[int] | None = None
        self._again = False
        self._sequence = 0
        self.overruns = 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        self._socket.setblocking(False)
        self._socket.bind((0, RTMGRP_LINK | RTMGRP_TC))

    def start(self) -> None:
        self._reactor.addReader(self)
        self.resync()

    def stop(self) -> None:
        self._reactor.removeReader(self)
        self._socket.close()

    def resync(self) -> None:
        """Asks for all links anew."""
        if self._dumped is not None:
            # The kernel runs one dump a socket at a time (EBUSY); what this one has passed may have changed since.
            self._again = True
            return
        self._dumped = set()
        self._sequence += 1
        request = LINK_REQUEST.pack(0, 0, 0, 0, 0, 8, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
        size = MESSAGE.size + len(request)
        self._socket.send(MESSAGE.pack(size, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, self._sequence, 0) + request)

    # -- IReadDescriptor --

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "links"

    def connectionLost(self, reason: object) -> None:
        """Nothing: a netlink socket has nobody at its other end that could go."""

    def doRead(self) -> None:
        # One message buffer a turn, so that thousands of links do not keep the reactor from everything else.
        try:
            data = self._socket.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            # netlink(7): messages were lost, and nobody can say which.
            self.overruns += 1
            self._log.warn("netlink messages were lost; asking for all links anew")
            self.resync()
            return
        for kind, sequence, port, offset in messages(data):
            try:
                self._message(kind, sequence, port, data, offset)
            except Exception:
                # What escaped from here would make the reactor drop this socket, and no tap be heard of any more.
                self._log.failure("a change of a link was not dealt with")

    def _message(self, kind: int, sequence: int, port: int, data: bytes, offset: int) -> None:
        if kind in (RTM_NEWLINK, RTM_DELLINK) and data[offset + MESSAGE.size] != socket.AF_UNSPEC:
            # A bridge tells of its ports in messages of these types and of family AF_BRIDGE: "gone" is then from the
            # bridge, not from the host (br_ifinfo_notify()).
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
        elif kind == RTM_NEWQDISC and port != self._ours:
            self._qdisc_added(IFINDEX.unpack_from(data, offset + MESSAGE.size)[0])
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
    """The link that the RTM_NEWLINK or RTM_DELLINK at *offset* of *data* tells of.

    Not by pyroute2, which takes 1.7 ms for one: it decodes all that there is to say of a link. A tap that comes and
    goes makes twelve messages, and where a hundred do so in a second the daemon would fall behind for good.
    """
    length, *_ = MESSAGE.unpack_from(data, offset)
    start = offset + MESSAGE.size
    _family, device, ifindex, flags = LINK.unpack_from(data, start)
    found = _attributes(data, start + LINK.size, offset + length)
    info = found.get(IFLA_LINKINFO, b"")
    kind = _attributes(info, 0, len(info)).get(IFLA_INFO_KIND)
    return Link(
        ifindex=ifindex,
        # The kernel takes any bytes but "/", ":" and white space.
        name=_text(found[IFLA_IFNAME]),
        kind=None if kind is None else _text(kind),
        ethernet=device == ARPHRD_ETHER,
        carrier=bool(flags & IFF_LOWER_UP),
        losses=COUNT.unpack(found[IFLA_CARRIER_DOWN_COUNT])[0] if IFLA_CARRIER_DOWN_COUNT in found else 0,
    )


def _attributes(data: bytes, offset: int, end: int) -> dict[int, bytes]:
    """The attributes (struct nlattr) of *data* from *offset* to *end*, by type."""
    found = {}
    while offset + ATTRIBUTE.size <= end:
        length, kind = ATTRIBUTE.unpack_from(data, offset)
        if length < ATTRIBUTE.size:
            break
        found[kind & NLA_TYPE_MASK] = data[offset + ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="surrogateescape")


def link_of(message: ifinfmsg) -> Link:
    """The link that *message*, which pyroute2 has decoded, tells of: as :func:`read_link` for who asks but once."""
    name = message.get_attr("IFLA_IFNAME")
    return Link(
        ifindex=message["index"],
        # The kernel takes any bytes but "/", ":" and white space; pyroute2 leaves bytes that are no UTF-8 as they are.
        name=name.decode(errors="surrogateescape") if isinstance(name, bytes) else name,
        kind=message.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND"),
        ethernet=message["ifi_type"] == ARPHRD_ETHER,
        carrier=bool(message["flags"] & IFF_LOWER_UP),
        losses=message.get_attr("IFLA_CARRIER_DOWN_COUNT", 0),
    )
