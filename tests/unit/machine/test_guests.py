"""The NICs of a QEMU, by its command line and the taps that it holds."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from eve_meta.machine.guests import GuestNic, nics
from eve_meta.machine.qemu import hardware

MAC, MAC2 = "52:54:00:aa:bb:01", "52:54:00:aa:bb:02"


@pytest.mark.parametrize(
    ("arguments", "descriptors", "expected"),
    [
        # As people and Proxmox write it.
        (
            (
                "-netdev",
                "type=tap,id=net0,ifname=tap100i0,script=/x",
                "-device",
                f"e1000,mac={MAC.upper()},netdev=net0",
            ),
            {9: "tap100i0"},
            [GuestNic(mac=MAC, tap="tap100i0", lasting=True)],
        ),
        (("--nic", f"tap,ifname=tap0,mac={MAC}"), {5: "tap0"}, [GuestNic(mac=MAC, tap="tap0", lasting=True)]),
        # As libvirt does.
        (
            (
                *("-netdev", '{"type":"tap","fd":"30","vhost":true,"id":"hostnet0"}'),
                *("-device", f'{{"driver":"virtio-net-pci","netdev":"hostnet0","mac":"{MAC}"}}'),
                *("-netdev", "tap,fds=31:32,id=hostnet1"),
                *("-device", f"virtio-net-pci,mq=on,netdev=hostnet1,mac={MAC2}"),
            ),
            {30: "vnet0", 31: "vnet1", 32: "vnet1"},
            [GuestNic(mac=MAC, tap="vnet0"), GuestNic(mac=MAC2, tap="vnet1")],
        ),
        # QEMU's bridge helper chooses the name; the NIC is known where there is one alone.
        (("-nic", f"bridge,mac={MAC}"), {5: "tap0"}, [GuestNic(mac=MAC, tap="tap0")]),
        (
            ("-nic", f"bridge,mac={MAC}", "-nic", f"bridge,mac={MAC2}"),
            {5: "tap0", 6: "tap1"},
            [GuestNic(mac=MAC), GuestNic(mac=MAC2), GuestNic(tap="tap0"), GuestNic(tap="tap1")],
        ),
        # A name with a pattern is not the tap's name.
        (("-nic", f"tap,ifname=tap%d,mac={MAC}"), {5: "tap0"}, [GuestNic(mac=MAC, tap="tap0")]),
        (("-nic", "none", "-device", "virtio-blk,drive=x,mac=1"), {}, []),
        (("-nic", "tap,ifname=tap0,mac=junk"), {5: "tap0"}, [GuestNic(tap="tap0", lasting=True)]),
        (("-netdev", "{", "-device", "{}", "-nic", "user"), {}, []),
    ],
)
def test_nics(arguments: tuple[str, ...], descriptors: Mapping[int, str], expected: list[GuestNic]) -> None:
    assert nics(hardware("qemu-system-x86_64", arguments).nics, descriptors) == expected
