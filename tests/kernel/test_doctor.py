"""``eve-meta doctor``: each fault of a host is made, found, and repaired by the command that the doctor names."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import platform
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from eve_meta.config import SteeringConfig
from eve_meta.runtime.sandbox.identities import BLOCK, BLOCKS, FIRST
from eve_meta.steering.bpf.libbpf import BPF_TCX_INGRESS, open_pin
from eve_meta.steering.doctor import kernel, neighbours, rehearsal, software
from eve_meta.steering.doctor.finding import Finding
from eve_meta.steering.path import filters
from eve_meta.values.problem import Problem
from harness import ROOT
from harness.guests import Lab
from harness.host_state import HostState
from harness.namespace import inside
from harness.unit import capabilities

EVE_META = ROOT / ".venv/bin/eve-meta"


def examine(
    *prefix: str | Path, config: Path | None = None, environment: Mapping[str, str] | None = None
) -> dict[str, dict[str, str]]:
    """Run the doctor, and return its findings by check.

    The exit status must fit the findings, and each that is not ok must name a repair.
    """
    options = [] if config is None else ["--config", str(config)]
    done = subprocess.run(
        [*prefix, EVE_META, "doctor", "--json", *options],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    report: dict[str, Any] = json.loads(done.stdout)
    findings = report["findings"]
    assert all(bool(finding["mend"]) == (finding["state"] != "ok") for finding in findings)
    assert done.returncode == (0 if report["ok"] else 1)
    assert report["ok"] == all(finding["state"] != "wrong" for finding in findings)
    return {finding["check"]: finding for finding in findings}


def bad(found: dict[str, dict[str, str]]) -> dict[str, str]:
    """Return the states of the findings that are not ok, by check."""
    return {check: finding["state"] for check, finding in found.items() if finding["state"] != "ok"}


def mounted(script: str) -> list[str]:
    """Return a prefix for a command, which then has mounts of its own, made by *script*."""
    return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", f'{script}\nexec "$@"', "sh"]


def as_nobody(script: str = "") -> list[str]:
    """Return a prefix for a command, which then runs as an unprivileged user, with mounts of its own, made by *script*.

    The user can enter the checkout, even where the checkout is in a home of mode 0700.
    """
    closed = next((parent for parent in reversed(ROOT.parents) if not parent.stat().st_mode & stat.S_IXOTH), None)
    enter = f"mount --bind {ROOT} /mnt; mount -t tmpfs -o mode=755 tmpfs {closed}; umask 022; mkdir -p {ROOT}"
    opened = [] if closed is None else [f"{enter}; mount --move /mnt {ROOT}"]
    return [*mounted("; ".join([*opened, script])), "setpriv", "--reuid=nobody", "--clear-groups"]


def fake(directory: Path, tool: str, script: str) -> dict[str, str]:
    """Return an environment in which the program *tool* is the shell script *script*."""
    (directory / tool).write_text(f"#!/bin/sh\n{script}\n")
    (directory / tool).chmod(0o755)
    return {"PATH": f"{directory}:{os.environ['PATH']}"}


# -- the whole examination --


def test_a_host_in_order_is_all_ok_and_is_not_changed(bpffs: Path) -> None:
    before = HostState.read()
    found = examine()
    assert bad(found) == {}
    assert before.changes(patience=5) == []
    assert {"veth", "ingress qdisc", "conntrack zones and DNAT", "programs", "steering", "neutron"} <= found.keys()


def test_the_report_for_people() -> None:
    done = subprocess.run(
        [*as_nobody(), EVE_META, "doctor", "--config", "/dev/null"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "ok       configuration: /dev/null\n" in done.stdout
    assert done.stdout.endswith(
        "wrong    root: you are not root, and only root can examine the rest\n         → sudo eve-meta doctor\n"
    )


# -- the kernel --


@pytest.mark.parametrize(("release", "state"), [("5.14.0-362.el9", "wrong"), ("5.15.0-91-generic", "ok"), ("6", "ok")])
def test_an_old_kernel(release: str, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "release", lambda: release)
    assert kernel.release().state.value == state


@pytest.mark.parametrize(
    ("modes", "state"),
    [("[none] integrity confidentiality\n", "ok"), ("none integrity [confidentiality]\n", "warning"), (None, "ok")],
)
def test_a_kernel_that_is_locked_down(
    modes: str | None, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "LOCKDOWN", tmp_path / "lockdown")
    if modes is not None:
        (tmp_path / "lockdown").write_text(modes)
    assert kernel.lockdown().state.value == state


def test_the_doctor_asks_for_the_capabilities_that_the_unit_grants() -> None:
    assert capabilities() == kernel.NEEDED.keys()


def test_a_container_without_kill_and_bpf_file_system(bpffs: Path) -> None:
    found = examine(*mounted("umount --lazy /sys/fs/bpf"), "setpriv", "--bounding-set=-kill")
    assert bad(found) == {"capabilities": "wrong", "bpf file system": "warning"}
    assert found["bpf file system"]["mend"] == "mount -t bpf -o nosuid,nodev,noexec,mode=0700 bpf /sys/fs/bpf"
    assert "lacks CAP_KILL: is this a container?" in found["capabilities"]["text"]


def test_a_container_without_net_admin(bpffs: Path) -> None:
    found = bad(examine("setpriv", "--bounding-set=-net_admin"))
    refused = ("veth", "ingress qdisc", "clsact qdisc", "rules by mark", "conntrack zones and DNAT")
    assert {check: found.get(check) for check in refused} == dict.fromkeys(refused, "wrong")
    assert "steering" not in found  # the whole path is not tried without its features


def test_a_container_without_sys_admin(bpffs: Path) -> None:
    assert bad(examine("setpriv", "--bounding-set=-sys_admin"))["namespaces"] == "wrong"


def test_a_kernel_without_a_sysctl(bpffs: Path) -> None:
    found = examine(*mounted("mount -t tmpfs tmpfs /proc/sys"))
    assert bad(found) == {"sysctls": "wrong"}
    assert "this kernel has no sysctl net.ipv4.tcp_fwmark_accept" in found["sysctls"]["text"]


# -- packages --


def test_no_iptables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = software.iptables()
    assert (finding.state.value, finding.mend) == ("wrong", "apt-get install iptables")


def test_an_iptables_that_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in fake(tmp_path, "iptables-restore", "echo no such library >&2; exit 127").items():
        monkeypatch.setenv(key, value)
    finding = software.iptables()
    assert (finding.state.value, finding.text) == ("wrong", "iptables-restore does not run: no such library")


@pytest.mark.parametrize("tool", ["iptables-restore", "ip6tables-restore"])
def test_a_kernel_or_iptables_without_zones(tool: str, bpffs: Path, tmp_path: Path) -> None:
    script = 'case "$1" in --version) echo v1;; *) echo "unknown option --zone-orig" >&2; exit 2;; esac'
    found = examine(environment=fake(tmp_path, tool, script))
    check = "conntrack zones and DNAT" + " for IPv6" * (tool == "ip6tables-restore")
    assert bad(found) == {check: "wrong"}
    assert "unknown option --zone-orig" in found[check]["text"]


def test_no_bcc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bcc", None)
    finding = software.bcc()
    assert (finding.state.value, finding.mend) == ("wrong", "apt-get install python3-bpfcc")


def test_no_kernel_headers(bpffs: Path) -> None:
    hide = "for each in /usr/src /lib/modules /sys/kernel; do test ! -d $each || mount -t tmpfs tmpfs $each; done"
    found = examine(*mounted(hide))
    assert found["kernel headers"]["state"] == "wrong"
    assert found["kernel headers"]["mend"].startswith("apt-get install linux-headers-")
    assert "programs" not in found


def test_kernel_headers_elsewhere(bpffs: Path, tmp_path: Path) -> None:
    found = examine(environment={"BCC_KERNEL_SOURCE": str(tmp_path)})
    assert bad(found) == {"kernel headers": "wrong"}
    assert found["kernel headers"]["mend"] == "unset BCC_KERNEL_SOURCE"
    # Headers that exist but do not compile.
    (tmp_path / "include/linux").mkdir(parents=True)
    (tmp_path / "include/linux/kconfig.h").write_text("#error broken\n")
    found = examine(environment={"BCC_KERNEL_SOURCE": str(tmp_path)})
    assert bad(found) == {"steering": "wrong"}
    assert "do not load" in found["steering"]["text"]


@pytest.mark.parametrize(
    ("release", "command"),
    [
        ({"ID": "debian"}, "apt-get install linux-headers-"),
        ({"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}, "apt-get install linux-headers-generic"),
        ({"ID": "fedora"}, "install the package that Debian calls linux-headers-"),
    ],
)
def test_packages_have_the_distributions_names(
    release: dict[str, str], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: release)
    monkeypatch.setattr(software, "kernel_headers", _no_headers)
    assert software.headers().mend.startswith(command)


def _no_headers() -> Any:
    raise Problem("there are none")


@pytest.fixture
def readable() -> Iterator[Path]:
    """A directory that everybody can read; pytest's are root's alone."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_ids_that_others_have_and_a_configuration_that_is_wrong(readable: Path) -> None:
    (readable / "bad.toml").write_text("[steering]\ntap = []\n")
    named = (f"u{first}:x:{first}:0::/:/bin/sh\n" for first in range(FIRST, FIRST + BLOCKS * BLOCK, BLOCK))
    (readable / "passwd").write_text(Path("/etc/passwd").read_text() + "".join(named))
    found = examine(*as_nobody(f"mount --bind {readable}/passwd /etc/passwd"), config=readable / "bad.toml")
    assert bad(found) == {"configuration": "wrong", "user": "wrong", "root": "wrong"}
    assert found["configuration"]["mend"] == f"eve-meta check --config {readable}/bad.toml"
    assert "unknown key" in found["configuration"]["text"]
    assert f"all from {FIRST} on are in use" in found["user"]["text"]


def test_no_binding_of_libseccomp(readable: Path) -> None:
    spec = importlib.util.find_spec("seccomp")
    assert spec is not None
    (readable / "nothing").touch()
    found = examine(*as_nobody(f"mount --bind {readable}/nothing {spec.origin}"))
    assert bad(found) == {"seccomp": "wrong", "root": "wrong"}
    assert found["seccomp"]["mend"] == "apt-get install python3-seccomp"


def test_a_process_is_confined_on_trial(bpffs: Path) -> None:
    found = examine()
    assert {found[check]["state"] for check in ("seccomp", "user", "landlock", "confinement")} == {"ok"}
    # As in a container without the right to make namespaces.
    found = examine("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
    assert found["confinement"]["state"] == "wrong"
    assert "Operation not permitted" in found["confinement"]["text"]


# -- a rehearsal that is impossible --


def test_a_host_too_slow_to_try(bpffs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in fake(tmp_path, "iptables-restore", "exec sleep 60").items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(rehearsal, "TIMEOUT", 1)
    (finding,) = rehearsal.rehearse(programs=False)
    assert (finding.state.value, finding.text) == ("wrong", "the rehearsal did not end within 1 s")
    # tests/conftest.py fails the test if a process is left running.


def test_a_python_that_cannot_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, "python", "echo Killed >&2; exit 1")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    (finding,) = rehearsal.rehearse(programs=False)
    assert (finding.state.value, finding.text) == ("wrong", "steering cannot be tried: Killed")


# -- neighbours --


def bpf(priority: int, protocol: str) -> str:
    """Return the command that adds a filter of another program; which BPF program it runs does not matter here."""
    return f"tc filter add dev vnet0 ingress prio {priority} protocol {protocol} bpf da pinned {{pins}}/host_in"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("emdoc") as lab:
        lab.make_tap("vnet0")
        yield lab


def look(lab: Lab, metrics: str = "") -> dict[str, Finding]:
    """Return the findings of the lab's host that are not ok, by check."""
    with inside(lab.host.name):
        findings = list(neighbours.look(SteeringConfig(), metrics))
    assert len(findings) >= 5
    return {finding.check: finding for finding in findings if finding.state.value != "ok"}


def test_a_lab_has_no_neighbours(lab: Lab) -> None:
    assert look(lab) == {}


def test_a_macvtap_cannot_be_served(lab: Lab) -> None:
    lab.host.ip("link add low0 type veth peer low1", "link add link low0 name vnet1 type macvtap mode bridge")
    lab.host.ip("link add link low0 name other type macvtap mode bridge")  # which no pattern makes a tap
    found = look(lab)
    assert set(found) == {"NICs"}
    assert found["NICs"].text.startswith("vnet1 cannot be served: it is a macvtap: its guest's frames go straight to")
    assert found["NICs"].mend.startswith("use a tap: <interface type='bridge'>")


@pytest.mark.parametrize(
    ("made", "check", "state"),
    [
        pytest.param(
            ["tc qdisc add dev vnet0 clsact", bpf(1, "all")],
            "filters on taps",
            "warning",
            id="filter before ours",
        ),
        pytest.param(
            ["tc qdisc add dev vnet0 ingress", bpf(169, "ip")],
            "filters on taps",
            "wrong",
            id="filter in our place",
        ),
        pytest.param(["ip link add eve-meta0 type bridge"], "names", "wrong", id="our name"),
        pytest.param(
            ["ip link set lo up", "ip address add 169.254.169.254/32 dev lo"],
            "service address",
            "warning",
            id="service address",
        ),
        pytest.param(
            ["iptables -t nat -A PREROUTING -d 169.254.169.254/32 -p tcp --dport 80 -j REDIRECT --to-ports 9697"],
            "other services",
            "warning",
            id="iptables rule",
        ),
        pytest.param(
            [
                "nft add table ip cloud",
                "nft add chain ip cloud pre { type nat hook prerouting priority 0 ; }",
                "nft add rule ip cloud pre ip daddr 169.254.169.254 tcp dport 80 dnat to 10.0.0.1:9697",
            ],
            "other services",
            "warning",
            id="nft rule",
        ),
    ],
)
def test_an_obstacle_is_found_and_the_named_command_removes_it(
    lab: Lab, pins: Path, made: list[str], check: str, state: str
) -> None:
    for command in made:
        lab.host.run(*command.replace("{pins}", str(pins)).split())
    found = look(lab)
    assert {name: finding.state.value for name, finding in found.items()} == {check: state}
    lab.host.run(*found[check].mend.split())
    assert look(lab) == {}


def test_a_filter_that_is_called_wrong_does_keep_ours_out(lab: Lab, pins: Path) -> None:
    """Ours cannot be attached at the same priority; at another one it can."""
    lab.host.run("tc", "qdisc", "add", "dev", "vnet0", "ingress")
    lab.host.run(*bpf(169, "ip").format(pins=pins).split())
    program = open_pin(pins / "tap_in")
    with inside(lab.host.name), IPRoute() as ipr:
        index = ipr.link_lookup(ifname="vnet0")[0]
        with pytest.raises(NetlinkError):
            filters.attach(ipr, index, program, "tap_in")
        lab.host.run("tc", "filter", "delete", "dev", "vnet0", "ingress", "prio", "169")
        lab.host.run(*bpf(49152, "ip").format(pins=pins).split())  # like libvirt's filters, which come after ours
        filters.attach(ipr, index, program, "tap_in")
    os.close(program)
    assert look(lab) == {}


def test_tcx_programs_are_found(lab: Lab, pins: Path) -> None:
    """Cilium attaches its programs so on kernels that have tcx."""
    program = open_pin(pins / "tap_in")
    libbpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
    with inside(lab.host.name):
        link = libbpf.bpf_link_create(program, socket.if_nametoindex("vnet0"), BPF_TCX_INGRESS, None)
    os.close(program)
    if link < 0:
        pytest.skip("this kernel has no tcx (Linux 6.6), or another libbpf")
    try:
        found = look(lab)
        assert {check: finding.state.value for check, finding in found.items()} == {"filters on taps": "warning"}
        assert "tcx programs (1)" in found["filters on taps"].text
    finally:
        os.close(link)
    assert look(lab) == {}


METRICS_ELSEWHERE = "192.0.2.1:9169"


@pytest.fixture
def served(lab: Lab) -> Iterator[None]:
    """The host has the address 192.0.2.1, on a link of its own, and a socket listens there."""
    lab.host.ip("link add uplink type bridge", "link set uplink up", "address add 192.0.2.1/24 dev uplink")
    with lab.host.open_socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("192.0.2.1", 9169))
        listener.listen()
        yield


@pytest.mark.usefixtures("served")
def test_metrics_that_guests_can_read(lab: Lab) -> None:
    """Guests can, whichever link has the address; the test also connects from a neighbour of the host."""
    lab.bridge("br0", "10.0.0.1/24")
    guest = lab.guest("web", tap="vnet1", bridge="br0", gateway="10.0.0.1")
    found = look(lab, METRICS_ELSEWHERE)
    assert {name: finding.state.value for name, finding in found.items()} == {"metrics": "warning"}
    assert found["metrics"].text == (
        "guests can read them at 192.0.2.1:9169: this host's address 10.0.0.1 of br0 is on their link"
    )
    guest.connect("192.0.2.1", 9169).close()
    assert look(lab, "10.0.0.1:9169").keys() == {"metrics"}
    lab.host.ip("link add link br0 name upon0 type macvlan", "address del 10.0.0.1/24 dev br0")
    lab.host.ip("link set upon0 up", "address add 10.0.7.1/24 dev upon0")
    assert "10.0.7.1 of upon0" in look(lab, METRICS_ELSEWHERE)["metrics"].text


@pytest.mark.usefixtures("served")
def test_metrics_that_guests_cannot_read(lab: Lab) -> None:
    assert look(lab, METRICS_ELSEWHERE) == {}  # the host is not on their link
    lab.bridge("br0", "10.0.0.1/24")
    guest = lab.guest("web", tap="vnet1", bridge="br0", gateway="10.0.0.1")
    for metrics in ("127.0.0.1:9169", "[::1]:9169", ""):
        assert look(lab, metrics) == {}
    with lab.host.open_socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.2", 9169))
        listener.listen()
        # A rule before that of the guest's own loopback sends the packet out.
        guest.ip("rule add pref 10 lookup local", "rule del pref 0", "rule add pref 5 to 127.0.0.2 lookup 7")
        guest.ip("route add 127.0.0.2 via 10.0.0.1 dev eth0 table 7")
        guest.run("sysctl", "-qw", "net.ipv4.conf.eth0.route_localnet=1")
        with pytest.raises(TimeoutError):
            guest.connect("127.0.0.2", 9169, timeout=1)
        lab.host.run("sysctl", "-qw", "net.ipv4.conf.br0.route_localnet=1")
        guest.connect("127.0.0.2", 9169, timeout=5).close()  # so it was the kernel that dropped it


def test_neutron(lab: Lab) -> None:
    subprocess.run(["ip", "netns", "add", "ovnmeta-6f7065"], check=True)
    try:
        assert look(lab)["neutron"].state.value == "warning"
    finally:
        subprocess.run(["ip", "netns", "delete", "ovnmeta-6f7065"], check=True)
