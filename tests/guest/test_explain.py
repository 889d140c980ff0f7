"""``eve-meta explain`` on a hypervisor with various faults."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eve_meta.explain.dhcp import BOOT_TIME
from tests.guest.scene import META_DATA, ROUTER, Iptables, Scene, domain, eventually, scene, uuid_of

NAME = "emg-explain"
QEMU = "qemu-system-x86_64"

DISCOVER = bytes([1, 1, 6, 0]) + bytes(232) + bytes.fromhex("63825363 350101 ff")
"""A DHCPDISCOVER (RFC 2131)."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Scene]:
    """Five guests, one of them without a route; domains 6 and 7, which a QEMU runs; a tap that matches no pattern."""
    domains = {
        **{f"vm{number}": domain(number, f"vnet{number}") for number in (1, 3, 5)},
        "vm4": domain(4, "vnet4", tokens="required"),
        "vm6": domain(6, None),
        "vm7": domain(7, None),
        "vm8": domain(8, "tun8"),
        "vm9": domain(9, "vnet9"),
        "vm10": domain(10, "vnet10"),
        "broken": {"uuid": "no uuid"},
    }
    with scene(NAME, domains, started=False) as running:
        running.daemon.start(iptables_of(running).prefix())
        for number in range(1, 6):
            running.lab.guest(f"vm{number}", tap=f"vnet{number}", bridge="br0", gateway=ROUTER)
        running.lab.make_tap("tun8", bridge="br0")
        lost = running.lab.guest("vm10", tap="vnet10", bridge="br0")
        lost.ip("route delete 169.254.0.0/16")
        running.wait_until_known(vnet10=10)  # otherwise the tap may have no filter yet that sees the frame
        with lost.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as dhcp:
            dhcp.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            dhcp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
            dhcp.bind(("", 68))
            dhcp.sendto(DISCOVER, ("255.255.255.255", 67))
        running.wait_until_known(vnet1=1, vnet3=3, vnet4=4, vnet5=5)
        yield running


def iptables_of(stage: Scene) -> Iptables:
    """Return the daemon's iptables. While they are broken, the daemon cannot restore missing rules."""
    return Iptables(stage.lab.directory / "iptables", "nft")


def explain(stage: Scene, what: str, status: int | None = 1) -> dict[str, Any]:
    """Return the report about *what*. The command must exit with *status*; None: with any."""
    done = stage.lab.host.run(*stage.daemon.command("explain", what, "--json"), check=False)
    assert (done.returncode, done.stderr) == (done.returncode if status is None else status, "")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def verdicts(report: dict[str, Any]) -> dict[str, str]:
    """Return the verdict of each step."""
    return {step["step"]: step["verdict"] for step in report["steps"]}


def text(report: dict[str, Any], step: str) -> str:
    """Return the text of a step."""
    return next(str(each["text"]) for each in report["steps"] if each["step"] == step)


def test_all_is_right_with_a_guest_that_reads_its_metadata(stage: Scene) -> None:
    for path in ("/openstack", META_DATA, "/openstack/latest/vendor_data3.json"):
        stage.lab.guests["vm1"].get(path)
    for what in ("vm1", uuid_of(1), "vnet1"):
        report = explain(stage, what, 0)
        assert verdicts(report) == {
            "daemon": "daemon-running",
            "domain": "domain-known",
            "tap": "tap-up",
            "process": "process-unknown",
            "filter": "filter-first",
            "programs": "programs-loaded",
            "namespace": "namespace-there",
            "rules": "rules-there",
            "route": "route-there",
            "worker": "worker-alive",
            "packets": "packets-both-ways",
            "requests": "requests-answered",
            "tokens": "tokens-not-needed",
            "smbios": "smbios-unknown",
            "disks": "disks-unknown",
            "datasource": "datasource-unknown",
        }
        assert report["domain"]["uuid"] == uuid_of(1)
        assert report["taps"] == ["vnet1"]
        asked = {(kind["what"], kind["status"]) for kind in report["requests"]["vnet1"]}
        assert asked >= {("openstack", 200), ("openstack/meta_data.json", 200), ("openstack", 404)}
        assert report["datasource"]["predicted"] is None
    assert "br0" in text(report, "tap")
    assert "vm1.yaml, line " in text(report, "domain")


def test_people_get_a_line_a_step_with_the_command_below(stage: Scene) -> None:
    done = stage.lab.host.run(*stage.daemon.command("explain", "vm9"), check=False)
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert next(line for line in lines if line.startswith("wrong")).startswith("wrong    tap         there is no vnet9")
    assert "            → start the guest" in "\n".join(lines)
    assert lines[-1] == "1 step is wrong."


@pytest.mark.parametrize(
    ("what", "step", "verdict"),
    [
        ("vnet2", "domain", "domain-none"),
        ("nobody", "domain", "domain-none"),
        ("vm11", "domain", "domain-mistyped"),
        ("broken", "domain", "domain-broken"),
        ("vm6", "tap", "tap-none"),
        ("vm9", "tap", "tap-missing"),
        ("vm8", "tap", "tap-unmatched"),
        ("br0", "tap", "tap-unmatched"),
    ],
)
def test_what_does_not_exist_is_named(stage: Scene, what: str, step: str, verdict: str) -> None:
    assert verdicts(explain(stage, what))[step] == verdict


def test_a_guest_that_waits_for_its_domain(stage: Scene) -> None:
    assert stage.lab.guests["vm2"].get("/openstack").status == 503
    assert verdicts(explain(stage, "vnet2"))["requests"] == "requests-waiting"


def test_a_client_that_has_no_session_tokens(stage: Scene) -> None:
    assert stage.lab.guests["vm4"].get(META_DATA).status == 401
    report = explain(stage, "vm4")
    assert (verdicts(report)["requests"], verdicts(report)["tokens"]) == ("requests-refused", "tokens-client-cannot")


def test_nothing_comes_back_where_the_rules_are_gone(stage: Scene) -> None:
    with iptables_of(stage).broken():
        stage.private.run("iptables", "-t", "nat", "-F")
        with pytest.raises(TimeoutError):
            stage.lab.guests["vm5"].get("/openstack", timeout=1)
        found = verdicts(explain(stage, "vm5"))
    assert (found["rules"], found["packets"], found["requests"]) == (
        "rules-missing",
        "packets-unanswered",
        "requests-none",
    )
    eventually(lambda: not stage.daemon.problems()[1:], 5)  # the first is about a domain file
    assert stage.lab.guests["vm5"].get("/openstack").status == 200
    assert verdicts(explain(stage, "vm5", 0))["requests"] == "requests-answered"


def test_a_foreign_filter_comes_first(stage: Scene) -> None:
    # It takes every frame, so that no other filter sees one.
    add = "tc filter add dev vnet3 ingress pref 1 protocol all u32 match u32 0 0 flowid :1"
    stage.lab.host.run(*add.split())

    with pytest.raises(TimeoutError):
        stage.lab.guests["vm3"].get("/openstack", timeout=1)
    report = explain(stage, "vm3")
    assert verdicts(report)["filter"] == "filter-behind"
    (wrong,) = (each for each in report["steps"] if each["step"] == "filter")
    stage.lab.host.run(*wrong["mend"].split())
    assert stage.lab.guests["vm3"].get("/openstack").status == 200
    assert verdicts(explain(stage, "vm3", 0))["filter"] == "filter-first"


def test_a_tap_without_a_guest_and_one_that_is_down(stage: Scene) -> None:
    stage.lab.host.ip("tuntap add vnet9 mode tap", "link set vnet9 up")
    try:
        eventually(lambda: stage.status_of("vnet9").get("domain"), 5)
        assert verdicts(explain(stage, "vm9"))["tap"] == "tap-no-carrier"
        stage.lab.host.ip("link set vnet9 down")
        assert verdicts(explain(stage, "vm9"))["tap"] == "tap-down"
    finally:
        stage.lab.host.ip("link del vnet9")


def test_a_file_that_breaks_while_it_is_served_is_wrong(stage: Scene) -> None:
    good = domain(1, "vnet1")
    path = stage.daemon.write_domain("vm1", {**good, "hostnme": "new.example.org"})
    try:
        eventually(lambda: verdicts(explain(stage, "vm1", None))["domain"] == "domain-outdated", 5)
        found = text(explain(stage, "vm1"), "domain")
        assert f"{path}:" in found
        assert "hostnme" in found
        assert "meanwhile vm1 is served as it was before that (hostname vm1.example.org)" in found
    finally:
        stage.daemon.write_domain("vm1", good)
    eventually(lambda: verdicts(explain(stage, "vm1", None))["domain"] == "domain-known", 5)


@contextlib.contextmanager
def macvtap(stage: Scene, name: str) -> Iterator[None]:
    """Make a macvtap called *name*."""
    lower = ("link add low0 type veth peer low1", "link set low0 up")
    stage.lab.host.ip(*lower, f"link add link low0 name {name} type macvtap mode bridge")
    try:
        yield
    finally:
        stage.lab.host.ip("link del low0")


def test_a_macvtap_cannot_be_served(stage: Scene) -> None:
    with macvtap(stage, "vnet9"):
        eventually(lambda: any("vnet9: it is a macvtap" in each for each in stage.daemon.problems()), 5)
        report = explain(stage, "vm9")
        assert verdicts(report)["tap"] == "tap-bypassed"
        assert "vnet9 is a macvtap" in text(report, "tap")
        assert stage.status_of("vnet9") == {}
    eventually(lambda: not any("macvtap" in each for each in stage.daemon.problems()), 5)


# -- the guest's virtual hardware --


@contextlib.contextmanager
def qemu(stage: Scene, tap: str, *arguments: str | Path) -> Iterator[None]:
    """Run a QEMU behind *tap* that boots nothing."""
    assert shutil.which(QEMU), f"{QEMU} is missing: install the package qemu-system-x86"
    stage.lab.host.ip(f"tuntap add {tap} mode tap", f"link set {tap} up")
    machine = ("-display", "none", "-nodefaults", "-S", "-m", "16", "-accel", "tcg")
    nic = ("-netdev", f"tap,id=n0,ifname={tap},script=no,downscript=no", "-device", "virtio-net-pci,netdev=n0,romfile=")
    process = stage.lab.host.popen(
        QEMU, *machine, *nic, *map(str, arguments), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        eventually(lambda: "LOWER_UP" in stage.lab.host.run("ip", "link", "show", tap).stdout, 10)
        yield
    finally:
        process.terminate()
        process.wait(10)
        stage.lab.host.ip(f"link del {tap}")


def seed(path: Path, label: str) -> Path:
    path.write_bytes(bytes(1024 * 1024))
    subprocess.run(["mkfs.vfat", "-n", label, path], check=True, stdout=subprocess.DEVNULL)
    return path


NOVA = ("-smbios", "type=1,product=OpenStack Nova")
SERIAL = ("-smbios", "type=1,serial=ds=nocloud;s=http://169.254.169.254/nocloud/")


@pytest.mark.parametrize(
    ("smbios", "label", "predicted", "found"),
    [
        (NOVA, None, "OpenStack", ("smbios-openstack", "disks-no-seed", "datasource-ours")),
        ((), None, "None", ("smbios-missing", "disks-no-seed", "datasource-none")),
        (SERIAL, None, "NoCloud", ("smbios-nocloud", "disks-no-seed", "datasource-ours")),
        (NOVA, "CIDATA", "NoCloud", ("smbios-openstack", "disks-seed", "datasource-other")),
        (NOVA, "CONFIG-2", "ConfigDrive", ("smbios-openstack", "disks-seed", "datasource-other")),
    ],
)
def test_the_datasource_of_a_running_guest_is_predicted(
    stage: Scene, tmp_path: Path, smbios: tuple[str, ...], label: str | None, predicted: str, found: tuple[str, ...]
) -> None:
    disk = () if label is None else ("-drive", f"file={seed(tmp_path / 'seed.img', label)},format=raw,if=virtio")
    with qemu(stage, "vnet7", "-uuid", uuid_of(7), "-name", "vm7", *smbios, *disk):
        stage.wait_until_known(vnet7=7)
        report = explain(stage, "vm7", 0 if found[-1] == "datasource-ours" else 1)
        assert report["datasource"]["predicted"] == predicted
        assert tuple(verdicts(report)[step] for step in ("smbios", "disks", "datasource")) == found
        assert verdicts(report)["process"] == "process-known"


def test_the_hardware_is_examined_although_the_process_has_no_name(stage: Scene) -> None:
    with qemu(stage, "vnet9", *NOVA):
        stage.wait_until_known(vnet9=9)
        report = explain(stage, "vm9", 0)
        assert verdicts(report)["process"] == "process-unknown"
        assert report["datasource"]["predicted"] == "OpenStack"


def test_a_file_and_a_process_that_contradict_each_other(stage: Scene) -> None:
    with qemu(stage, "vnet9", "-uuid", uuid_of(6), "-name", "vm6"):
        eventually(lambda: verdicts(explain(stage, "vm9"))["domain"] == "domain-refused", 10)
        report = explain(stage, "vnet9")
        assert uuid_of(6) in text(report, "domain")


def test_a_guest_that_has_an_address_but_no_route(stage: Scene) -> None:
    """This runs after other tests: half a minute must have passed since the guest asked for its address."""
    with pytest.raises(OSError, match="unreachable"):
        stage.lab.guests["vm10"].get("/openstack")
    assert verdicts(explain(stage, "vm10", status=None))["packets"] in ("packets-booting", "packets-no-route")
    eventually(lambda: verdicts(explain(stage, "vm10", status=None))["packets"] == "packets-no-route", BOOT_TIME + 5)
    wrong = {step["step"]: step["mend"] for step in explain(stage, "vm10")["steps"] if step["state"] == "wrong"}
    # Either would do: a lease of its tap brings the route along.
    assert wrong["packets"] == "in the guest: ip route add 169.254.169.254 dev eth0"
    assert wrong["dhcp"].endswith("dhcp: on")
    stage.lab.guests["vm10"].ip("route add 169.254.169.254 dev eth0")
    assert stage.lab.guests["vm10"].get("/openstack").status == 200
    assert verdicts(explain(stage, "vm10", 0))["packets"] == "packets-both-ways"


# -- another daemon, which has seen nothing of the guests yet --


def test_pieces_of_the_path_that_cannot_be_restored_are_named_with_the_reason(stage: Scene) -> None:
    with iptables_of(stage).broken():
        stage.private.run("ip6tables", "-t", "raw", "-F")
        stage.private.run("ip", "-6", "route", "flush", "table", "169")
        stage.private.run("tc", "filter", "del", "dev", "meta0", "ingress")
        stage.private.run("sysctl", "-qw", "net.ipv4.tcp_fwmark_accept=0")
        stage.lab.host.run("tc", "qdisc", "del", "dev", f"{NAME}0", "clsact")
        report = explain(stage, "vm3")
    (wrong,) = (step for step in report["steps"] if step["state"] == "wrong")
    assert wrong["verdict"] == "rules-missing"
    assert "ip6tables --table raw -A PREROUTING" in wrong["text"]
    assert "eve-meta cannot restore it: " in wrong["text"]
    assert "out of order" in wrong["text"]
    assert "eve-meta serve" in wrong["mend"]
    # Asked again, the daemon restores the rest first.
    assert verdicts(explain(stage, "vm3", 0))["rules"] == "rules-there"


def test_without_a_daemon_files_links_and_processes_are_examined(stage: Scene) -> None:
    stage.daemon.stop()
    try:
        report = explain(stage, "vm1")
        assert verdicts(report) == {
            "daemon": "daemon-not-running",
            "domain": "domain-known",
            "tap": "tap-up",
            "process": "process-unknown",
            "smbios": "smbios-unknown",
            "disks": "disks-unknown",
            "datasource": "datasource-unknown",
        }
        assert verdicts(explain(stage, "vm9"))["tap"] == "tap-missing"
        assert verdicts(explain(stage, "vm8"))["tap"] == "tap-unmatched"
        with macvtap(stage, "vnet9"):
            assert verdicts(explain(stage, "vm9"))["tap"] == "tap-bypassed"
        # As Proxmox starts a guest: its uuid is in SMBIOS alone.
        smbios = f"type=1,uuid={uuid_of(7)},product=OpenStack Nova"
        with qemu(stage, "vnet7", "-name", "another,debug-threads=on", "-smbios", smbios):
            report = explain(stage, "vm7")
            assert verdicts(report)["process"] == "process-known"
            assert report["datasource"]["predicted"] == "OpenStack"
            assert report["taps"] == ["vnet7"]
    finally:
        stage.daemon.start()
        stage.wait_until_known(vnet1=1, vnet3=3, vnet4=4, vnet5=5)
