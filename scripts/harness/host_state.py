"""The state of a host's network, as the host's tools print it, to compare before with after.

::

    before = HostState.read()
    ...
    assert not before.changes()
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from harness.namespace import Namespace, names

BPFFS = "/sys/fs/bpf"

_VOLATILE_KEYS = frozenset(
    {"valid_life_time", "preferred_life_time", "expires", "used", "age", "packets", "bytes", "tentative"}
    | {"gc_timer", "hello_timer", "tcn_timer", "topology_change_timer", "fdb_n_learned"}
)
"""Keys in the output of ip and tc whose values change by themselves: ages, counters, a bridge's timers and learnt
addresses."""

_VOLATILE_SYSCTLS = re.compile(
    r"net\.netfilter\.nf_conntrack_count"  # grows with each connection
    r"|net\.core\.netdev_rss_key"  # chosen at random when the first device needs it
)

_MODULE_SYSCTLS = re.compile(r"net\.(netfilter|bridge|nf_conntrack_max)\b")
"""Keys that appear in *every* namespace when any namespace makes the kernel load a module (conntrack, br_netfilter)."""


class Change(NamedTuple):
    """A line of a section that has appeared (sign "+") or gone (sign "-")."""

    section: str
    sign: str
    line: str

    def __str__(self) -> str:
        return f"{self.section}: {self.sign} {self.line}"


class HostState(NamedTuple):
    """The lines of each section, read in the network namespace *namespace*, or in this process's own."""

    namespace: Namespace | None
    sections: dict[str, frozenset[str]]

    @classmethod
    def read(cls, namespace: Namespace | None = None) -> HostState:
        """Read the state now."""

        def run(*command: str) -> str:
            arguments = list(command) if namespace is None else namespace.command(command)
            return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout

        return cls(namespace, {name: frozenset(section(run)) for name, section in SECTIONS.items()})

    def changes(self, *, patience: float = 0) -> list[Change]:
        """Return the changes since this state.

        :param patience: seconds to wait for the changes to vanish: the kernel ends namespaces in the background.
        """
        deadline = time.monotonic() + patience
        while True:
            now = HostState.read(self.namespace)
            changes = sorted(self._compared_with(now))
            if not changes or time.monotonic() >= deadline:
                return changes
            time.sleep(0.1)

    def _compared_with(self, now: HostState) -> Iterator[Change]:
        for section, before in self.sections.items():
            after = now.sections[section]
            yield from (Change(section, "-", line) for line in before - after)
            for line in after - before:
                if not (section == "sysctl net" and _MODULE_SYSCTLS.match(line) and _is_new(line, before)):
                    yield Change(section, "+", line)


def _is_new(line: str, before: frozenset[str]) -> bool:
    key = line.partition("=")[0]
    return not any(other.startswith(f"{key}=") for other in before)


_Run = Callable[..., str]


def _objects(text: str) -> Iterator[str]:
    for item in json.loads(text or "[]"):
        yield json.dumps(_steady(item), sort_keys=True)


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _steady(inner) for key, inner in value.items() if key not in _VOLATILE_KEYS}
    return [_steady(inner) for inner in value] if isinstance(value, list) else value


def _listed(*command: str) -> Callable[[_Run], Iterator[str]]:
    return lambda run: _objects(run(*command))


def _devices(*command: str) -> Callable[[_Run], Iterator[str]]:
    # A line for each property: a device has sixty, and a change should name the property that changed.
    def section(run: _Run) -> Iterator[str]:
        for device in json.loads(run(*command)):
            for key, value in _steady(device).items():
                yield f"{device['ifname']} {key} {json.dumps(value, sort_keys=True)}"

    return section


def _filters(run: _Run) -> Iterator[str]:
    for qdisc in json.loads(run("tc", "-j", "qdisc", "show") or "[]"):
        if qdisc["kind"] in ("clsact", "ingress"):
            for direction in ("ingress", "egress") if qdisc["kind"] == "clsact" else ("ingress",):
                for line in _objects(run("tc", "-j", "filter", "show", "dev", qdisc["dev"], direction)):
                    yield f"{qdisc['dev']} {direction} {line}"


def _rules(command: str) -> Callable[[_Run], Iterator[str]]:
    def section(run: _Run) -> Iterator[str]:
        table = ""
        for line in run(command).splitlines():
            if line.startswith("*"):
                table = line
            elif line and not line.startswith("#") and line != "COMMIT":
                yield f"{table} " + re.sub(r"\[\d+:\d+\]", "", line)

    return section


# nft shows the same connlimit of ip6tables-nft now as a set, now as a match. ip6tables-save has it in full.
_CONNLIMIT = re.compile(r"add @connlimit\d+ \{[^}]*\}|xt match connlimit")


def _nft(run: _Run) -> Iterator[str]:
    # --stateless leaves the counters out. Numbered, because rules repeat and their order matters.
    for number, line in enumerate(run("nft", "--stateless", "list", "ruleset").splitlines()):
        yield f"{number} {_CONNLIMIT.sub('connlimit', line)}"


def _sysctls(run: _Run) -> Iterator[str]:
    # Some keys cannot be read (net.ipv6.conf.*.stable_secret): sysctl names them and goes on.
    for line in run("sysctl", "--all", "--ignore", "--pattern", "^net\\.").splitlines():
        key, _, value = line.partition(" = ")
        if not _VOLATILE_SYSCTLS.fullmatch(key):
            yield f"{key}={value}"


def _pins(_run: _Run) -> Iterator[str]:
    for folder, folders, files in os.walk(BPFFS):
        yield from (f"{folder}/{name}" for name in (*folders, *files))


SECTIONS: dict[str, Callable[[_Run], Iterator[str]]] = {
    "network namespaces": lambda _run: iter(names()),
    "ip link": _devices("ip", "-j", "-d", "link", "show"),
    "ip address": _devices("ip", "-j", "address", "show"),
    "tc qdisc": _listed("tc", "-j", "qdisc", "show"),
    "tc filter": _filters,
    "ip rule": _listed("ip", "-j", "rule", "show"),
    "ip -6 rule": _listed("ip", "-j", "-6", "rule", "show"),
    "ip route": _listed("ip", "-j", "route", "show", "table", "all"),
    "ip -6 route": _listed("ip", "-j", "-6", "route", "show", "table", "all"),
    "iptables-save": _rules("iptables-save"),
    "ip6tables-save": _rules("ip6tables-save"),
    "nft list ruleset": _nft,
    "sysctl net": _sysctls,
    "pins in /sys/fs/bpf": _pins,
}
