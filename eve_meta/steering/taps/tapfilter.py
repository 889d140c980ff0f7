"""The filter of taps: what :mod:`eve_meta.steering.path.filters` does, for thousands of links one after the other.

pyroute2 takes 1.5 ms for the two requests that attach the filter, nearly all of it in an event loop of its own; the
kernel takes a tenth of that. So pyroute2 writes each request once, and this module only changes the ifindex in it.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Iterator

from pyroute2 import IPBatch
from pyroute2.netlink.exceptions import NetlinkError

from eve_meta.steering.path.filters import ETH_P_ALL, GONE, INGRESS, filter_arguments
from eve_meta.steering.path.names import FILTER_HANDLE, FILTER_PRIORITY
from eve_meta.steering.taps.rtnetlink import (
    MESSAGE,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    RTM_GETTFILTER,
    RTM_NEWTFILTER,
    messages,
)

TCMSG = struct.Struct("=BxxxiIII")
"""``struct tcmsg``: family, link, handle, parent, info."""

ERROR = struct.Struct("=i")

RECEIVE_SIZE = 32 * 1024
"""Bytes of the largest piece of a dump (netlink_dump())."""


class TapFilter:
    """Attaches a program to the ingress of links, and detaches it.

    Make and use it in the links' network namespace.

    :param program: the program's file descriptor.
    :param name: the program's name, for ``tc filter show``.
    :ivar port: the netlink port that the kernel names as the origin of these changes.
    """

    def __init__(self, program: int, name: str) -> None:
        batch = IPBatch()
        self._add_qdisc = _written(batch, "add", "ingress")
        self._add = _written(batch, "replace-filter", "bpf", **filter_arguments(program, name))
        self._delete = _written(
            batch,
            "del-filter",
            "bpf",
            handle=FILTER_HANDLE,
            parent=INGRESS,
            prio=FILTER_PRIORITY,
            protocol=ETH_P_ALL,
        )
        self._delete_qdisc = _written(batch, "del", "ingress")
        self._sequence = 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self.port: int = self._socket.getsockname()[0]

    def close(self) -> None:
        self._socket.close()

    def attach(self, ifindex: int) -> None:
        """Attach the filter to a link, in place of a filter of ours that may be there, and add the qdisc it needs.

        :raises NetlinkError: when the kernel refuses.
        """
        qdisc_error, filter_error = self._do(ifindex, self._add_qdisc, self._add)
        for error in (0 if qdisc_error == errno.EEXIST else qdisc_error, filter_error):
            if error:
                raise NetlinkError(error)

    def detach(self, ifindex: int) -> None:
        """Detach the filter from a link, and delete the ``ingress`` qdisc unless it has filters of others.

        After a crash, nothing shows which program made an empty qdisc; without a filter it has no effect. A link that
        is gone by now has taken both along.

        :raises NetlinkError: when the kernel refuses.
        """
        self._unless_gone(ifindex, self._delete)
        if not self._filters(ifindex):
            # A clsact is not ours, and the kernel refuses to delete it by this name (EINVAL).
            self._unless_gone(ifindex, self._delete_qdisc)

    def is_attached(self, ifindex: int) -> bool:
        """Return whether the filter is on a link; False where the link is gone.

        :raises NetlinkError: when the kernel has no memory for an answer.
        """
        return (FILTER_PRIORITY, FILTER_HANDLE) in self._filters(ifindex)

    def _unless_gone(self, ifindex: int, request: bytearray) -> None:
        (error,) = self._do(ifindex, request)
        if error and error not in GONE:
            raise NetlinkError(error)

    def _do(self, ifindex: int, *requests: bytearray) -> list[int]:
        """Send *requests* about a link; return the kernel's error number for each, or 0."""
        sequences = []
        for request in requests:
            self._sequence += 1
            sequences.append(self._sequence)
            size, kind, flags, _, _ = MESSAGE.unpack_from(request)
            MESSAGE.pack_into(request, 0, size, kind, flags, self._sequence, 0)
            ERROR.pack_into(request, MESSAGE.size + 4, ifindex)
        with _as_netlink_errors():
            # The kernel carries all of them out, and answers, before this returns (netlink_rcv_skb()).
            self._socket.send(b"".join(requests))
            return [self._answer(sequence) for sequence in sequences]

    def _answer(self, sequence: int) -> int:
        while True:
            data = self._socket.recv(RECEIVE_SIZE)
            # Answers to earlier requests, left unread when one of those failed, are skipped.
            if MESSAGE.unpack_from(data)[3] == sequence:
                return -int(ERROR.unpack_from(data, MESSAGE.size)[0])

    def _filters(self, ifindex: int) -> set[tuple[int, int]]:
        """Return priority and handle of each filter on a link's ingress; none where the link or the qdisc is gone."""
        self._sequence += 1
        size = MESSAGE.size + TCMSG.size
        head = MESSAGE.pack(size, RTM_GETTFILTER, NLM_F_REQUEST | NLM_F_DUMP, self._sequence, 0)
        filters: set[tuple[int, int]] = set()
        with _as_netlink_errors():
            self._socket.send(head + TCMSG.pack(0, ifindex, 0, INGRESS, 0))
            while True:
                data = self._socket.recv(RECEIVE_SIZE)
                for kind, sequence, _, offset in messages(data):
                    if sequence != self._sequence:
                        continue
                    if kind in (NLMSG_DONE, NLMSG_ERROR):
                        return filters
                    if kind == RTM_NEWTFILTER:
                        _, _, handle, _, info = TCMSG.unpack_from(data, offset + MESSAGE.size)
                        # A dump also names the priority of each chain, in a message without a handle.
                        if handle:
                            filters.add((info >> 16, handle))


@contextlib.contextmanager
def _as_netlink_errors() -> Iterator[None]:
    """Raise NetlinkError when the kernel has no memory for a request or its answer (ENOBUFS): an error like others."""
    try:
        yield
    except OSError as error:
        raise NetlinkError(error.errno, error.strerror) from None


def _written(batch: IPBatch, *arguments: object, **more: object) -> bytearray:
    """Return the request that pyroute2 makes of these arguments, for the link with ifindex 1."""
    batch.reset()
    batch.tc(*arguments, 1, **more)
    return bytearray(batch.batch)
