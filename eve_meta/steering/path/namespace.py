"""The private network namespace: all that the host's own firewall, routes and sysctls must neither see nor break.

A veth pair leads into it: NAME0 on the host's side, meta0 within. Everything is *ensured*: made where it is missing and
set right where it is not, so that a daemon that starts after a crash finds its way, and connections that live go on.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from pyroute2 import IPRoute, netns
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from eve_meta.steering.bpf.libbpf import open_pin
from eve_meta.steering.path import filters, iptables, sysctls
from eve_meta.steering.path.sysctls import LISTEN_BACKLOG, META0
from eve_meta.steering.path.worker_choice import attach_worker_choice
from eve_meta.values.problem import Problem
from eve_meta.values.tag import STEERED

META0_MAC = "02:a9:fe:a9:fe:02"
ALIAS = "eve-meta: to the metadata service"
"""Our mark, on the host's end and on lo within: what bears the right name without it is somebody else's."""

GATEWAYS = {socket.AF_INET: "169.254.0.1", socket.AF_INET6: "fe80::1"}
"""Next hops that nobody has: meta0 resolves nothing (NOARP). But all that goes through one shares its one entry in the
neighbour table, which is the whole host's (gc_thresh3). Else a guest could fill that with as many source addresses."""

TABLE = 169
RULE_PRIORITY = 169
"""The routing table for what answers a tap, and its rule's priority: after ``local`` (0), before ``main`` (32766)."""

SIOCGSKNS = 0x894C
"""Of Linux's ``linux/sockios.h``, since 4.10: gives a descriptor of the network namespace that a socket is in."""

IFF_UP, IFF_NOARP = 0x1, 0x80
IFA_F_NODAD = 0x2


def host_link(namespace: str) -> str:
    """The name of the host's end of the veth pair into *namespace*."""
    return f"{namespace}0"


class PrivateNamespace:
    """The namespace *name* and the veth pair into it. *pins* is where the programs are pinned.

    Once :meth:`ensure` has made or found it, it stays until :meth:`remove`, also where somebody deletes its name.

    :ivar ipv6: whether the kernel has IPv6.
    """

    def __init__(self, name: str, pins: Path) -> None:
        self.name = name
        self.path = Path("/run/netns") / name
        self.host_link = host_link(name)
        self._pins = pins
        self.ipv6 = Path("/proc/sys/net/ipv6").is_dir()
        self._held = -1

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is within the namespace for as long as the context lasts; sockets and children made here stay in.

        :raises Problem: when the namespace is not there.
        """
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if self._held >= 0:
                netns.setns(self._held)
            else:
                self._enter_by_name()
            try:
                yield
            finally:
                netns.setns(home)
        finally:
            os.close(home)

    def _enter_by_name(self) -> None:
        try:
            inside = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Problem(f"the network namespace {self.name!r} is gone: restart eve-meta") from None
        try:
            netns.setns(inside)
        finally:
            os.close(inside)

    def is_named(self) -> bool:
        """Whether its name, for ``ip netns`` and the like, means the namespace that :meth:`ensure` saw to."""
        try:
            named = self.path.stat()
        except FileNotFoundError:
            return False
        return self._held >= 0 and os.path.samestat(named, os.fstat(self._held))

    def changed_sysctls(self) -> Iterator[str]:
        """The sysctls that have another value than :meth:`ensure` gave them, each as ``NAME=VALUE`` that was."""
        with self.entered():
            inside = list(sysctls.changed(sysctls.wanted(ipv6=self.ipv6)))
        yield from inside
        yield from sysctls.changed(sysctls.of_host_link(self.host_link))

    def ensure(self) -> int:
        """Makes or mends everything; returns the ifindex of the host's end. What it began it undoes when it fails.

        :raises Problem: when something of that name is not ours, or the kernel or iptables refuse.
        """
        with contextlib.ExitStack() as undo:
            if self._held < 0:
                undo.callback(self._let_go if self.path.exists() else self.remove)
            try:
                ifindex = self._ensure_all()
            except NetlinkError as error:
                raise Problem(f"cannot set up the network namespace {self.name!r}: {error}") from None
            undo.pop_all()
        return ifindex

    def _ensure_all(self) -> int:
        self._ensure_namespace()
        with IPRoute() as host:
            with self.entered():
                inside = IPRoute()
            with inside:
                ifindex = self._ensure_links(host, inside)
                iptables.load(self.path, ipv6=self.ipv6)
                with self.entered():
                    # Before meta0 is up, when the kernel would give it a link-local address.
                    sysctls.write(sysctls.wanted(ipv6=self.ipv6))
                self._bring_up(host, inside)
                self._ensure_routes(inside)
                self._ensure_filters(host, ifindex, inside)
        return ifindex

    def remove(self) -> None:
        """Removes namespace and links; neither need be there."""
        with IPRoute() as host:
            link = self._host_link(host)
            if link is not None and link.get_attr("IFLA_IFALIAS") == ALIAS:
                # meta0 goes with its peer, at once. A namespace that is deleted goes when the kernel gets to it.
                host.link("del", index=link["index"])
        if self.path.exists() and (self._held < 0 or self.is_named()):
            netns.remove(self.name)
        self._let_go()

    def _let_go(self) -> None:
        if self._held >= 0:
            os.close(self._held)
            self._held = -1

    def listen(self, workers: int = 1, kept: Sequence[socket.socket] = ()) -> tuple[socket.socket, ...]:
        """The sockets on which workers accept, within the namespace: for IPv4 one for each worker, then, where there is
        IPv6, as many for that.

        :param kept: those of an earlier daemon, in their order. Those of one address are taken where all are sound and
            as many as workers, else closed.
        :raises Problem: when the port is taken there.
        """
        addresses = [(socket.AF_INET, iptables.WORKER), *([(socket.AF_INET6, iptables.WORKER6)] if self.ipv6 else [])]
        with contextlib.ExitStack() as undo, self.entered():
            sound = {address: [each for each in kept if self._is_sound(each, *address)] for address in addresses}
            # One that is missing has left its place among them to another.
            taken = {address: each for address, each in sound.items() if len(each) == workers}
            for each in kept:
                if any(each in of_one for of_one in taken.values()):
                    undo.enter_context(each)
                    # What a worker that was taken over may have changed.
                    each.setblocking(False)
                    each.listen(LISTEN_BACKLOG)
                else:
                    with contextlib.suppress(OSError):
                        each.shutdown(socket.SHUT_RDWR)  # for those too who hold a copy, and so the port
                    each.close()
            listeners: list[socket.socket] = []
            for address in addresses:
                if address not in taken:
                    taken[address] = [undo.enter_context(each) for each in self._listen(*address, workers)]
                listeners += taken[address]
            undo.pop_all()
        return tuple(listeners)

    def _is_sound(self, kept: socket.socket, family: socket.AddressFamily, address: str) -> bool:
        """Whether *kept* is what :meth:`_listen` makes."""
        try:
            if (
                kept.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN) != family
                or kept.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL) != socket.IPPROTO_TCP
                or not kept.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                or kept.getsockname()[:2] != (address, iptables.PORT)
            ):
                return False
            inside = fcntl.ioctl(kept, SIOCGSKNS)
        except OSError:
            return False
        try:
            # One of a namespace that somebody deleted, and that only this socket keeps alive, nobody reaches.
            return os.path.samestat(os.fstat(inside), os.fstat(self._held))
        finally:
            os.close(inside)

    def _listen(self, family: socket.AddressFamily, address: str, workers: int) -> list[socket.socket]:
        with contextlib.ExitStack() as undo:
            listeners = [
                undo.enter_context(
                    socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
                )
                for _ in range(workers)
            ]
            try:
                for listener in listeners:
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    if workers > 1:
                        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                if workers > 1:
                    attach_worker_choice(listeners[0], workers)
                for listener in listeners:
                    listener.bind((address, iptables.PORT))
                    listener.listen(LISTEN_BACKLOG)
            except OSError as error:
                raise Problem(
                    f"cannot listen on {address} port {iptables.PORT} in namespace {self.name!r}: {error.strerror}; "
                    f"what runs there: ip netns pids {self.name}"
                ) from None
            undo.pop_all()
        return listeners

    def _ensure_namespace(self) -> None:
        if self._held < 0:
            self._make_or_find()
            self._held = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        elif not self.is_named():
            self._name_again()

    def _name_again(self) -> None:
        """Gives back the name, which somebody deleted; within nothing has changed, and connections go on."""
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_dev == os.fstat(self._held).st_dev:
                raise Problem(
                    f"somebody deleted the name of network namespace {self.name!r} and gave it to another one: "
                    f"remove that (ip netns delete {self.name})"
                )
            self.path.unlink()  # a file on which no namespace is mounted
        try:
            with self.entered():
                # What it binds to the name is /proc/thread-self/ns/net.
                netns.attach(self.name, "thread-self")
        except OSError as error:
            raise Problem(f"cannot name the network namespace {self.name!r} again: {error}") from None

    def _make_or_find(self) -> None:
        if self.path.exists():
            try:
                with self.entered():
                    pass
            except OSError as error:
                # A file without a namespace on it: left by something that died between making and mounting.
                if error.errno != errno.EINVAL:
                    raise
                self.path.unlink()
        if not self.path.exists():
            try:
                netns.create(self.name)
            except OSError as error:
                raise Problem(f"cannot make the network namespace {self.name!r}: {error}; is this root?") from None

    def _host_link(self, host: IPRoute) -> ifinfmsg | None:
        found = host.link_lookup(ifname=self.host_link)
        return next(iter(host.get_links(found[0])), None) if found else None

    def _ensure_links(self, host: IPRoute, inside: IPRoute) -> int:
        outer = self._host_link(host)
        if outer is not None and outer.get_attr("IFLA_IFALIAS") != ALIAS:
            raise Problem(
                f"the link {self.host_link!r} is not eve-meta's: remove it (ip link delete {self.host_link}) "
                "or choose another [steering] namespace"
            )
        inner = inside.link_lookup(ifname=META0)
        links = list(inside.get_links())
        # One in which nothing is up was left by a crash between making it and marking it, or is nobody's yet.
        in_use = any(link["flags"] & IFF_UP for link in links)
        if in_use and not any(link.get_attr("IFLA_IFALIAS") == ALIAS for link in links):
            raise Problem(
                f"the network namespace {self.name!r} is in use and not eve-meta's: remove it "
                f"(ip netns delete {self.name}) or choose another [steering] namespace"
            )
        if outer is None or not inner:
            if outer is not None:
                host.link("del", index=outer["index"])
            if inner:
                inside.link("del", index=inner[0])
            peer = {"ifname": META0, "net_ns_fd": self.name, "address": META0_MAC}
            host.link("add", ifname=self.host_link, kind="veth", peer=peer)
            outer = self._host_link(host)
            inner = inside.link_lookup(ifname=META0)
        if outer is None or not inner:
            raise Problem(
                f"the veth pair {self.host_link}/{META0} vanished while it was made: does another program manage it?"
            )
        host.link("set", index=outer["index"], ifalias=ALIAS)
        sysctls.write(sysctls.of_host_link(self.host_link))
        # The mark on lo stays where somebody deletes the veth pair.
        inside.link("set", index=inside.link_lookup(ifname="lo")[0], ifalias=ALIAS, state="up")
        return int(outer["index"])

    def _bring_up(self, host: IPRoute, inside: IPRoute) -> None:
        meta0 = inside.link_lookup(ifname=META0)[0]
        inside.link("set", index=meta0, address=META0_MAC, flags=IFF_UP | IFF_NOARP, change=IFF_UP | IFF_NOARP)
        host.link("set", index=host.link_lookup(ifname=self.host_link)[0], state="up")

    def _ensure_routes(self, inside: IPRoute) -> None:
        meta0 = inside.link_lookup(ifname=META0)[0]
        if self.ipv6:
            # No duplicate address detection: nobody else is on this link, and until it ends nothing can listen.
            address = {"index": meta0, "address": iptables.WORKER6, "prefixlen": 128, "flags": IFA_F_NODAD}
            inside.addr("replace", family=socket.AF_INET6, **address)
        for family, everything in ((socket.AF_INET, "0.0.0.0/0"), (socket.AF_INET6, "::/0")):
            if family == socket.AF_INET6 and not self.ipv6:
                continue
            route = {"dst": everything, "gateway": GATEWAYS[family], "oif": meta0, "flags": ["onlink"], "table": TABLE}
            inside.route("replace", family=family, **route)
            rule = {"priority": RULE_PRIORITY, "fwmark": STEERED, "fwmask": STEERED, "table": TABLE}
            try:
                inside.rule("add", family=family, **rule)
            except NetlinkError as error:
                if error.code != errno.EEXIST:
                    raise

    def _ensure_filters(self, host: IPRoute, host_ifindex: int, inside: IPRoute) -> None:
        meta0 = inside.link_lookup(ifname=META0)[0]
        for ipr, ifindex, name, parent in (
            (host, host_ifindex, "host_in", filters.INGRESS),
            (inside, meta0, "ns_in", filters.INGRESS),
            (inside, meta0, "ns_out", filters.EGRESS),
        ):
            filters.add_qdisc(ipr, "clsact", ifindex)
            program = open_pin(self._pins / name)
            try:
                filters.attach(ipr, ifindex, program, name, parent)
            finally:
                os.close(program)
