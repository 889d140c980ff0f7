"""What is behind a guest's NICs on the host, as QEMU and libvirt describe it."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from eve_meta.inventory.vmm.process import ProcessTable
from eve_meta.machine import nics
from eve_meta.machine.hardware import HostNic
from eve_meta.machine.nics import DEFAULT, macvtaps, of_interfaces
from eve_meta.machine.qemu import hardware
from eve_meta.machine.running import running
from eve_meta.values.bypass import BYPASSES, bypass
from tests.unit.inventory.fakeproc import FakeProc


def of(*arguments: str) -> list[tuple[str, str]]:
    return [(nic.kind, nic.shown) for nic in hardware("qemu-system-x86_64", arguments).nic_facts]


@pytest.mark.parametrize(
    ("arguments", "kind", "shown"),
    [
        (("-netdev", "tap,id=n0,ifname=vnet0,script=no"), "tap", "vnet0"),
        (("-netdev", json.dumps({"type": "tap", "fd": "33", "id": "hostnet0"})), "tap", "hostnet0"),
        (("-netdev", "bridge,br=br0,id=n0"), "tap", "n0"),
        (("-nic", "tap,ifname=tap3,model=e1000"), "tap", "tap3"),
        (("--netdev", "user,id=n0"), "user network", "n0"),
        (("-nic", "user"), "user network", "-nic user"),
        (("-net", "nic", "-net", "user"), "user network", "-net user"),
        (("-netdev", "vhost-user,id=n0,chardev=c0"), "vhost-user NIC", "n0"),
        (("-netdev", json.dumps({"type": "vhost-vdpa", "id": "n0", "vhostdev": "/dev/x"})), "vDPA device", "n0"),
        (("-netdev", "stream,id=n0,addr.type=unix,addr.path=/run/passt.sock"), "socket", "n0"),
        (("-netdev", "af-xdp,id=n0,ifname=eth3"), "AF_XDP socket", "eth3"),
        ((), DEFAULT.kind, DEFAULT.shown),
    ],
)
def test_a_nic_of_qemu(arguments: tuple[str, ...], kind: str, shown: str) -> None:
    assert of(*arguments) == [(kind, shown)]
    assert (bypass(shown, kind) is None) == (kind == "tap")


@pytest.mark.parametrize("arguments", [("-nodefaults",), ("-nic", "none"), ("-nodefaults", "-device", "vfio-pci")])
def test_a_guest_without_a_nic(arguments: tuple[str, ...]) -> None:
    assert of(*arguments) == []


@pytest.mark.parametrize(
    "device",
    ["vfio-pci,host=0000:01:10.1", "vfio-pci,host=01:10.1", "vfio-pci,sysfsdev=/sys/bus/pci/devices/0000:01:10.1"],
)
def test_a_device_of_the_host_is_a_nic_where_its_class_is_network(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nics, "PCI", tmp_path)
    entry = tmp_path / "0000:01:10.1"
    entry.mkdir()
    (entry / "class").write_text("0x030000\n")
    assert of("-nodefaults", "-device", device) == []
    (entry / "class").write_text("0x020000\n")
    assert of("-nodefaults", "-device", device) == [
        ("device of the host", device.rpartition("=")[2].rpartition("/")[2])
    ]


@pytest.mark.parametrize(
    ("interface", "kind", "shown"),
    [
        ("<interface type='bridge'><target dev='vnet0'/></interface>", "tap", "vnet0"),
        ("<interface type='network'><mac address='52:54:00:00:00:01'/></interface>", "tap", "52:54:00:00:00:01"),
        ("<interface type='direct'><target dev='macvtap0'/></interface>", "macvtap", "macvtap0"),
        ("<interface type='hostdev'/>", "device of the host", "<interface type='hostdev'>"),
        ("<interface type='vhostuser'/>", "vhost-user NIC", "<interface type='vhostuser'>"),
        ("<interface type='vdpa'/>", "vDPA device", "<interface type='vdpa'>"),
        ("<interface type='user'/>", "user network", "<interface type='user'>"),
    ],
)
def test_a_nic_of_libvirt(interface: str, kind: str, shown: str) -> None:
    root = ElementTree.fromstring(f"<domain><devices>{interface}</devices></domain>")
    assert of_interfaces(root) == (HostNic(kind=kind, shown=shown),)


def test_a_type_that_nobody_knows_is_no_nic() -> None:
    assert of_interfaces(ElementTree.fromstring("<domain><devices><interface type='new'/></devices></domain>")) == ()
    assert of("-nic", "new") == []


def test_a_macvtap_is_seen_among_the_open_files_alone(tmp_path: Path) -> None:
    proc = FakeProc(tmp_path)
    base = proc.add(4711, "qemu", "-netdev", "tap,id=n0,fd=9", "-netdev", "user,id=n1")
    (base / "fd/9").symlink_to("/dev/tap2147483647")
    assert macvtaps(base) == (HostNic(kind="macvtap", shown="link 2147483647"),)
    kinds = [nic.kind for nic in running(4711, ProcessTable(tmp_path), tmp_path).hardware.nics]
    assert kinds == ["macvtap", "user network"]


def test_a_process_that_ends_holds_no_macvtap(tmp_path: Path) -> None:
    assert macvtaps(tmp_path / "none") == ()


@pytest.mark.parametrize("kind", BYPASSES)
def test_each_kind_comes_with_a_sentence(kind: str) -> None:
    sentence = bypass("n0", kind)
    assert sentence is not None
    assert sentence.startswith((f"n0 is a {kind}: ", f"n0 is an {kind}: "))
