"""Which pieces of steering are in place, as the kernel has them.

For ``explain``, which finds out why a guest gets no answer, and for :mod:`eve_meta.steering.path.guard`, which restores
missing pieces. An inspection only reads. It takes some ten milliseconds and runs iptables, so a daemon calls it in a
thread.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Collection, Iterator, Mapping

from attrs import frozen
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.ifinfmsg import IFF_LOWER_UP, IFF_NOARP, IFF_UP

from eve_meta.steering.bpf.pins import Pins
from eve_meta.steering.path import filters, iptables
from eve_meta.steering.path.names import META0, RULE_PRIORITY, TABLE
from eve_meta.steering.path.namespace import PrivateNamespace
from eve_meta.values.problem import Problem
from eve_meta.values.tag import STEERED

LOOPBACK = 1
"""The ifindex of lo, in each namespace (linux/net_namespace.h)."""


@frozen(kw_only=True)
class LinkState:
    """The state of a link. *bridge* is the name of the bridge that it is a port of, *kind* its kind; "" for none."""

    ifindex: int
    up: bool
    carrier: bool
    bridge: str
    kind: str


@frozen(kw_only=True)
class Inspection:
    """The result of an inspection.

    :ivar links: the inspected links that exist, by name.
    :ivar filters: the filters on each of them, in the order in which they see a frame.
    :ivar programs: the missing pins, and the missing filters on the veth pair.
    :ivar namespace: what is missing of the private namespace, its links and its sysctls.
    :ivar rules: the missing iptables rules, each as the command that would add it.
    :ivar routes: what is missing of the policy routing.
    """

    links: Mapping[str, LinkState]
    filters: Mapping[str, tuple[filters.Filter, ...]]
    programs: tuple[str, ...]
    namespace: tuple[str, ...]
    rules: tuple[str, ...]
    routes: tuple[str, ...]

    def missing(self) -> dict[str, tuple[str, ...]]:
        """Return the missing pieces by part of the path: "programs", "namespace", "rules" and "routes".

        A part of which nothing is missing is not in it; the result is empty when the whole path is in place.
        """
        parts = {name: getattr(self, name) for name in ("programs", "namespace", "rules", "routes")}
        return {name: pieces for name, pieces in parts.items() if pieces}


def inspect(namespace: PrivateNamespace, pins: Pins, names: Collection[str]) -> Inspection:
    """Inspect the path that consists of *namespace* and *pins*, and the host's links called *names*.

    :raises Problem: when iptables cannot be run.
    """
    programs = [f"the pin {path}" for path in pins.missing()]
    missing: list[str] = []
    routes: list[str] = []
    with IPRoute() as host:
        links = {name: state for name in names if (state := _link_state(host, name)) is not None}
        on_links = {name: tuple(filters.on_link(host, link.ifindex)) for name, link in links.items()}
        host_end = _ifindex(host, namespace.host_link)
        if host_end is None:
            missing.append(f"the link {namespace.host_link}")
        elif not _has_flags(host, host_end, IFF_UP):
            missing.append(f"the link {namespace.host_link}, which is down")
        if host_end is not None and not filters.is_attached(host, host_end):
            programs.append(f"the filter host_in on {namespace.host_link}")
        try:
            with namespace.entered():
                inside = IPRoute()
        except (Problem, OSError):
            missing.append(f"the network namespace {namespace.name}")
            return Inspection(
                links=links,
                filters=on_links,
                programs=tuple(programs),
                namespace=tuple(missing),
                rules=(),
                routes=(),
            )
        named = namespace.is_named()
        if not named:
            missing.append(f"the name {namespace.path} of the network namespace")
        with inside:
            missing += [f"the sysctl {sysctl}" for sysctl in namespace.changed_sysctls()]
            if not _has_flags(inside, LOOPBACK, IFF_UP):
                missing.append(f"the link lo in namespace {namespace.name}, which is down")
            meta0 = _ifindex(inside, META0)
            if meta0 is None:
                missing.append(f"the link {META0} in namespace {namespace.name}")
            else:
                if not _has_flags(inside, meta0, IFF_UP | IFF_NOARP):
                    missing.append(f"the link {META0} in namespace {namespace.name}, which is down or asks by ARP")
                for name, parent in (("ns_in", filters.INGRESS), ("ns_out", filters.EGRESS)):
                    if not filters.is_attached(inside, meta0, parent):
                        programs.append(f"the filter {name} on {META0} in namespace {namespace.name}")
            routes += _missing_routes(inside, ipv6=namespace.ipv6)
    return Inspection(
        links=links,
        filters=on_links,
        programs=tuple(programs),
        namespace=tuple(missing),
        # iptables enters the namespace by its name; where that is missing, or names another one, it cannot.
        rules=tuple(iptables.missing(namespace.found, namespace.workers, ipv6=namespace.ipv6)) if named else (),
        routes=tuple(routes),
    )


def _link_state(ipr: IPRoute, name: str) -> LinkState | None:
    with contextlib.suppress(NetlinkError):  # the link is gone by now
        if (ifindex := _ifindex(ipr, name)) is not None:
            (link,) = ipr.get_links(ifindex)
            master = link.get_attr("IFLA_MASTER")
            return LinkState(
                ifindex=ifindex,
                up=bool(link["flags"] & IFF_UP),
                carrier=bool(link["flags"] & IFF_LOWER_UP),
                kind=link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") or "",
                bridge="" if master is None else ipr.get_links(master)[0].get_attr("IFLA_IFNAME"),
            )
    return None


def _ifindex(ipr: IPRoute, name: str) -> int | None:
    indices: Collection[int] = ipr.link_lookup(ifname=name)
    return next(iter(indices), None)


def _has_flags(ipr: IPRoute, ifindex: int, flags: int) -> bool:
    """Return whether a link exists and has all *flags*."""
    with contextlib.suppress(NetlinkError):
        (link,) = ipr.get_links(ifindex)
        return bool(link["flags"] & flags == flags)
    return False


def _missing_routes(inside: IPRoute, *, ipv6: bool) -> Iterator[str]:
    families = {"IPv4": socket.AF_INET, **({"IPv6": socket.AF_INET6} if ipv6 else {})}
    for name, family in families.items():
        rules = list(inside.get_rules(family=family, match={"priority": RULE_PRIORITY}))
        if not any(rule.get_attr("FRA_FWMARK") == STEERED and rule.get_attr("FRA_TABLE") == TABLE for rule in rules):
            yield f"the {name} rule of priority {RULE_PRIORITY}"
        if not list(inside.get_routes(family=family, table=TABLE)):
            yield f"the {name} route in table {TABLE}"
    if ipv6 and not any(
        address.get_attr("IFA_ADDRESS") == iptables.WORKER6 for address in inside.get_addr(family=socket.AF_INET6)
    ):
        yield f"the address {iptables.WORKER6} of {META0}"
