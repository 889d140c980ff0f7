"""Notices that somebody else took away or changed a piece of the path, and gives it back.

The kernel tells of links, addresses, routes, policy rules and filters within the private namespace, and nf_tables of
iptables' rules; :class:`~eve_meta.steering.taps.links.LinkMonitor` hears of the veth pair's end on the host. Nobody
tells of pins, of the namespace's name, of sysctls and of legacy iptables' rules: these are looked at every
:data:`PERIOD`. Whatever it was, the whole path is looked at then, and mended where a piece is missing; so what we
change ourselves leads to one look more.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable, Mapping, Sequence

from attrs import frozen
from pyroute2.netlink.exceptions import NetlinkError
from twisted.internet.interfaces import (
    IDelayedCall,
    IReactorFDSet,
    IReactorThreads,
    IReactorTime,
    IReadDescriptor,
)
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from eve_meta.steering.bpf.pins import Pins
from eve_meta.steering.path.iptables import LegacyTables
from eve_meta.steering.path.namespace import PrivateNamespace
from eve_meta.values.problem import Problem

PERIOD = 2.0
"""Seconds between looks at what nobody tells of; one costs some 0.2 ms."""

SETTLE = 0.2
"""Seconds from a message to the look, for whoever makes several changes: restarts a firewall, say."""

NETLINK_NETFILTER = 12
NFNLGRP_NFTABLES = 7
RTNLGRP_LINK, RTNLGRP_TC, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV4_RULE = 1, 4, 7, 8
RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV6_RULE = 9, 11, 19
GROUPS = {
    socket.NETLINK_ROUTE: (
        *(RTNLGRP_LINK, RTNLGRP_TC, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV4_RULE),
        *(RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV6_RULE),
    ),
    NETLINK_NETFILTER: (NFNLGRP_NFTABLES,),
}
"""By netlink protocol, what to hear of (linux/rtnetlink.h, linux/netfilter/nfnetlink.h)."""

RECEIVE_SIZE = 128 * 1024


class GuardReactor(IReactorFDSet, IReactorTime, IReactorThreads):
    """What the guard needs of the reactor."""


@frozen
class Restored:
    """What was missing and is back, by part of the path.

    :ivar missing: as :meth:`eve_meta.steering.path.inspection.Inspection.missing` names it.
    :ivar host_ifindex: of the veth pair's end on the host, which may be another one now.
    """

    missing: Mapping[str, Sequence[str]]
    host_ifindex: int


class PathGuard:
    """Looks after the path that *namespace* and *pins* are.

    :param mended: called when something was missing and is back.
    :param failed: called with what is the matter when it could not be; it is tried again every :data:`PERIOD`.
    :param whole: called when a look found nothing missing.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: GuardReactor,
        namespace: PrivateNamespace,
        pins: Pins,
        *,
        mended: Callable[[Restored], None],
        failed: Callable[[str], None],
        whole: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._namespace = namespace
        self._pins = pins
        self._mended = mended
        self._failed = failed
        self._whole = whole
        self._soon: IDelayedCall | None = None
        self._looking = False
        self._again = False
        self._broken = False
        self._stopped = False
        self._close = contextlib.ExitStack()
        self._looping = LoopingCall(self._glance)
        self._looping.clock = reactor

    def start(self) -> None:
        """Begins to listen and to look.

        :raises OSError: when the kernel gives no netlink socket.
        """
        with contextlib.ExitStack() as undo:
            with self._namespace.entered():
                for protocol, groups in GROUPS.items():
                    try:
                        undo.callback(_NetlinkListener(self._reactor, protocol, groups, self.suspect).close)
                    except OSError as error:
                        # A kernel without nfnetlink has legacy iptables alone.
                        if error.errno != errno.EPROTONOSUPPORT:
                            raise
                self._legacy = LegacyTables(ipv6=self._namespace.ipv6)
            undo.callback(self._legacy.close)
            self._shape: tuple[bytes, ...] | None = self._legacy.shape()
            self._close = undo.pop_all()
        self._looping.start(PERIOD, now=False)

    def stop(self) -> None:
        """Ends all of that. A look that is under way ends by itself, and says nothing any more."""
        self._stopped = True
        if self._looping.running:
            self._looping.stop()
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        self._close.close()

    def suspect(self) -> None:
        """Something may be missing: look, soon."""
        if self._soon is None and not self._stopped:
            self._soon = self._reactor.callLater(SETTLE, self._look)

    def _glance(self) -> None:
        """Looks at what nobody tells of. This is what the daemon does at rest, so it starts no process."""
        try:
            good = (
                not self._broken
                and not self._pins.missing()
                and self._namespace.is_named()
                and not any(self._namespace.changed_sysctls())
                and self._legacy.shape() == self._shape
            )
        except (OSError, Problem):
            good = False
        if not good:
            self.suspect()

    def _look(self) -> None:
        self._soon = None
        if self._looking:
            self._again = True
            return
        self._looking = True
        shape = None
        with contextlib.suppress(OSError):
            shape = self._legacy.shape()
        # In a thread: iptables waits for a lock that other programs may hold for seconds.
        looked = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._mend)
        looked.addCallbacks(self._done, self._not_done, callbackArgs=(shape,)).addErrback(
            lambda failure: self._log.failure("what was mended was not dealt with", failure)
        )

    def _mend(self) -> Restored | None:
        # Only now: it takes memory and is seldom needed.
        from eve_meta.steering.path.inspection import inspect

        missing = inspect(self._namespace, self._pins, ()).missing()
        if not missing:
            return None
        self._pins.restore()  # first: the namespace's filters are those that are pinned
        return Restored(missing, self._namespace.ensure())

    def _done(self, mended: Restored | None, shape: tuple[bytes, ...] | None) -> None:
        if self._ended():
            return
        self._broken = False
        if mended is None:
            self._shape = shape  # of before the look, that no change after it goes unnoticed
        else:
            self._mended(mended)
        self._whole()

    def _not_done(self, failure: Failure) -> None:
        if self._ended():
            return
        self._broken = True
        if not isinstance(failure.value, Problem | OSError | NetlinkError):
            self._log.failure("the way to the metadata service could not be looked at", failure)
        self._failed(str(failure.value))

    def _ended(self) -> bool:
        """Takes note that a look ended; whether it is nobody's any more."""
        self._looking = False
        if self._stopped:
            return True
        if self._again:
            self._again = False
            self.suspect()
        return False


@implementer(IReadDescriptor)
class _NetlinkListener:
    """A netlink socket of the namespace that the calling thread is in; *heard* is called for whatever it tells."""

    def __init__(self, reactor: IReactorFDSet, protocol: int, groups: Sequence[int], heard: Callable[[], None]) -> None:
        self._reactor = reactor
        self._heard = heard
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.setblocking(False)
        self._socket.bind((0, sum(1 << group - 1 for group in groups)))
        reactor.addReader(self)

    def close(self) -> None:
        self._reactor.removeReader(self)
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "guard"

    def connectionLost(self, reason: object) -> None:
        """Nothing: a netlink socket has nobody at its other end that could go."""

    def doRead(self) -> None:
        # ENOBUFS, too, says that something changed.
        with contextlib.suppress(OSError):
            self._socket.recv(RECEIVE_SIZE)
        self._heard()
