"""The private network namespace: all that the host's own firewall, routes and sysctls must neither see nor break.

A veth pair leads into it: NAME0 on the host's side, meta0 within. Everything is *ensured*: made where it is missing and
set right where it is not, so that a daemon that starts after a crash finds its way, and connections that live go on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from pyroute2 import IPRoute, netns
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from eve_meta.errors import Problem
from eve_meta.steering import filters, iptables
from eve_meta.steering.libbpf import open_pin
from eve_meta.tag import STEERED

META0 = "meta0"
META0_MAC = "02:a9:fe:a9:fe:02"
ALIAS = "eve-meta: to the metadata service"
"""Our mark, on the host's end and on lo within: what bears the right name without it is somebody else's."""

GATEWAYS = {socket.AF_INET: "169.254.0.1", socket.AF_INET6: "fe80::1"}
"""Next hops that nobody has: meta0 resolves nothing (NOARP). But all that goes through one shares its one entry in the
neighbour table, which is the whole host's (gc_thresh3). Else a guest could fill that with as many source addresses."""

TABLE = 169
RULE_PRIORITY = 169
"""The routing table for what answers a tap, and its rule's priority: after ``local`` (0), before ``main`` (32766)."""

IFF_UP, IFF_NOARP = 0x1, 0x80
IFA_F_NODAD = 0x2

LISTEN_BACKLOG = 4096
"""Connections that the kernel completes before a worker accepts them. With Twisted's default of 50 a boot storm loses
SYNs, which return a second later. The kernel takes no more than ``net.core.somaxconn``, which each namespace has of its
own."""

SYSCTLS = {
    # The accepted socket, its answers and the resets of what nobody accepts carry the mark of what they answer.
    "net/ipv4/tcp_fwmark_accept": "1",
    "net/ipv4/fwmark_reflect": "1",
    # DNAT leads from meta0 to 127.0.0.1, which the kernel calls martian anywhere else.
    f"net/ipv4/conf/{META0}/route_localnet": "1",
    # A new namespace takes these over from the host. Nothing is forwarded here; and a guest's address has no route
    # without a mark, so the reverse path filter would drop every packet.
    "net/ipv4/ip_forward": "0",
    "net/ipv4/conf/all/rp_filter": "0",
    f"net/ipv4/conf/{META0}/rp_filter": "0",
    "net/core/somaxconn": str(LISTEN_BACKLOG),
    "net/ipv4/tcp_max_syn_backlog": str(LISTEN_BACKLOG),
    # Where several guests together fill the backlog with connections that they never complete, the others' need no
    # place in it. The kernel's default, on which much hangs here.
    "net/ipv4/tcp_syncookies": "1",
    # A half-open connection is forgotten after 7 seconds, not 63: a guest is one hop away and loses nothing.
    "net/ipv4/tcp_synack_retries": "2",
    # And one that the worker closed, but whose guest acknowledges nothing, after 6 seconds, not 100: its answer is the
    # kernel's memory until then.
    "net/ipv4/tcp_orphan_retries": "4",
}

SYSCTLS6 = {
    # The host may have switched IPv6 off, also for namespaces yet to come (net.core.devconf_inherit_init_net).
    "net/ipv6/conf/all/disable_ipv6": "0",
    f"net/ipv6/conf/{META0}/disable_ipv6": "0",
    "net/ipv6/conf/all/forwarding": "0",
    "net/ipv6/fwmark_reflect": "1",
    # No address but the worker's: neither a link-local one nor what a guest would advertise.
    f"net/ipv6/conf/{META0}/addr_gen_mode": "1",
    f"net/ipv6/conf/{META0}/accept_ra": "0",
}

CONNTRACK_SYSCTLS = {
    # Connections here are short, and the worker ends one on which nothing happens for 15 s: with the defaults (five
    # days, minutes) a guest would soon have all that it may (iptables.MAX_TRACKED), and its entries would outlive the
    # rest of a tag (tags.QUARANTINE).
    "net/netfilter/nf_conntrack_tcp_timeout_established": "60",
    "net/netfilter/nf_conntrack_tcp_timeout_syn_sent": "10",
    "net/netfilter/nf_conntrack_tcp_timeout_syn_recv": "10",
    "net/netfilter/nf_conntrack_tcp_timeout_fin_wait": "20",
    "net/netfilter/nf_conntrack_tcp_timeout_close_wait": "20",
    "net/netfilter/nf_conntrack_tcp_timeout_last_ack": "10",
    "net/netfilter/nf_conntrack_tcp_timeout_time_wait": "5",
    "net/netfilter/nf_conntrack_tcp_timeout_close": "10",
    "net/netfilter/nf_conntrack_tcp_timeout_max_retrans": "60",
    "net/netfilter/nf_conntrack_tcp_timeout_unacknowledged": "60",
}


def host_link(namespace: str) -> str:
    """The name of the host's end of the veth pair into *namespace*."""
    return f"{namespace}0"


class PrivateNamespace:
    """The namespace *name* and the veth pair into it. *pins* is where the programs are pinned.

    :ivar ipv6: whether the kernel has IPv6.
    """

    def __init__(self, name: str, pins: Path) -> None:
        self.name = name
        self.path = Path("/run/netns") / name
        self.host_link = host_link(name)
        self._pins = pins
        self.ipv6 = Path("/proc/sys/net/ipv6").is_dir()

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is within the namespace for as long as the context lasts; sockets and children made here stay in.

        :raises Problem: when the namespace is not there.
        """
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            try:
                inside = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                raise Problem(f"the network namespace {self.name!r} is gone: restart eve-meta") from None
            try:
                netns.setns(inside)
            finally:
                os.close(inside)
            try:
                yield
            finally:
                netns.setns(home)
        finally:
            os.close(home)

    def ensure(self) -> int:
        """Makes or mends everything; returns the ifindex of the host's end. What it began it undoes when it fails.

        :raises Problem: when something of that name is not ours, or the kernel or iptables refuse.
        """
        with contextlib.ExitStack() as undo:
            if not self.path.exists():
                undo.callback(self.remove)
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
                    _write_sysctls(SYSCTLS | CONNTRACK_SYSCTLS | (SYSCTLS6 if self.ipv6 else {}))
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
        if self.path.exists():
            netns.remove(self.name)

    def listen(self) -> tuple[socket.socket, ...]:
        """The sockets on which workers accept, within the namespace: one for IPv4 and, where there is, one for IPv6.

        :raises Problem: when the port is taken there.
        """
        addresses = [(socket.AF_INET, iptables.WORKER), *([(socket.AF_INET6, iptables.WORKER6)] if self.ipv6 else [])]
        with contextlib.ExitStack() as undo, self.entered():
            listeners = tuple(undo.enter_context(self._listen(*address)) for address in addresses)
            undo.pop_all()
        return listeners

    def _listen(self, family: socket.AddressFamily, address: str) -> socket.socket:
        listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, iptables.PORT))
            listener.listen(LISTEN_BACKLOG)
        except OSError as error:
            listener.close()
            raise Problem(
                f"cannot listen on {address} port {iptables.PORT} in namespace {self.name!r}: {error.strerror}; "
                f"what runs there: ip netns pids {self.name}"
            ) from None
        return listener

    def _ensure_namespace(self) -> None:
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
        # The host has nothing to say on this link: no link-local address, no router solicitations.
        _write_sysctls({f"net/ipv6/conf/{self.host_link}/disable_ipv6": "1"})
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


def _write_sysctls(sysctls: dict[str, str]) -> None:
    """Writes sysctls of the network namespace that this thread is in (``/proc/sys/net`` shows each thread its own)."""
    for name, value in sysctls.items():
        path = Path("/proc/sys") / name
        try:
            path.write_text(value)
        except FileNotFoundError:
            if name.startswith("net/ipv6/"):
                continue  # a kernel without IPv6 has nothing to switch off
            raise Problem(f"this kernel has no sysctl {name.replace('/', '.')}: eve-meta needs it") from None
        except OSError as error:
            raise Problem(f"cannot set the sysctl {name.replace('/', '.')}: {error.strerror}") from None
