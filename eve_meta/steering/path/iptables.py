"""The iptables rules of the private namespace: a constant number for each worker, however many taps there are.

``iptables-restore`` loads them and replaces whole tables at once. The namespace is ours alone, so loading the rules
again restores them. Both of Debian's variants of iptables, nft and legacy, can do this.
"""

from __future__ import annotations

import ctypes
import errno
import shlex
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from eve_meta.steering.path.names import META0
from eve_meta.values.addresses import SERVICE_IPV4, SERVICE_IPV6
from eve_meta.values.problem import Problem
from eve_meta.values.tag import PLACE_MASK, PLACE_SHIFT

SOL_IP, SOL_IPV6 = 0, 41
IPT_SO_GET_INFO = 64
TABLE_INFO = struct.Struct("=32s13I")
"""struct ipt_getinfo (linux/netfilter_ipv4/ip_tables.h); IPv6 has the same number and struct."""

WORKER = "127.0.0.1"
WORKER6 = "fd00:a9fe::1"
PORT = 8775
"""Where workers listen within the private namespace: at the port that :func:`port` returns. 8775 is the port of nova's
own metadata service. The IPv6 address is one of meta0's, because the kernel has no route_localnet for ::1."""

MAX_TRACKED = 2048
"""Entries that one tap's connections to one address of the service may have in conntrack's table, in whatever state.
Beyond that, a new connection begins only when conntrack forgets an old one. A guest can keep each entry with a packet
now and then, long after its connection ended, and the table is the host's memory: ``nf_conntrack_max`` is 65,536 on a
small host. At the rate that tap_in lets through, a guest needs eight seconds for so many, which is longer than the
table remembers a connection that ended in order. It is half of the connections that may wait to be accepted
(``sysctls.LISTEN_BACKLOG``), so no guest alone fills that queue either."""


PLACES_EACH = 2
"""The places of one worker: where it listens, and where its sockets will be replaced."""


def places_of(worker: int) -> range:
    """Return the places of the worker of that number; :mod:`eve_meta.steering.path.listening` says what a place is."""
    return range(1 + PLACES_EACH * worker, 1 + PLACES_EACH * (worker + 1))


def port(place: int) -> int:
    """Return the port at which a worker listens in *place*."""
    return PORT + place


def _rules(workers: int, address: str, *services: str) -> str:
    to_workers = "\n".join(
        f"-A PREROUTING -i {META0} -p tcp -d {service} --dport 80 "
        f"-m mark --mark {place << PLACE_SHIFT:#x}/{PLACE_MASK:#x} "
        f"-m connlimit --connlimit-upto {MAX_TRACKED} --connlimit-mask 0 "
        f'-m comment --comment "eve-meta: the service is worker {number}" '
        f"-j DNAT --to-destination {address}:{port(place)}"
        for number in range(workers)
        for place in places_of(number)
        for service in services
    )
    return f"""\
*raw
-A PREROUTING -i {META0} -m comment \
--comment "eve-meta: the tag is the zone, so equal guests do not meet in conntrack" -j CT --zone-orig mark
COMMIT
*nat
{to_workers}
COMMIT
"""


def rules(workers: int, *, ipv6: bool) -> dict[str, str]:
    """Return the rules that lead to *workers* workers, by the command that loads them.

    Their reasons:

    * raw PREROUTING comes before conntrack looks a packet up, so the zone is set in time.
    * ``--zone-orig`` and not ``--zone``: answers leave without a zone and must find their connection by its reply
      tuple. Conntrack keeps that unique over all zones, by giving one of two equal guests another source port.
    * The place in the mark chooses the worker. A connection that comes before any worker listens has none: it is not
      translated, and its guest tries again.
    * DNAT belongs into nat PREROUTING, before the routing decision that makes a packet local.
    * ``connlimit`` counts each zone by itself, and all addresses of a zone together (mask 0). A connection over the
      limit is not translated; it has no route, and conntrack forgets a packet that goes nowhere.

    :param ipv6: whether the kernel has IPv6.
    """
    wanted = {"iptables-restore": _rules(workers, WORKER, SERVICE_IPV4)}
    if ipv6:
        wanted["ip6tables-restore"] = _rules(workers, f"[{WORKER6}]", *SERVICE_IPV6)
    return wanted


def load(namespace: Path, workers: int, *, ipv6: bool) -> None:
    """Replace the rules within the network namespace at *namespace*.

    :param workers: the number of workers.
    :param ipv6: whether the kernel has IPv6.
    :raises Problem: when iptables is missing, or fails; then with iptables' own message.
    """
    for tool, wanted in rules(workers, ipv6=ipv6).items():
        restore(namespace, tool, wanted)


def missing(namespace: Path, workers: int, *, ipv6: bool) -> Iterator[str]:
    """Yield the rules that are missing from the network namespace at *namespace*, each as the command that adds it.

    :param workers: the number of workers.
    :param ipv6: whether the kernel has IPv6.
    :raises Problem: when iptables or nsenter is missing, or hangs.
    """
    for tool, wanted in rules(workers, ipv6=ipv6).items():
        # With -C in place of -A it only looks, at all of them at once; it fails where one is missing.
        looked_for = "".join(f"{line.replace('-A ', '-C ', 1)}\n" for line in wanted.splitlines())
        look = ["nsenter", f"--net={namespace}", tool, "--noflush", "--wait", "5"]
        if _run(look, looked_for).returncode == 0:
            continue
        command = tool.removesuffix("-restore")
        table = ""
        for line in wanted.splitlines():
            if line.startswith("*"):
                table = line[1:]
            elif line.startswith("-A "):
                rule = ["--table", table, "--check", *shlex.split(line)[1:]]
                if _run(["nsenter", f"--net={namespace}", command, "--wait", "5", *rule]).returncode != 0:
                    yield f"{command} --table {table} {line}"


class LegacyTables:
    """The kernel's description of the tables that legacy iptables made: cheap to read, and changed when rules are.

    To be made by a thread that is in the namespace. Where iptables is the nft variant the description is empty, and
    nobody needs it: nf_tables reports changes by itself (:mod:`eve_meta.steering.path.guard`).
    """

    def __init__(self, *, ipv6: bool) -> None:
        families = [(socket.AF_INET, SOL_IP), *([(socket.AF_INET6, SOL_IPV6)] if ipv6 else [])]
        self._sockets = [
            (socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC), level) for family, level in families
        ]
        self._legacy = _made_by_legacy()

    def close(self) -> None:
        for each, _ in self._sockets:
            each.close()

    def shape(self) -> tuple[bytes, ...]:
        """Return number and size of the rules of each table, and where its chains begin.

        :raises OSError: when the kernel refuses.
        """
        if not self._legacy:
            # The kernel would make a table in order to describe it.
            return ()
        return tuple(_table_info(each, level, table) for each, level in self._sockets for table in (b"raw", b"nat"))


def _made_by_legacy() -> bool:
    try:
        return "nat" in Path("/proc/thread-self/net/ip_tables_names").read_text().split()
    except FileNotFoundError:
        return False


def _table_info(socket_of_family: socket.socket, level: int, table: bytes) -> bytes:
    # Python's socket.getsockopt() cannot pass the table's name to the kernel.
    info = ctypes.create_string_buffer(TABLE_INFO.pack(table, *[0] * 13), TABLE_INFO.size)
    size = ctypes.c_uint32(TABLE_INFO.size)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.getsockopt(socket_of_family.fileno(), level, IPT_SO_GET_INFO, info, ctypes.byref(size)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, errno.errorcode.get(number, str(number)))
    return info.raw


def restore(namespace: Path, tool: str, wanted: str) -> None:
    """Replace the rules of one *tool* by *wanted*, a value of :func:`rules`; otherwise as :func:`load`."""
    # nsenter, not "ip netns exec", which mounts a new /sys, in which the BPF file system is missing.
    command = ["nsenter", f"--net={namespace}", tool, "--wait", "5"]
    done = _run(command, wanted)
    if done.returncode != 0:
        message = " ".join((done.stderr or done.stdout).split()) or f"exit status {done.returncode}"
        if f"failed to execute {tool}" in message:
            raise Problem("iptables is not installed: install the package iptables")
        raise Problem(f"{tool} refused the rules of namespace {namespace.name!r}: {message}")


def _run(command: list[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=30, check=False)
    except FileNotFoundError:
        raise Problem("nsenter is not installed: install the package util-linux") from None
    except subprocess.TimeoutExpired:
        raise Problem(f"{command[2]} did not end within 30 s: does another program hold /run/xtables.lock?") from None
