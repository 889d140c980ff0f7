"""The private network namespace: the part of the path that the host's firewall, routes and sysctls cannot break.

A veth pair leads into it: NAME0 on the host's side, meta0 within. Everything is *ensured*: made where it is missing and
corrected where it differs. So a daemon that starts after a crash uses what it finds, and open connections go on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from pyroute2 import IPRoute, netns
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.ifinfmsg import IFF_NOARP, IFF_UP, ifinfmsg

from eve_meta.steering.mounts import OWN, Mounts
from eve_meta.steering.path import filters, iptables, sysctls
from eve_meta.steering.path.listening import Listening, Soundness, WorkerSockets, listen, listen_again
from eve_meta.steering.path.names import ALIAS, META0, META0_MAC, RULE_PRIORITY, TABLE, host_link
from eve_meta.values.problem import Problem
from eve_meta.values.tag import STEERED

GATEWAYS = {socket.AF_INET: "169.254.0.1", socket.AF_INET6: "fe80::1"}
"""Next hops that no host has; meta0 resolves no addresses (NOARP), so no host is needed. All packets to one next hop
share one entry in the neighbour table, which belongs to the whole host (gc_thresh3). Without a next hop each address
would need an entry, and a guest could fill that table by sending from many addresses."""

IFA_F_NODAD = 0x2  # linux/if_addr.h

NETLINK_NETFILTER = 12
NFNLGRP_NFTABLES = 7
RTNLGRP_LINK, RTNLGRP_TC, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV4_RULE = 1, 4, 7, 8
RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV6_RULE = 9, 11, 19
NOTIFICATION_GROUPS = {
    socket.NETLINK_ROUTE: (
        *(RTNLGRP_LINK, RTNLGRP_TC, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV4_RULE),
        *(RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV6_RULE),
    ),
    NETLINK_NETFILTER: (NFNLGRP_NFTABLES,),
}
"""The multicast groups of each netlink protocol in which the kernel reports changes of the path (linux/netlink.h,
linux/rtnetlink.h, linux/netfilter/nfnetlink.h)."""


@contextlib.contextmanager
def _gone_is_gone() -> Iterator[None]:
    """Ignore that a link does not exist any more: anybody may delete it between any two of our calls."""
    try:
        yield
    except NetlinkError as error:
        if error.code != errno.ENODEV:
            raise


class PrivateNamespace:
    """The network namespace *name* and the veth pair that leads into it.

    From :meth:`ensure`, which makes or finds it, until :meth:`remove` this object holds the namespace open, so the
    namespace exists even when somebody deletes its name.

    :param program: returns the file descriptor of a program, by its name; its owner closes it.
    :param mounts: those among which the namespace has its name.
    :ivar path: the namespace's name, as other programs find it.
    :ivar found: the same, as this process finds it.
    :ivar ipv6: whether the kernel has IPv6.
    :ivar workers: the number of workers that the rules lead to; 0 until :meth:`listen`.
    """

    def __init__(self, name: str, program: Callable[[str], int], mounts: Mounts = OWN) -> None:
        self.name = name
        self._mounts = mounts
        self.path = Path("/run/netns") / name
        self.found = mounts.find(self.path)
        self.host_link = host_link(name)
        self._program = program
        self.ipv6 = Path("/proc/sys/net/ipv6").is_dir()
        self._held = -1
        self.workers = 0

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Move the calling thread into the namespace for as long as the context lasts.

        Sockets opened and processes started meanwhile stay in the namespace.

        :raises Problem: when the namespace does not exist.
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
            inside = os.open(self.found, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Problem(f"the network namespace {self.name!r} is gone: restart eve-meta") from None
        try:
            netns.setns(inside)
        finally:
            os.close(inside)

    def is_named(self) -> bool:
        """Return whether its name, as ``ip netns`` and the like use it, leads to the namespace that is held open."""
        try:
            named = self.found.stat()
        except FileNotFoundError:
            return False
        return self._held >= 0 and os.path.samestat(named, os.fstat(self._held))

    def changed_sysctls(self) -> Iterator[str]:
        """Yield the sysctls that no longer have the value that :meth:`ensure` set, each as that ``NAME=VALUE``."""
        with self.entered():
            inside = list(sysctls.changed(sysctls.wanted(ipv6=self.ipv6)))
        yield from inside
        yield from sysctls.changed(sysctls.of_host_link(self.host_link))

    def ensure(self) -> int:
        """Make or restore everything, and return the ifindex of the veth pair's end on the host.

        The rules come with :meth:`lead_to_workers`, and are restored from then on. A first call that fails removes what
        it made.

        :raises Problem: when a link or namespace of that name is not ours, or the kernel or iptables refuse.
        """
        with contextlib.ExitStack() as undo:
            if self._held < 0:
                undo.callback(self._release if self.found.exists() else self.remove)
            try:
                ifindex = self._ensure_all()
            except NetlinkError as error:
                if error.code == errno.ENODEV:
                    raise self._vanished() from None
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
                with self.entered():
                    # Before meta0 is up, when the kernel would give it a link-local address.
                    sysctls.write(sysctls.wanted(ipv6=self.ipv6))
                self._bring_up(host, inside)
                self._ensure_routes(inside)
                self._ensure_filters(host, ifindex, inside)
        if self.workers:
            self.lead_to_workers()
        return ifindex

    def remove(self) -> None:
        """Remove the namespace and the veth pair; neither needs to exist."""
        with IPRoute() as host:
            link = self._host_link(host)
            if link is not None and link.get_attr("IFLA_IFALIAS") == ALIAS:
                # Deleting one end deletes meta0 as well, at once. The kernel ends a deleted namespace in its own time.
                with _gone_is_gone():
                    host.link("del", index=link["index"])
        if self.found.exists() and (self._held < 0 or self.is_named()):
            with contextlib.suppress(FileNotFoundError):  # somebody else has removed it meanwhile
                self._mounts.call(partial(netns.remove, self.name))
        self._release()

    def _release(self) -> None:
        if self._held >= 0:
            os.close(self._held)
            self._held = -1

    def listen(self, workers: int, kept: Sequence[socket.socket] = (), places: Sequence[int] = ()) -> Listening:
        """Return the sockets within the namespace on which workers accept connections; no rule leads there yet.

        The parameters are those of :func:`eve_meta.steering.path.listening.listen`.

        :raises Problem: when a port is in use there.
        """
        with self.entered(), self._ports_explained():
            self._soundness = Soundness(ipv6=self.ipv6)
            listening = listen(workers, kept, places, self._soundness, ipv6=self.ipv6)
        self.workers = workers
        return listening

    def listen_again(self, number: int, old: WorkerSockets) -> WorkerSockets:
        """Return new sockets for the worker of that number, at its other place than *old*.

        :raises Problem: when a port is in use there.
        """
        with self.entered(), self._ports_explained():
            return listen_again(number, old, ipv6=self.ipv6)

    def are_sound(self, sockets: WorkerSockets) -> bool:
        """Return whether *sockets* listen, with the options of new ones."""
        return all(map(self._soundness.is_sound, sockets.sockets))

    def lead_to_workers(self) -> None:
        """Load the rules that lead to the workers' places.

        :raises Problem: when iptables is missing or refuses them.
        """
        iptables.load(self.found, self.workers, ipv6=self.ipv6)

    @contextlib.contextmanager
    def _ports_explained(self) -> Iterator[None]:
        try:
            yield
        except Problem as problem:
            raise Problem(
                f"{problem} in namespace {self.name!r}; list the processes there: ip netns pids {self.name}"
            ) from None

    def notification_sockets(self) -> list[socket.socket]:
        """Return netlink sockets on which the kernel reports changes within the namespace.

        :raises OSError: when the kernel refuses.
        """
        with contextlib.ExitStack() as undo, self.entered():
            sockets = []
            for protocol, groups in NOTIFICATION_GROUPS.items():
                try:
                    each = socket.socket(
                        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol
                    )
                except OSError as error:
                    # A kernel without nfnetlink has only legacy iptables.
                    if error.errno != errno.EPROTONOSUPPORT:
                        raise
                    continue
                sockets.append(undo.enter_context(each))
                each.bind((0, sum(1 << group - 1 for group in groups)))
            undo.pop_all()
        return sockets

    def legacy_rules(self) -> iptables.LegacyTables:
        """Return the description of legacy iptables' rules within the namespace; its owner closes it."""
        with self.entered():
            return iptables.LegacyTables(ipv6=self.ipv6)

    def _ensure_namespace(self) -> None:
        if self._held < 0:
            self._make_or_find()
            self._held = os.open(self.found, os.O_RDONLY | os.O_CLOEXEC)
        elif not self.is_named():
            self._restore_name()

    def _restore_name(self) -> None:
        """Restore the name, which somebody deleted; the namespace itself has not changed, and connections go on."""
        with contextlib.suppress(FileNotFoundError):
            if self.found.stat().st_dev == os.fstat(self._held).st_dev:
                raise Problem(
                    f"somebody deleted the name of network namespace {self.name!r} and gave it to another namespace: "
                    f"remove that one (ip netns delete {self.name})"
                )
            self.found.unlink()  # a file on which no namespace is mounted
        try:
            with self.entered():
                # Binds the name to /proc/thread-self/ns/net.
                self._mounts.call(partial(netns.attach, self.name, "thread-self"))
        except OSError as error:
            raise Problem(f"cannot name the network namespace {self.name!r} again: {error}") from None

    def _make_or_find(self) -> None:
        if self.found.exists():
            try:
                with self.entered():
                    pass
            except OSError as error:
                # A file on which no namespace is mounted: whoever made the file died before mounting.
                if error.errno != errno.EINVAL:
                    raise
                self.found.unlink(missing_ok=True)
        if not self.found.exists():
            try:
                # As ip-netns(8) makes it, whatever our umask is: every user may list the names in it.
                with contextlib.suppress(FileExistsError):
                    self.found.parent.mkdir()
                    self.found.parent.chmod(0o755)
                self._mounts.call(partial(netns.create, self.name))
            except OSError as error:
                raise Problem(f"cannot make the network namespace {self.name!r}: {error}; is this root?") from None

    def _host_link(self, host: IPRoute) -> ifinfmsg | None:
        for ifindex in host.link_lookup(ifname=self.host_link):
            with _gone_is_gone():
                link: ifinfmsg | None = next(iter(host.get_links(ifindex)), None)
                return link
        return None

    def _ifindex(self, ipr: IPRoute, name: str) -> int:
        """Return the ifindex of our link *name*.

        :raises Problem: when the link is gone.
        """
        for ifindex in ipr.link_lookup(ifname=name):
            return int(ifindex)
        raise self._vanished()

    def _vanished(self) -> Problem:
        return Problem(
            f"the veth pair {self.host_link}/{META0} vanished while it was being made: does another program manage it?"
        )

    def _ensure_links(self, host: IPRoute, inside: IPRoute) -> int:
        host_end = self._host_link(host)
        if host_end is not None and host_end.get_attr("IFLA_IFALIAS") != ALIAS:
            raise Problem(
                f"the link {self.host_link!r} is not eve-meta's: remove it (ip link delete {self.host_link}) "
                "or choose another [steering] namespace"
            )
        meta0 = inside.link_lookup(ifname=META0)
        links = list(inside.get_links())
        # A namespace in which no link is up was left by a crash before it got its alias, or is not in use yet.
        in_use = any(link["flags"] & IFF_UP for link in links)
        if in_use and not any(link.get_attr("IFLA_IFALIAS") == ALIAS for link in links):
            raise Problem(
                f"the network namespace {self.name!r} is in use and not eve-meta's: remove it "
                f"(ip netns delete {self.name}) or choose another [steering] namespace"
            )
        if host_end is None or not meta0:
            with _gone_is_gone():
                if host_end is not None:
                    host.link("del", index=host_end["index"])
            with _gone_is_gone():
                if meta0:
                    inside.link("del", index=meta0[0])
            # The descriptor, not the name, which somebody may delete at any moment.
            peer = {"ifname": META0, "net_ns_fd": self._held, "address": META0_MAC}
            host.link("add", ifname=self.host_link, kind="veth", peer=peer)
            host_end = self._host_link(host)
            meta0 = inside.link_lookup(ifname=META0)
        if host_end is None or not meta0:
            raise self._vanished()
        host.link("set", index=host_end["index"], ifalias=ALIAS)
        sysctls.write(sysctls.of_host_link(self.host_link))
        # On lo, where the alias remains when somebody deletes the veth pair.
        inside.link("set", index=self._ifindex(inside, "lo"), ifalias=ALIAS, state="up")
        return int(host_end["index"])

    def _bring_up(self, host: IPRoute, inside: IPRoute) -> None:
        meta0 = self._ifindex(inside, META0)
        inside.link("set", index=meta0, address=META0_MAC, flags=IFF_UP | IFF_NOARP, change=IFF_UP | IFF_NOARP)
        host.link("set", index=self._ifindex(host, self.host_link), state="up")

    def _ensure_routes(self, inside: IPRoute) -> None:
        meta0 = self._ifindex(inside, META0)
        if self.ipv6:
            # No duplicate address detection: nobody else is on this link, and no socket can listen until it ends.
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
        meta0 = self._ifindex(inside, META0)
        for ipr, ifindex, name, parent in (
            (host, host_ifindex, "host_in", filters.INGRESS),
            (inside, meta0, "ns_in", filters.INGRESS),
            (inside, meta0, "ns_out", filters.EGRESS),
        ):
            filters.add_qdisc(ipr, "clsact", ifindex)
            filters.attach(ipr, ifindex, self._program(name), name, parent)
