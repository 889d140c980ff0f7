"""The iptables rules of the private namespace: a constant number, however many taps there are.

Loaded by ``iptables-restore``, which replaces whole tables at once: the namespace is ours alone, so loading again is
how they are mended. Both of Debian's variants, nft and legacy, do.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

from eve_meta.errors import Problem

WORKER = "127.0.0.1"
WORKER6 = "fd00:a9fe::1"
PORT = 8775
"""Where workers listen within the private namespace; the port of nova's own metadata service. For IPv6 at an address of
meta0, because the kernel has no route_localnet for ::1."""


MAX_TRACKED = 2048
"""Connections of one tap to one address of the service in conntrack's table, in whatever state; another begins when one
is forgotten. A guest can keep each there with a packet now and then, long after its connection ended, and the table is
the host's memory: ``nf_conntrack_max`` is 65,536 on a small host. What tap_in lets through fills this in eight seconds,
which is longer than the table remembers an orderly end. It is half of what may wait to be accepted
(``namespace.LISTEN_BACKLOG``), so that no guest alone fills that either."""


def _rules(worker: str, *services: str) -> str:
    to_worker = "\n".join(
        f"-A PREROUTING -i meta0 -p tcp -d {service} --dport 80 "
        f"-m connlimit --connlimit-upto {MAX_TRACKED} --connlimit-mask 0 "
        f'-m comment --comment "eve-meta: the service is the worker" -j DNAT --to-destination {worker}:{PORT}'
        for service in services
    )
    return f"""\
*raw
-A PREROUTING -i meta0 -m comment --comment "eve-meta: the tag is the zone, so equal guests do not meet in conntrack" \
-j CT --zone-orig mark
COMMIT
*nat
{to_worker}
COMMIT
"""


RULES = {
    "iptables-restore": _rules(WORKER, "169.254.169.254"),
    "ip6tables-restore": _rules(f"[{WORKER6}]", "fe80::a9fe:a9fe", "fd00:ec2::254"),
}
"""raw PREROUTING comes before conntrack looks a packet up, so the zone is there in time. ``--zone-orig`` and not
``--zone``: answers leave without a zone and must find their connection by its reply tuple, which conntrack keeps unique
over all zones by giving one of two equal guests another source port. DNAT belongs into nat PREROUTING, before the
routing decision that makes a packet local. ``connlimit`` counts each zone for itself, and all its addresses together
(mask 0); a connection that is not led to the worker has no route, and conntrack forgets a packet that goes nowhere."""


def load(namespace: Path, *, ipv6: bool) -> None:
    """Replaces the rules within the network namespace at *namespace*.

    :param ipv6: whether the kernel has IPv6.
    :raises Problem: with iptables' own words when it fails or is missing.
    """
    restore(namespace, "iptables-restore")
    if ipv6:
        restore(namespace, "ip6tables-restore")


def missing(namespace: Path, *, ipv6: bool) -> Iterator[str]:
    """The rules that are not in the network namespace at *namespace*, each as a command that would add it.

    :param ipv6: whether the kernel has IPv6.
    :raises Problem: when iptables or nsenter is missing, or hangs.
    """
    for tool, rules in RULES.items():
        if tool == "ip6tables-restore" and not ipv6:
            continue
        command = tool.removesuffix("-restore")
        table = ""
        for line in rules.splitlines():
            if line.startswith("*"):
                table = line[1:]
            elif line.startswith("-A "):
                rule = ["--table", table, "--check", *shlex.split(line)[1:]]
                if _run(["nsenter", f"--net={namespace}", command, "--wait", "5", *rule]).returncode != 0:
                    yield f"{command} --table {table} {line}"


def restore(namespace: Path, tool: str) -> None:
    """As :func:`load`, for one of :data:`RULES`."""
    # nsenter, not "ip netns exec": that one mounts a new /sys, in which the bpf file system is missing.
    command = ["nsenter", f"--net={namespace}", tool, "--wait", "5"]
    done = _run(command, RULES[tool])
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split()) or f"exit status {done.returncode}"
        if f"failed to execute {tool}" in said:
            raise Problem("iptables is not installed: install the package iptables")
        raise Problem(f"{tool} refused the rules of namespace {namespace.name!r}: {said}")


def _run(command: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, check=False)
    except FileNotFoundError:
        raise Problem("nsenter is not installed: install the package util-linux") from None
    except subprocess.TimeoutExpired:
        raise Problem(f"{command[2]} did not end within 30 s: does another program hold /run/xtables.lock?") from None
