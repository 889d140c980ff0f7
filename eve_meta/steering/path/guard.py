"""Notices when somebody else removes or changes a piece of the path, and restores it.

The kernel reports changes of links, addresses, routes, policy rules and filters within the private namespace, and
nf_tables those of iptables' rules; :class:`~eve_meta.steering.taps.links.LinkMonitor` reports those of the veth pair's
end on the host. Nothing reports changes of pins, the namespace's name, sysctls and legacy iptables' rules: the guard
checks these every :data:`PERIOD`. Whatever the sign of a change is, the guard then inspects the whole path, and
restores it where a piece is missing. So the guard's own changes lead to one more inspection.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from attrs import frozen
from pyroute2.netlink.exceptions import NetlinkError
from twisted.internet.defer import Deferred
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

from eve_meta.values.problem import Problem

if TYPE_CHECKING:
    from pathlib import Path

    from eve_meta.steering.path.inspection import Inspection

PERIOD = 2.0
"""Seconds between checks of the pieces whose changes nothing reports; one check costs some 0.2 ms."""

SETTLE = 0.2
"""Seconds from a notification to the inspection: the restart of a firewall, say, makes several changes."""

RECEIVE_SIZE = 128 * 1024


class GuardReactor(IReactorFDSet, IReactorTime, IReactorThreads):
    """The reactor, as the guard uses it."""


class NotificationSocket(Protocol):
    """A netlink socket on which the kernel reports changes."""

    def fileno(self) -> int: ...

    def recv(self, size: int, /) -> bytes:
        """Return a message; raise OSError (ENOBUFS) when the kernel had to drop some."""

    def close(self) -> None: ...


class LegacyRules(Protocol):
    """The rules of legacy iptables (:class:`eve_meta.steering.path.iptables.LegacyTables`)."""

    def shape(self) -> tuple[bytes, ...]:
        """Return a value that changes when rules do; raise OSError when the kernel refuses."""

    def close(self) -> None: ...


class GuardedNamespace(Protocol):
    """The private namespace (:class:`eve_meta.steering.path.namespace.PrivateNamespace`), as the guard uses it."""

    def is_named(self) -> bool: ...

    def changed_sysctls(self) -> Iterable[str]: ...

    def notification_sockets(self) -> Sequence[NotificationSocket]: ...

    def legacy_rules(self) -> LegacyRules: ...

    def ensure(self) -> int: ...


class GuardedPins(Protocol):
    """The pins (:class:`eve_meta.steering.bpf.pins.Pins`), as the guard uses them."""

    def missing(self) -> Sequence[Path]: ...

    def restore(self) -> None: ...


@frozen
class Restored:
    """The pieces that were missing and have been restored.

    :ivar missing: the pieces by part of the path, as :meth:`eve_meta.steering.path.inspection.Inspection.missing`
        returns them.
    :ivar host_ifindex: the ifindex of the veth pair's end on the host; it may have changed.
    """

    missing: Mapping[str, Sequence[str]]
    host_ifindex: int


class PathGuard:
    """Watches the path that consists of *namespace* and *pins*, and restores its missing pieces.

    :param inspect: inspects the path and the links of the names that it is given; called in a thread.
    :param restored: called when pieces were missing and have been restored.
    :param failed: called with the reason when they could not be restored; the guard tries again every :data:`PERIOD`.
    :param whole: called after each inspection after which the path is whole, restored or not.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: GuardReactor,
        namespace: GuardedNamespace,
        pins: GuardedPins,
        inspect: Callable[[Collection[str]], Inspection],
        *,
        restored: Callable[[Restored], None],
        failed: Callable[[str], None],
        whole: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._namespace = namespace
        self._pins = pins
        self._inspect = inspect
        self._restored = restored
        self._failed = failed
        self._whole = whole
        self._scheduled: IDelayedCall | None = None
        self._inspecting = False
        self._again = False
        self._broken = False
        self._stopped = False
        # Whoever waits for the end of an inspection: of one that has not begun yet, and of the one under way.
        self._waiting: list[Deferred[None]] = []
        self._waiting_now: list[Deferred[None]] = []
        self._close = contextlib.ExitStack()
        self._checking = LoopingCall(self._check)
        self._checking.clock = reactor

    def start(self) -> None:
        """Begin to listen and to check.

        :raises OSError: when the kernel gives no netlink socket.
        """
        with contextlib.ExitStack() as undo:
            for notifications in self._namespace.notification_sockets():
                undo.callback(_NetlinkListener(self._reactor, notifications, self.suspect).close)
            self._legacy_rules = self._namespace.legacy_rules()
            undo.callback(self._legacy_rules.close)
            self._shape: tuple[bytes, ...] | None = self._legacy_rules.shape()
            self._close = undo.pop_all()
        self._checking.start(PERIOD, now=False)

    def stop(self) -> None:
        """Stop listening and checking. An inspection under way ends by itself, and calls nobody any more."""
        self._stopped = True
        if self._checking.running:
            self._checking.stop()
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
        self._close.close()
        self._announce()
        self._waiting_now, self._waiting = self._waiting, []
        self._announce()

    def restore(self) -> Deferred[None]:
        """Inspect the path, and restore what is missing; the result comes when that has ended, whatever came of it."""
        ended: Deferred[None] = Deferred()
        if self._stopped:
            ended.callback(None)
        else:
            self._waiting.append(ended)
            self.suspect()
        return ended

    def suspect(self) -> None:
        """Inspect the path soon, because a piece may be missing."""
        if self._scheduled is None and not self._stopped:
            self._scheduled = self._reactor.callLater(SETTLE, self._begin_inspection)

    def _check(self) -> None:
        """Check the pieces whose changes nothing reports. An idle daemon does this, so it starts no process."""
        try:
            whole = (
                not self._broken
                and not self._pins.missing()
                and self._namespace.is_named()
                and not any(self._namespace.changed_sysctls())
                and self._legacy_rules.shape() == self._shape
            )
        except (OSError, Problem):
            whole = False
        if not whole:
            self.suspect()

    def _begin_inspection(self) -> None:
        self._scheduled = None
        if self._inspecting:
            self._again = True
            return
        self._inspecting = True
        self._waiting_now, self._waiting = self._waiting, []
        shape = None
        with contextlib.suppress(OSError):
            shape = self._legacy_rules.shape()
        # In a thread: iptables waits for a lock that other programs may hold for seconds.
        inspected = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._restore)
        inspected.addCallbacks(self._inspected, self._inspection_failed, callbackArgs=(shape,)).addErrback(
            lambda failure: self._log.failure("handling the result of an inspection of the path failed", failure)
        ).addCallback(lambda _: self._announce())

    def _announce(self) -> None:
        """Tell whoever waited for the inspection that has just ended."""
        waiting, self._waiting_now = self._waiting_now, []
        for each in waiting:
            each.callback(None)

    def _restore(self) -> Restored | None:
        """Restore what is missing; return None when nothing is. Runs in a thread."""
        missing = self._inspect(()).missing()
        if not missing:
            return None
        self._pins.restore()  # first: the namespace's filters are those that are pinned
        return Restored(missing, self._namespace.ensure())

    def _inspected(self, restored: Restored | None, shape: tuple[bytes, ...] | None) -> None:
        if not self._goes_on():
            return
        self._broken = False
        if restored is None:
            self._shape = shape  # as it was before the inspection, so that no change after it goes unnoticed
        else:
            self._restored(restored)
        self._whole()

    def _inspection_failed(self, failure: Failure) -> None:
        if not self._goes_on():
            return
        self._broken = True
        if not isinstance(failure.value, Problem | OSError | NetlinkError):
            self._log.failure("the path to the metadata service could not be inspected", failure)
        self._failed(str(failure.value))

    def _goes_on(self) -> bool:
        """Note that an inspection ended; return whether anybody still wants its result."""
        self._inspecting = False
        if self._stopped:
            return False
        if self._again:
            self._again = False
            self.suspect()
        return True


@implementer(IReadDescriptor)
class _NetlinkListener:
    """Calls *notified* for every message on a netlink socket, whatever the message holds."""

    def __init__(self, reactor: IReactorFDSet, notifications: NotificationSocket, notified: Callable[[], None]) -> None:
        self._reactor = reactor
        self._notified = notified
        self._socket = notifications
        reactor.addReader(self)

    def close(self) -> None:
        self._reactor.removeReader(self)
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "guard"

    def connectionLost(self, reason: object) -> None:
        """Do nothing: a netlink socket has no peer that could go away."""

    def doRead(self) -> None:
        # ENOBUFS means that messages were lost, and so that something changed.
        with contextlib.suppress(OSError):
            self._socket.recv(RECEIVE_SIZE)
        self._notified()
