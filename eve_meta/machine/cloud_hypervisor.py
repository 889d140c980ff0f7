"""Reads the machine that a guest sees from Cloud Hypervisor's command line (``inventory/vmm/cloud_hypervisor.py``)."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence

from eve_meta.inventory.vmm.cloud_hypervisor import given
from eve_meta.inventory.vmm.options import quoted_options
from eve_meta.machine.hardware import DiskImage, Hardware, HostNic, descriptors_of, mac_of, made_on_x86

OWN_DMI = {
    "sys_vendor": "Cloud Hypervisor",
    "product_name": "cloud-hypervisor",
    "bios_vendor": "cloud-hypervisor",
}
"""What it writes into SMBIOS where nobody sets the field (``arch/src/x86_64/smbios.rs`` of its sources)."""

# The keys of --platform, each before the key that newer releases have in its place, and the files of /sys/class/dmi/id.
_PLATFORM = {
    "uuid": "product_uuid",
    "system_uuid": "product_uuid",
    "serial_number": "product_serial",
    "system_serial_number": "product_serial",
    "system_manufacturer": "sys_vendor",
    "system_product_name": "product_name",
    "chassis_asset_tag": "chassis_asset_tag",
}

UNTOLD = "its API alone knows, which eve-meta does not ask"


def hardware(program: str, arguments: Sequence[str]) -> Hardware:
    """Return the machine that *arguments* describe; a VM that the API made is not among them."""
    dmi: dict[str, str] = dict(OWN_DMI)
    disks: list[DiskImage] = []
    nics: list[HostNic] = []
    command_line, boots = "", False
    for option, value in given(arguments):
        match option:
            case "--platform":
                fields = quoted_options(value)
                dmi |= {name: fields[key] for key, name in _PLATFORM.items() if fields.get(key)}
            case "--cmdline":
                command_line = value
            case "--kernel" | "--firmware" | "--igvm":
                boots = True
            case "--disk":
                disks.append(_disk(quoted_options(value)))
            case "--net":
                nics.append(_nic(quoted_options(value)))
            case "--vdpa":
                nics.append(HostNic(kind="vDPA device", shown=quoted_options(value).get("path", value)))
            case _:
                pass
    machine = platform.machine()
    return Hardware(
        machine=machine,
        dmi=made_on_x86(machine, dmi),
        disks=tuple(disks),
        nics=tuple(nics),
        command_line=command_line,
        untold="" if boots else UNTOLD,
    )


def _disk(fields: dict[str, str]) -> DiskImage:
    path = fields.get("path")
    return DiskImage(
        path=path, shown=path or fields.get("socket", "a disk"), format=fields.get("image_type", "").lower() or None
    )


def _nic(fields: dict[str, str]) -> HostNic:
    tap, socket = fields.get("tap") or None, fields.get("socket") or fields.get("vhost_socket")
    shown = tap or fields.get("id") or fields.get("mac") or "--net"
    return HostNic(
        kind="tap" if socket is None else "vhost-user NIC",
        shown=shown if socket is None else os.path.basename(socket),
        mac=mac_of(fields.get("mac") or None),
        ifname=tap,
        descriptors=descriptors_of(fields.get("fd", "")),
    )
