"""Who else on this host does something to the taps, or to 169.254.169.254, and who gets what is for the host alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

from pyroute2 import IPRoute

from eve_meta.config import SteeringConfig, split_address
from eve_meta.steering.bpf.libbpf import tcx_programs
from eve_meta.steering.doctor.finding import Finding, ok, warning, wrong
from eve_meta.steering.path import filters
from eve_meta.steering.path.names import ALIAS, FILTER_PRIORITY, host_link
from eve_meta.steering.taps.links import link_of
from eve_meta.steering.taps.tap import is_tap
from eve_meta.values.addresses import SERVICE_IPV4

RT_SCOPE_UNIVERSE = 0
"""Of linux/rtnetlink.h: the scope of addresses by which a host is known to others than its next neighbours."""

NETNS = Path("/run/netns")

NEUTRON = ("ovnmeta-", "qdhcp-", "qrouter-")
"""What the names of the namespaces begin with in which neutron's metadata agents run their haproxy."""


def look(config: SteeringConfig, metrics: str) -> Iterator[Finding]:
    """All findings about them; *metrics* is where the configuration wants the metrics to be."""
    with IPRoute() as ipr:
        yield from _taps(ipr, config)
        yield from _names(ipr, config)
        yield from _addresses(ipr)
        yield _metrics(ipr, config, metrics)
    yield from _nat()
    yield from _neutron()


def _taps(ipr: IPRoute, config: SteeringConfig) -> Iterator[Finding]:
    links = [link for link in map(link_of, ipr.get_links()) if is_tap(link, config)]
    found = [finding for link in links for finding in _filters(ipr, link.name, link.ifindex)]
    yield from found or [ok("filters on taps", f"taps: {len(links)}; nobody else's filter comes before ours")]


def _filters(ipr: IPRoute, tap: str, ifindex: int) -> Iterator[Finding]:
    check = "filters on taps"
    for other in (each for each in filters.on_link(ipr, ifindex) if not each.ours):
        delete = f"tc filter delete dev {tap} ingress prio {other.priority}"
        if other.priority == FILTER_PRIORITY:
            yield wrong(check, f"{tap}: the filter {other} has the priority that is ours", delete)
        elif other.priority < FILTER_PRIORITY:
            yield warning(check, f"{tap}: the filter {other} comes before ours, and may keep requests from it", delete)
    if number := tcx_programs(ifindex):
        text = f"{tap}: before any filter there are tcx programs ({number}), and may keep requests from ours"
        yield warning(check, text, f"bpftool net show dev {tap} says whose; stop that program")


def _names(ipr: IPRoute, config: SteeringConfig) -> Iterator[Finding]:
    name = host_link(config.namespace)
    for index in ipr.link_lookup(ifname=name):
        if next(iter(ipr.get_links(index))).get_attr("IFLA_IFALIAS") != ALIAS:
            yield wrong("names", f"the link {name} is not eve-meta's", f"ip link delete {name}")
            return
    yield ok("names", f"{name} is free or ours")


def _addresses(ipr: IPRoute) -> Iterator[Finding]:
    names = {link.ifindex: link.name for link in map(link_of, ipr.get_links())}
    found = [
        warning(
            "service address",
            f"{names[message['index']]} has {SERVICE_IPV4}: this host cannot reach its own cloud's metadata service",
            f"ip address delete {SERVICE_IPV4}/{message['prefixlen']} dev {names[message['index']]}",
        )
        for message in ipr.get_addr(address=SERVICE_IPV4)
    ]
    yield from found or [ok("service address", f"no link of this host has {SERVICE_IPV4}")]


def _metrics(ipr: IPRoute, config: SteeringConfig, metrics: str) -> Finding:
    check = "metrics"
    place = split_address(metrics)
    if place is None:
        return ok(check, "they are off")
    if ip_address(place[0]).is_loopback:
        # Whatever comes from elsewhere for such an address is dropped (ip_route_input_slow(), ip6_rcv_core()).
        return ok(check, f"no guest reaches {metrics}")
    names = _guest_networks(ipr, config)
    # Linux takes a packet for any of its addresses on any of its links. So where a guest reaches one it reaches all.
    near = [
        f"{message.get_attr('IFA_ADDRESS')} of {names[message['index']]}"
        for message in ipr.get_addr()
        if message["index"] in names and message["scope"] == RT_SCOPE_UNIVERSE
    ]
    if not near:
        return ok(check, f"guests have no address of this host for a neighbour, so {metrics} is no nearer to them")
    text = f"guests can read them at {metrics}: they are neighbours of this host, by its address {near[0]}"
    mend = f'set [admin] metrics = "127.0.0.1:{place[1]}", or have a firewall drop what guests send to {metrics}'
    return warning(check, text, mend)


def _guest_networks(ipr: IPRoute, config: SteeringConfig) -> dict[int, str]:
    """Taps, the bridges that they are on, and what stands on those: names by ifindex."""
    links = list(ipr.get_links())
    taps = [message for message in links if is_tap(link_of(message), config)]
    found = {message["index"] for message in taps}
    found |= {master for message in taps if (master := message.get_attr("IFLA_MASTER")) is not None}
    found |= {
        message["index"]
        for message in links
        # A veth's other end is called so, too.
        if link_of(message).kind in ("vlan", "macvlan", "ipvlan") and message.get_attr("IFLA_LINK") in found
    }
    return {message["index"]: link_of(message).name for message in links if message["index"] in found}


def _nat() -> Iterator[Finding]:
    rules = [*_iptables_rules(), *_nft_rules()]
    for rule, delete in rules:
        text = f"another metadata service is led to by the rule {rule!r}; guests behind our taps no longer reach it"
        yield warning("other services", text, delete)
    if not rules:
        yield ok("other services", f"no rule of this host is about {SERVICE_IPV4}")


def _iptables_rules() -> Iterator[tuple[str, str]]:
    # Of all tables: the legacy one, asked for a table, would load it into the kernel.
    table = ""
    for line in _lines("iptables-save"):
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("-A ") and SERVICE_IPV4 in line:
            yield line, f"iptables -t {table} -D {line.removeprefix('-A ')}"


def _nft_rules() -> Iterator[tuple[str, str]]:
    place: list[str] = []
    of_iptables = False
    for line in map(str.strip, _lines("nft", "--handle", "list", "ruleset")):
        if "managed by iptables-nft" in line:
            of_iptables = True  # and shown by iptables-save
        elif line.startswith("table "):
            place = line.split()[1:3]
            # Before 1.0.7 nft did not say whose a table is.
            of_iptables = of_iptables or place in (["ip", name] for name in ("nat", "raw", "mangle", "filter"))
        elif line.startswith("chain "):
            place = [*place[:2], line.split()[1]]
        elif line == "}" and len(place) == 2:
            of_iptables = False
        elif line.startswith("}"):
            place = place[:2]
        elif SERVICE_IPV4 in line and " # handle " in line and not of_iptables:
            rule, _, handle = line.rpartition(" # handle ")
            yield rule, f"nft delete rule {' '.join(place)} handle {handle}"


def _lines(*command: str) -> list[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    except FileNotFoundError:
        return []


def _neutron() -> Iterator[Finding]:
    names = sorted(name for name in (os.listdir(NETNS) if NETNS.is_dir() else []) if name.startswith(NEUTRON))
    if names:
        text = f"neutron's metadata agent answers the guests of its networks ({names[0]}): they would get ours instead"
        yield warning("neutron", text, "let [steering] taps match none of neutron's taps")
    else:
        yield ok("neutron", "there is none")
