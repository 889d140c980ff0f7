"""The sockets on which workers accept guests' connections: each worker has its own, at a place of its own.

A *place* is a number from 1 that stands for a port, in IPv4 and IPv6. Root alone decides which place a guest's
connection is led to: ns_in writes the place of the worker that answers a tag into the packet's mark, and the iptables
rule of that place leads there. No worker can change that, whatever it does to its sockets.

Every worker has two places and listens at one of them. Its sockets outlive its process, and connections wait in their
queues for its successor. A compromised worker may have damaged them for whoever comes after it: shut them down, or set
an option by which they drop every segment. So they are compared with new ones, and damaged ones are replaced at the
worker's other place; whoever still holds a copy of the damaged ones holds a port to which no rule leads any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterable, Sequence

from attrs import frozen

from eve_meta.steering.path import iptables
from eve_meta.steering.path.sysctls import LISTEN_BACKLOG
from eve_meta.values.problem import Problem

OLD_PORT = iptables.PORT
"""Where all workers listened together (``SO_REUSEPORT``) in version 0.1. No rule leads there any more; but connections
may wait in the queues of the sockets that such a daemon handed over."""

SIOCGSKNS = 0x894C
"""Of Linux's ``linux/sockios.h``, since 4.10: gives a descriptor of the network namespace that a socket is in."""

SO_LOCK_FILTER = 44
"""Of Linux's ``asm-generic/socket.h``; Python has no name for it. Nobody can attach a socket filter to a locked socket:
a filter would outlive the worker that attached it, and drop whatever it likes without a trace."""

OPTIONS: tuple[tuple[int, int, int], ...] = (
    *(
        (socket.SOL_SOCKET, option, size)
        for option, size in (
            (socket.SO_ACCEPTCONN, 4),
            (socket.SO_DOMAIN, 4),
            (socket.SO_TYPE, 4),
            (socket.SO_PROTOCOL, 4),
            (socket.SO_BINDTODEVICE, 16),
            (socket.SO_BROADCAST, 4),
            (socket.SO_DEBUG, 4),
            (socket.SO_DONTROUTE, 4),
            (socket.SO_KEEPALIVE, 4),
            (socket.SO_LINGER, 8),
            (socket.SO_MARK, 4),
            (socket.SO_OOBINLINE, 4),
            (socket.SO_PASSCRED, 4),
            (socket.SO_PRIORITY, 4),
            (socket.SO_RCVBUF, 4),
            (socket.SO_RCVLOWAT, 4),
            (socket.SO_RCVTIMEO, 16),
            (socket.SO_REUSEADDR, 4),
            (socket.SO_REUSEPORT, 4),
            (socket.SO_SNDTIMEO, 16),
            (SO_LOCK_FILTER, 4),
            (29, 4),  # SO_TIMESTAMP
            (37, 4),  # SO_TIMESTAMPING
            (46, 4),  # SO_BUSY_POLL
            (47, 8),  # SO_MAX_PACING_RATE
            (60, 4),  # SO_ZEROCOPY
        )
    ),
    *(
        (socket.IPPROTO_TCP, option, size)
        for option, size in (
            (socket.TCP_CONGESTION, 16),
            (socket.TCP_CORK, 4),
            (socket.TCP_FASTOPEN, 4),
            (socket.TCP_KEEPCNT, 4),
            (socket.TCP_KEEPIDLE, 4),
            (socket.TCP_KEEPINTVL, 4),
            (socket.TCP_LINGER2, 4),
            (socket.TCP_MAXSEG, 4),
            (socket.TCP_NOTSENT_LOWAT, 4),
            (socket.TCP_SYNCNT, 4),
            (socket.TCP_USER_TIMEOUT, 4),
            (socket.TCP_WINDOW_CLAMP, 4),
            (16, 4),  # TCP_THIN_LINEAR_TIMEOUTS
            (27, 4),  # TCP_SAVE_SYN
            (36, 4),  # TCP_INQ
            (37, 4),  # TCP_TX_DELAY
        )
    ),
    *(
        (socket.IPPROTO_IP, option, size)
        for option, size in (
            (socket.IP_OPTIONS, 40),
            (socket.IP_RECVTOS, 4),
            (socket.IP_TOS, 4),
            (socket.IP_TRANSPARENT, 4),
            (socket.IP_TTL, 4),
            (10, 4),  # IP_MTU_DISCOVER
            (11, 4),  # IP_RECVERR
            (15, 4),  # IP_FREEBIND
            (21, 4),  # IP_MINTTL
        )
    ),
    *(
        (socket.IPPROTO_IPV6, option, size)
        for option, size in (
            (socket.IPV6_TCLASS, 4),
            (socket.IPV6_UNICAST_HOPS, 4),
            (23, 4),  # IPV6_MTU_DISCOVER
            (73, 4),  # IPV6_MINHOPCOUNT
        )
    ),
)
"""The options in which a sound socket equals a new one: level, number, and size in bytes. A worker sets three others,
each process anew: ``SO_SNDBUF``, ``TCP_NODELAY`` and ``TCP_DEFER_ACCEPT`` (``web/sockets.py``)."""


@frozen
class WorkerSockets:
    """The sockets of one worker.

    :ivar place: where it listens.
    :ivar sockets: its sockets there, for IPv4 and, where the kernel has it, for IPv6.
    :ivar retired: sockets of an older daemon, in whose queues connections of the worker's guests may wait. No new ones
        come there.
    """

    place: int
    sockets: tuple[socket.socket, ...]
    retired: tuple[socket.socket, ...] = ()

    def renew(self) -> None:
        """Restore what no option shows and a compromised worker may have changed for its successor.

        A socket that blocks would make each successor wait in its first turn, so that it would be killed as hung.
        """
        for each in (*self.sockets, *self.retired):
            each.setblocking(False)
        for each in self.sockets:
            each.listen(LISTEN_BACKLOG)

    def close(self) -> None:
        """Close the sockets; whoever else has them may go on."""
        for each in (*self.sockets, *self.retired):
            each.close()

    def end(self) -> None:
        """Close the sockets, for whoever else has them, too."""
        for each in (*self.sockets, *self.retired):
            end(each)


def end(listener: socket.socket) -> None:
    """Close *listener* so that copies which other processes hold accept nothing more."""
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def addresses(*, ipv6: bool) -> list[tuple[socket.AddressFamily, str]]:
    """Return the addresses of every place, by family; *ipv6* is whether the kernel has IPv6."""
    v6 = [(socket.AF_INET6, iptables.WORKER6)] if ipv6 else []
    return [(socket.AF_INET, iptables.WORKER), *v6]


def listen_at(place: int, *, ipv6: bool) -> tuple[socket.socket, ...]:
    """Return new sockets that listen at *place*. To be called by a thread that is in the private namespace.

    :raises Problem: when another socket is there.
    """
    with contextlib.ExitStack() as undo:
        sockets = []
        for family, address in addresses(ipv6=ipv6):
            each = undo.enter_context(
                socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            )
            sockets.append(each)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.setsockopt(socket.SOL_SOCKET, SO_LOCK_FILTER, 1)
            port = iptables.port(place) if place else 0
            try:
                each.bind((address, port))
                each.listen(LISTEN_BACKLOG)
            except OSError as error:
                raise Problem(f"cannot listen on {address} port {port}: {error.strerror}") from None
        undo.pop_all()
    return tuple(sockets)


class Soundness:
    """What sound sockets look like: as new ones do. To be made by a thread that is in the private namespace.

    :raises Problem: when no new socket can be made.
    """

    def __init__(self, *, ipv6: bool) -> None:
        sockets = listen_at(0, ipv6=ipv6)
        self._options = {each.family: _options(each) for each in sockets}
        self._namespace = _namespace_of(sockets[0])
        for each in sockets:
            each.close()

    def place_of(self, kept: socket.socket) -> int | None:
        """Return the place at which *kept* listens, 0 for the port of version 0.1; None where it is not sound."""
        try:
            family = kept.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN)
            address, port = kept.getsockname()[:2]
            if (socket.AddressFamily(family), address) not in addresses(ipv6=True):
                return None
            # Nobody reaches a socket whose namespace was deleted and lives on only because the socket is open.
            if _namespace_of(kept) != self._namespace:
                return None
        except (OSError, ValueError):
            return None
        place: int = port - OLD_PORT
        return place if place >= 0 and self.is_sound(kept, ignored=() if place else _CHANGED_SINCE) else None

    def is_sound(self, listener: socket.socket, *, ignored: Iterable[int] = ()) -> bool:
        """Return whether *listener* has the options of a new socket, apart from those of SOL_SOCKET in *ignored*."""
        try:
            found = _options(listener)
        except OSError:
            return False
        wanted = self._options.get(socket.AddressFamily(listener.family))
        return wanted is not None and all(
            option == new or (which[0] == socket.SOL_SOCKET and which[1] in ignored)
            for which, option, new in zip(OPTIONS, found, wanted, strict=True)
        )


_CHANGED_SINCE = (socket.SO_REUSEPORT,)
"""The options that sockets of version 0.1 have otherwise."""


def _options(listener: socket.socket) -> list[bytes | None]:
    values: list[bytes | None] = []
    for level, option, size in OPTIONS:
        try:
            values.append(listener.getsockopt(level, option, size))
        except OSError:  # of another family, or newer than the kernel
            values.append(None)
    return values


def _namespace_of(listener: socket.socket) -> tuple[int, int]:
    descriptor = fcntl.ioctl(listener, SIOCGSKNS)
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return status.st_dev, status.st_ino


@frozen
class Listening:
    """The sockets of all workers.

    :ivar workers: those of each worker, by its number.
    :ivar discarded: kept sockets that no worker takes over; to be ended when no rule leads to them any more.
    """

    workers: tuple[WorkerSockets, ...]
    discarded: tuple[socket.socket, ...]


def listen(
    workers: int, kept: Sequence[socket.socket], places: Sequence[int], soundness: Soundness, *, ipv6: bool
) -> Listening:
    """Return the sockets of *workers* workers. To be called by a thread that is in the private namespace.

    :param kept: sockets of an earlier daemon. In the queue of each, connections of one worker's guests may wait. So
        they are taken over only where there are as many workers as there were.
    :param places: where the workers of the earlier daemon listened.
    :raises Problem: when another socket is at each place of a worker.
    """
    found: dict[int, list[socket.socket]] = {}
    kept, copies = _without_copies(kept)
    for copy in copies:
        copy.close()
    for each in kept:
        place = soundness.place_of(each)
        if place is not None:
            found.setdefault(place, []).append(each)
    retired = _by_worker(found.get(0, ()), workers)
    same = len(places) == workers
    with contextlib.ExitStack() as undo:
        listening = []
        for number in range(workers):
            taken = found.get(places[number], []) if same else []
            if {each.family for each in taken} == {family for family, _ in addresses(ipv6=ipv6)}:
                sockets, place = tuple(sorted(taken, key=lambda each: each.family)), places[number]
            else:
                sockets, place = _listen_anew(number, places[number : number + 1], ipv6=ipv6)
                for each in sockets:
                    undo.callback(each.close)
            listening.append(WorkerSockets(place, sockets, retired.get(number, ())))
            listening[-1].renew()
        undo.pop_all()
    used = {each for worker in listening for each in (*worker.sockets, *worker.retired)}
    return Listening(tuple(listening), tuple(each for each in kept if each not in used))


def listen_again(number: int, old: WorkerSockets, *, ipv6: bool) -> WorkerSockets:
    """Return new sockets for the worker of that number, whose sockets *old* are damaged.

    To be called by a thread that is in the private namespace.

    :raises Problem: when another socket is at the worker's other place.
    """
    sockets, place = _listen_anew(number, (old.place,), ipv6=ipv6)
    return WorkerSockets(place, sockets)


def _listen_anew(number: int, used: Sequence[int], *, ipv6: bool) -> tuple[tuple[socket.socket, ...], int]:
    """Return new sockets at a place of the worker *number* that is not *used*, and that place."""
    problems = []
    for place in iptables.places_of(number):
        if place not in used:
            try:
                return listen_at(place, ipv6=ipv6), place
            except Problem as problem:
                problems.append(problem)
    raise problems[-1]


def _without_copies(kept: Sequence[socket.socket]) -> tuple[list[socket.socket], list[socket.socket]]:
    """Return one descriptor of each socket, and the further ones: to end a copy would end the socket."""
    sockets: dict[int, socket.socket] = {}
    copies = [each for each in kept if sockets.setdefault(os.fstat(each.fileno()).st_ino, each) is not each]
    return list(sockets.values()), copies


def _by_worker(sockets: Sequence[socket.socket], workers: int) -> dict[int, tuple[socket.socket, ...]]:
    """Return the sockets of each worker, of *sockets* that listen at one port together.

    They are in the order in which they began to listen, those for IPv4 before those for IPv6. Where one is missing, the
    others no longer have their worker's number, and all of its family are left out.
    """
    families: dict[int, list[socket.socket]] = {}
    for each in sockets:
        families.setdefault(each.family, []).append(each)
    complete = [group for group in families.values() if len(group) == workers]
    return {number: tuple(group[number] for group in complete) for number in range(workers)}
