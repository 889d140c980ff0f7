"""The sysctls of the private namespace: their values, how to set them, and which have been changed.

``/proc/sys/net`` shows each thread the sysctls of the network namespace that it is in, so a caller enters the private
namespace first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from eve_meta.steering.path.names import META0
from eve_meta.values.problem import Problem

LISTEN_BACKLOG = 4096
"""Connections that the kernel completes before a worker accepts them. With Twisted's default of 50 a boot storm loses
SYNs, which the guests send again only a second later. The kernel takes no more than ``net.core.somaxconn``, which each
namespace has of its own."""

SYSCTLS = {
    # The accepted socket, its answers and the resets of connections that nobody accepts carry the mark of the packet
    # that they answer.
    "net/ipv4/tcp_fwmark_accept": "1",
    "net/ipv4/fwmark_reflect": "1",
    # DNAT leads from meta0 to 127.0.0.1, which the kernel calls martian on any other link.
    f"net/ipv4/conf/{META0}/route_localnet": "1",
    # A new namespace inherits these from the host. Nothing is forwarded here; and a guest's address has no route
    # without a mark, so the reverse path filter would drop every packet.
    "net/ipv4/ip_forward": "0",
    "net/ipv4/conf/all/rp_filter": "0",
    f"net/ipv4/conf/{META0}/rp_filter": "0",
    "net/core/somaxconn": str(LISTEN_BACKLOG),
    "net/ipv4/tcp_max_syn_backlog": str(LISTEN_BACKLOG),
    # When several guests together fill the backlog with connections that they never complete, connections of the other
    # guests need no place in it. This is the kernel's default, set because much depends on it here.
    "net/ipv4/tcp_syncookies": "1",
    # The kernel forgets a half-open connection after 7 seconds, not 63: a guest is one hop away and loses nothing.
    "net/ipv4/tcp_synack_retries": "2",
    # It forgets a connection that the worker closed, but whose guest acknowledges nothing, after 6 seconds, not 100:
    # until then the unsent answer takes the kernel's memory.
    "net/ipv4/tcp_orphan_retries": "4",
}

SYSCTLS6 = {
    # The host may have switched IPv6 off, also for namespaces yet to come (net.core.devconf_inherit_init_net).
    "net/ipv6/conf/all/disable_ipv6": "0",
    f"net/ipv6/conf/{META0}/disable_ipv6": "0",
    "net/ipv6/conf/all/forwarding": "0",
    "net/ipv6/fwmark_reflect": "1",
    # No address but the worker's: neither a link-local one nor one that a guest advertises.
    f"net/ipv6/conf/{META0}/addr_gen_mode": "1",
    f"net/ipv6/conf/{META0}/accept_ra": "0",
}

CONNTRACK_SYSCTLS = {
    # Connections here are short, and the worker ends one on which nothing happens for 15 s. With the defaults (five
    # days, minutes) a guest would soon have all the entries that it may (iptables.MAX_TRACKED), and they would outlive
    # the quarantine of its tag (tags.QUARANTINE).
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


_LINK = re.compile(r"net/ipv[46]/conf/([^/]+)/")


def wanted(*, ipv6: bool) -> Mapping[str, str]:
    """Return the values that the private namespace needs, by name.

    :param ipv6: whether the kernel has IPv6.
    """
    return SYSCTLS | CONNTRACK_SYSCTLS | (SYSCTLS6 if ipv6 else {})


def of_host_link(name: str) -> Mapping[str, str]:
    """Return the values that the veth pair's end on the host, *name*, needs in the host's namespace."""
    # The host sends nothing of its own on this link: it needs no link-local address there, no router solicitations.
    return {f"net/ipv6/conf/{name}/disable_ipv6": "1"}


def write(sysctls: Mapping[str, str]) -> None:
    """Set *sysctls*.

    :raises Problem: when the kernel does not have one of them, or refuses its value.
    """
    for name, value in sysctls.items():
        path = Path("/proc/sys") / name
        try:
            path.write_text(value)
        except FileNotFoundError:
            if name.startswith("net/ipv6/"):
                continue  # a kernel without IPv6 has nothing to switch off
            link = _LINK.match(name)
            if link is not None and not path.parent.is_dir():
                raise Problem(f"the link {link[1]} vanished: does another program manage it?") from None
            raise Problem(f"this kernel has no sysctl {name.replace('/', '.')}: eve-meta needs it") from None
        except OSError as error:
            raise Problem(f"cannot set the sysctl {name.replace('/', '.')}: {error.strerror}") from None


def changed(sysctls: Mapping[str, str]) -> Iterator[str]:
    """Yield those of *sysctls* that have another value now, each as the ``NAME=VALUE`` that would set it."""
    for name, value in sysctls.items():
        try:
            # Not pathlib: this is done every other second, for some thirty sysctls.
            descriptor = os.open(f"/proc/sys/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # the link is gone, which the inspection reports as such; or the kernel has no IPv6
        try:
            current = os.read(descriptor, 64)
        except FileNotFoundError:
            continue  # the link went at this moment
        finally:
            os.close(descriptor)
        if current.strip() != value.encode():
            yield f"{name.replace('/', '.')}={value}"
