"""Everything that steering does to a host, done to none: in a network namespace and on mounts of a process's own.

Run as ``python -m eve_meta.steering.doctor.rehearsal``: prints findings as JSON. First each feature alone, so that what
the kernel lacks has a name; then the whole path, by the daemon's own code. When the process ends, so do its namespaces,
and with them everything that it made, whatever went wrong.
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

from eve_meta.steering.bpf.pins import BPFFS, LOAD_TIMEOUT, Pins
from eve_meta.steering.doctor.finding import Finding, State, ok, wrong
from eve_meta.steering.path import filters, iptables
from eve_meta.steering.path.namespace import PrivateNamespace
from eve_meta.steering.path.sysctls import SYSCTLS
from eve_meta.values.problem import Problem
from eve_meta.values.tag import STEERED

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000  # linux/sched.h
NAME = "eve-meta-try"
TIMEOUT = LOAD_TIMEOUT + 60
"""Seconds that all of it may take; it takes some three."""

ON_THE_HOST = "run eve-meta on the host itself, as root"


def rehearse(*, programs: bool) -> Iterator[Finding]:
    """Does it in a process of its own.

    :param programs: whether to compile and load the programs, and make the path with them.
    """
    command = [sys.executable, "-I", "-m", "eve_meta.steering.doctor.rehearsal", *(["--programs"] * programs)]
    # A group of its own: what it runs ends with it.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            text = f"to try it did not end within {TIMEOUT} s"
            yield wrong("steering", text, "look whether the host is overloaded: top")
            return
    try:
        found = [Finding(**{**each, "state": State(each["state"])}) for each in json.loads(stdout)]
    except ValueError:
        *_, last = stderr.strip().splitlines() or [f"exit status {process.returncode}"]
        yield wrong("steering", f"it cannot be tried: {last}", ON_THE_HOST)
    else:
        yield from found


def _try_all(programs: bool) -> Iterator[Finding]:
    """The findings; this process's network and mounts become its own."""
    try:
        _leave_the_host()
    except OSError as error:
        yield wrong("namespaces", f"a network and mount namespace cannot be made: {error.strerror}", ON_THE_HOST)
        return
    yield ok("namespaces", "a network and mount namespace can be made")
    good = True
    with IPRoute() as ipr:
        for check, feature, mend in _FEATURES:
            text = _fails(lambda feature=feature: feature(ipr))  # type: ignore[misc]
            good = good and not text
            yield wrong(check, text, mend) if text else ok(check, "works")
    if good and programs:
        yield from _whole_path()


def _leave_the_host() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET | CLONE_NEWNS) != 0:  # os.unshare() is not in Python before 3.12
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    # An own /run for the named namespace and files, an own /sys/fs/bpf for the pins; private, so that none comes out.
    for arguments in (
        ["--make-rprivate", "/"],
        ["-t", "tmpfs", "tmpfs", "/run"],
        ["-t", "bpf", "bpf", str(BPFFS)],
    ):
        done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise OSError(errno.EPERM, " ".join(done.stderr.split()))
    os.environ["TMPDIR"] = "/run"


def _fails(feature: Callable[[], None]) -> str:
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
        # Those of a link are there when it is.
        if "/conf/" not in name and not Path("/proc/sys", name).exists():
            raise Problem(f"this kernel has no sysctl {name.replace('/', '.')}")


def _iptables(tool: str) -> Callable[[IPRoute], None]:
    return lambda _: iptables.restore(Path("/proc/self/ns/net"), tool)


_MODULE = "modprobe {}, or boot a kernel of the distribution"
_RULES = "modprobe --all {}, or boot a kernel of the distribution"
_FEATURES: tuple[tuple[str, Callable[[IPRoute], None], str], ...] = (
    ("veth", _veth, _MODULE.format("veth")),
    ("ingress qdisc", _qdisc("ingress"), _MODULE.format("sch_ingress")),
    ("clsact qdisc", _qdisc("clsact"), _MODULE.format("sch_ingress")),
    ("rules by mark", _rule, "boot a kernel of the distribution (CONFIG_IP_MULTIPLE_TABLES)"),
    ("sysctls", _sysctl, "boot a kernel of the distribution"),
    ("conntrack zones and DNAT", _iptables("iptables-restore"), _RULES.format("xt_CT xt_nat xt_comment")),
    (
        "conntrack zones and DNAT for IPv6",
        _iptables("ip6tables-restore"),
        _RULES.format("xt_CT xt_nat xt_comment ip6table_nat ip6table_raw"),
    ),
)
"""What the kernel must have: the check's name, how it is tried, and what helps."""


def _whole_path() -> Iterator[Finding]:
    """The daemon's own way, but for a tap."""
    try:
        pins = Pins(NAME)
        with contextlib.closing(pins.open()):
            yield ok("programs", "compiled, and the kernel takes them")
            namespace = PrivateNamespace(NAME, pins.directory)
            namespace.ensure()
            for listener in namespace.listen():
                listener.close()
    except Problem as problem:
        yield wrong("steering", str(problem), ON_THE_HOST)
    else:
        yield ok("steering", "the whole path can be made")


def main() -> None:
    # A list at once: what fails half-way prints no half of it.
    found = [attrs.asdict(finding) for finding in _try_all("--programs" in sys.argv[1:])]
    print(json.dumps(found, default=lambda state: state.value))


if __name__ == "__main__":
    main()
