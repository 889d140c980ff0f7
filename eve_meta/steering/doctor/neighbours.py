"""Other programs' filters on the taps and rules for 169.254.169.254, and guests that reach the host's own metrics."""

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
from eve_meta.steering.taps.tap import is_tap, unservable
from eve_meta.values.addresses import SERVICE_IPV4
from eve_meta.values.bypass import INSTEAD

RT_SCOPE_UNIVERSE = 0
"""The scope of addresses that are valid beyond the link that has them (linux/rtnetlink.h)."""

NETNS = Path("/run/netns")

NEUTRON = ("ovnmeta-", "qdhcp-", "qrouter-")
"""The prefixes of the network namespaces in which neutron's metadata agents run their haproxy."""


def look(config: SteeringConfig, metrics: str) -> Iterator[Finding]:
    """Look for whatever on the host could interfere with steering.

    :param metrics: the address at which the configuration publishes the metrics.
    """
    with IPRoute() as ipr:
        yield from _taps(ipr, config)
        yield from _names(ipr, config)
        yield from _addresses(ipr)
        yield _metrics(ipr, config, metrics)
    yield from _nat()
    yield from _neutron()


def _taps(ipr: IPRoute, config: SteeringConfig) -> Iterator[Finding]:
    all_links = list(map(link_of, ipr.get_links()))
    for link in all_links:
        if (why := unservable(link, config)) is not None:
            yield warning("NICs", f"{link.name} cannot be served: {why}", INSTEAD)
    links = [link for link in all_links if is_tap(link, config)]
    findings = [finding for link in links for finding in _filters(ipr, link.name, link.ifindex)]
    yield from findings or [ok("filters on taps", f"taps: {len(links)}; no filter of others precedes ours")]


def _filters(ipr: IPRoute, tap: str, ifindex: int) -> Iterator[Finding]:
    check = "filters on taps"
    for other in (each for each in filters.on_link(ipr, ifindex) if not each.ours):
        delete = f"tc filter delete dev {tap} ingress prio {other.priority}"
        if other.priority == FILTER_PRIORITY:
            yield wrong(check, f"{tap}: the filter {other} has our priority", delete)
        elif other.priority < FILTER_PRIORITY:
            yield warning(check, f"{tap}: the filter {other} precedes ours, and may keep requests from it", delete)
    if number := tcx_programs(ifindex):
        text = f"{tap}: tcx programs ({number}) precede all filters, and may keep requests from ours"
        yield warning(check, text, f"find their owner with bpftool net show dev {tap}, and stop it")


def _names(ipr: IPRoute, config: SteeringConfig) -> Iterator[Finding]:
    name = host_link(config.namespace)
    for index in ipr.link_lookup(ifname=name):
        if next(iter(ipr.get_links(index))).get_attr("IFLA_IFALIAS") != ALIAS:
            yield wrong("names", f"the link {name} is not eve-meta's", f"ip link delete {name}")
            return
    yield ok("names", f"the name {name} is free or ours")


def _addresses(ipr: IPRoute) -> Iterator[Finding]:
    names = {link.ifindex: link.name for link in map(link_of, ipr.get_links())}
    findings = [
        warning(
            "service address",
            f"{names[message['index']]} has {SERVICE_IPV4}: this host cannot reach its own cloud's metadata service",
            f"ip address delete {SERVICE_IPV4}/{message['prefixlen']} dev {names[message['index']]}",
        )
        for message in ipr.get_addr(address=SERVICE_IPV4)
    ]
    yield from findings or [ok("service address", f"no link of this host has {SERVICE_IPV4}")]


def _metrics(ipr: IPRoute, config: SteeringConfig, metrics: str) -> Finding:
    check = "metrics"
    address = split_address(metrics)
    if address is None:
        return ok(check, "they are switched off")
    if ip_address(address[0]).is_loopback:
        # The kernel drops packets for such an address that come from elsewhere (ip_route_input_slow(), ip6_rcv_core()).
        return ok(check, f"no guest reaches {metrics}")
    names = _guest_networks(ipr, config)
    # Linux accepts a packet for any of its addresses on any of its links, so a guest that reaches one reaches all.
    reachable = [
        f"{message.get_attr('IFA_ADDRESS')} of {names[message['index']]}"
        for message in ipr.get_addr()
        if message["index"] in names and message["scope"] == RT_SCOPE_UNIVERSE
    ]
    if not reachable:
        return ok(check, f"no address of this host is on a guest's link, so guests have no direct path to {metrics}")
    text = f"guests can read them at {metrics}: this host's address {reachable[0]} is on their link"
    mend = f'set [admin] metrics = "127.0.0.1:{address[1]}", or have a firewall drop what guests send to {metrics}'
    return warning(check, text, mend)


def _guest_networks(ipr: IPRoute, config: SteeringConfig) -> dict[int, str]:
    """Return the names, by ifindex, of the links by which guests reach the host.

    These are the taps, their bridges, and the links that are stacked on either.
    """
    links = list(ipr.get_links())
    taps = [message for message in links if is_tap(link_of(message), config)]
    indices = {message["index"] for message in taps}
    indices |= {master for message in taps if (master := message.get_attr("IFLA_MASTER")) is not None}
    indices |= {
        message["index"]
        for message in links
        # Of these kinds alone: a veth names its other end by IFLA_LINK, too.
        if link_of(message).kind in ("vlan", "macvlan", "ipvlan") and message.get_attr("IFLA_LINK") in indices
    }
    return {message["index"]: link_of(message).name for message in links if message["index"] in indices}


def _nat() -> Iterator[Finding]:
    rules = [*_iptables_rules(), *_nft_rules()]
    for rule, delete in rules:
        text = f"the rule {rule!r} leads to another metadata service; guests behind our taps will not reach that one"
        yield warning("other services", text, delete)
    if not rules:
        yield ok("other services", f"no rule of this host names {SERVICE_IPV4}")


def _iptables_rules() -> Iterator[tuple[str, str]]:
    # All tables at once: legacy iptables-save would load a table into the kernel if it were asked for it by name.
    table = ""
    for line in _lines("iptables-save"):
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("-A ") and SERVICE_IPV4 in line:
            yield line, f"iptables -t {table} -D {line.removeprefix('-A ')}"


def _nft_rules() -> Iterator[tuple[str, str]]:
    chain: list[str] = []
    of_iptables = False
    for line in map(str.strip, _lines("nft", "--handle", "list", "ruleset")):
        if "managed by iptables-nft" in line:
            of_iptables = True  # iptables-save shows it
        elif line.startswith("table "):
            chain = line.split()[1:3]
            # Before 1.0.7 nft did not mark iptables' tables.
            of_iptables = of_iptables or chain in (["ip", name] for name in ("nat", "raw", "mangle", "filter"))
        elif line.startswith("chain "):
            chain = [*chain[:2], line.split()[1]]
        elif line == "}" and len(chain) == 2:
            of_iptables = False
        elif line.startswith("}"):
            chain = chain[:2]
        elif SERVICE_IPV4 in line and " # handle " in line and not of_iptables:
            rule, _, handle = line.rpartition(" # handle ")
            yield rule, f"nft delete rule {' '.join(chain)} handle {handle}"


def _lines(*command: str) -> list[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    except FileNotFoundError:
        return []


def _neutron() -> Iterator[Finding]:
    names = sorted(name for name in (os.listdir(NETNS) if NETNS.is_dir() else []) if name.startswith(NEUTRON))
    if names:
        text = (
            f"neutron's metadata agent answers the guests of its networks ({names[0]}): "
            "with our filter they would get our answers instead"
        )
        yield warning("neutron", text, "let [steering] taps match none of neutron's taps")
    else:
        yield ok("neutron", "no metadata agent of neutron runs here")
