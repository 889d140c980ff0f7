"""All that steering does to a host, tried in a network namespace and with mounts of a process of its own.

Run as ``python -m eve_meta.steering.doctor.rehearsal``, it prints findings as JSON. It first tries each feature by
itself, so that a finding names the one that the kernel lacks; then the whole path, by the daemon's own code. When the
process ends, its namespaces end, too, and with them all that it made, whatever went wrong.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from eve_meta.steering.bpf.pins import BPFFS, LOAD_TIMEOUT, MOUNT_OPTIONS, Pins
from eve_meta.steering.doctor.finding import Finding, State, ok, wrong
from eve_meta.steering.path import filters, iptables
from eve_meta.steering.path.namespace import PrivateNamespace
from eve_meta.steering.path.sysctls import SYSCTLS
from eve_meta.values.problem import Problem
from eve_meta.values.tag import STEERED

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000  # linux/sched.h
NAME = "eve-meta-try"
TIMEOUT = LOAD_TIMEOUT + 60
"""Seconds that the rehearsal may take; it takes some three."""

ON_THE_HOST = "run eve-meta on the host itself, as root"


def rehearse(*, programs: bool) -> Iterator[Finding]:
    """Run the rehearsal in a process of its own, and yield its findings.

    :param programs: whether to compile and load the programs, and to make the path with them.
    """
    command = [sys.executable, "-I", "-m", "eve_meta.steering.doctor.rehearsal", *(["--programs"] * programs)]
    # In a process group of its own: the programs that it runs are killed with it.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            text = f"the rehearsal did not end within {TIMEOUT} s"
            yield wrong("steering", text, "find out whether the host is overloaded: top")
            return
    try:
        findings = [Finding(**{**each, "state": State(each["state"])}) for each in json.loads(stdout)]
    except ValueError:
        *_, last = stderr.strip().splitlines() or [f"exit status {process.returncode}"]
        yield wrong("steering", f"steering cannot be tried: {last}", ON_THE_HOST)
    else:
        yield from findings


def _try_all(programs: bool) -> Iterator[Finding]:
    """Yield the findings; this process gets a network and mounts of its own."""
    try:
        _leave_the_host()
    except OSError as error:
        yield wrong("namespaces", f"a network and mount namespace cannot be made: {error.strerror}", ON_THE_HOST)
        return
    yield ok("namespaces", "a network and mount namespace can be made")
    good = True
    with IPRoute() as ipr:
        for check, feature, mend in _FEATURES:
            text = _failure(lambda feature=feature: feature(ipr))  # type: ignore[misc]
            good = good and not text
            yield wrong(check, text, mend) if text else ok(check, "works")
    if good and programs:
        yield from _whole_path()


def _leave_the_host() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET | CLONE_NEWNS) != 0:  # os.unshare() is not in Python before 3.12
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    # A /run for the namespace's name and for files, and a /sys/fs/bpf for the pins. Private, so the host sees neither.
    for arguments in (
        ["--make-rprivate", "/"],
        ["-t", "tmpfs", "tmpfs", "/run"],
        ["-t", "bpf", "-o", MOUNT_OPTIONS, "bpf", str(BPFFS)],
    ):
        done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise OSError(errno.EPERM, " ".join(done.stderr.split()))
    os.environ["TMPDIR"] = "/run"


def _failure(feature: Callable[[], None]) -> str:
    """Return why *feature* fails, or "" when it works."""
    try:
        feature()
    except NetlinkError as error:
        return f"the kernel refuses: {os.strerror(error.code)}"
    except (OSError, Problem) as error:
        return str(error)
    return ""


def _veth(ipr: IPRoute) -> None:
    ipr.link("add", ifname="try0", kind="veth", peer="try1")


def _qdisc(kind: str) -> Callable[[IPRoute], None]:
    def make(ipr: IPRoute) -> None:
        ipr.link("add", ifname=kind, kind="veth", peer=f"{kind}-peer")
        filters.add_qdisc(ipr, kind, ipr.link_lookup(ifname=kind)[0])

    return make


def _rule(ipr: IPRoute) -> None:
    ipr.rule("add", priority=1, fwmark=STEERED, fwmask=STEERED, table=1)


def _sysctl(ipr: IPRoute) -> None:
    for name in SYSCTLS:
        # The sysctls of a link exist only when the link does.
        if "/conf/" not in name and not Path("/proc/sys", name).exists():
            raise Problem(f"this kernel has no sysctl {name.replace('/', '.')}")


def _iptables(tool: str) -> Callable[[IPRoute], None]:
    return lambda _: iptables.restore(Path("/proc/self/ns/net"), tool, iptables.rules(1, ipv6=True)[tool])


_MODULE = "modprobe {}, or boot a kernel of the distribution"
_RULES = "modprobe --all {}, or boot a kernel of the distribution"
_FEATURES: tuple[tuple[str, Callable[[IPRoute], None], str], ...] = (
    ("veth", _veth, _MODULE.format("veth")),
    ("ingress qdisc", _qdisc("ingress"), _MODULE.format("sch_ingress")),
    ("clsact qdisc", _qdisc("clsact"), _MODULE.format("sch_ingress")),
    ("rules by mark", _rule, "boot a kernel of the distribution (CONFIG_IP_MULTIPLE_TABLES)"),
    ("sysctls", _sysctl, "boot a kernel of the distribution"),
    (
        "conntrack zones and DNAT",
        _iptables("iptables-restore"),
        _RULES.format("xt_CT xt_nat xt_mark xt_connlimit xt_comment"),
    ),
    (
        "conntrack zones and DNAT for IPv6",
        _iptables("ip6tables-restore"),
        _RULES.format("xt_CT xt_nat xt_mark xt_connlimit xt_comment ip6table_nat ip6table_raw"),
    ),
)
"""The features that the kernel must have: the name of the check, how the feature is tried, and what helps."""


def _whole_path() -> Iterator[Finding]:
    """Make the path as the daemon does, but without a tap."""
    try:
        pins = Pins(NAME)
        with contextlib.closing(pins.open()):
            yield ok("programs", "they compile, and the kernel accepts them")
            namespace = PrivateNamespace(NAME, pins.program)
            namespace.ensure()
            for worker in namespace.listen(1).workers:
                worker.close()
            namespace.lead_to_workers()
    except Problem as problem:
        yield wrong("steering", str(problem), ON_THE_HOST)
    else:
        yield ok("steering", "the whole path can be made")


def main() -> None:
    # The whole list first: a rehearsal that fails half-way prints nothing.
    findings = [attrs.asdict(finding) for finding in _try_all("--programs" in sys.argv[1:])]
    print(json.dumps(findings, default=lambda state: state.value))


if __name__ == "__main__":
    main()
