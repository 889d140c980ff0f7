"""Reads the machine that a guest sees from the command line of crosvm (``inventory/vmm/crosvm.py``)."""

from __future__ import annotations

import platform
from collections.abc import Sequence

from eve_meta.inventory.vmm.crosvm import given
from eve_meta.inventory.vmm.options import quoted_options
from eve_meta.machine.hardware import DiskImage, Hardware, HostNic, descriptors_of, mac_of, made_on_x86

OWN_DMI = {"sys_vendor": "ChromiumOS", "product_name": "crosvm", "bios_vendor": "crosvm"}
"""What it writes into SMBIOS where nobody sets the field (``x86_64/src/smbios.rs`` of its sources)."""

# The keys of --smbios, and the files of /sys/class/dmi/id.
_SMBIOS = {
    "bios-vendor": "bios_vendor",
    "manufacturer": "sys_vendor",
    "product-name": "product_name",
    "serial-number": "product_serial",
    "uuid": "product_uuid",
}

_DISKS = ("--block", "-b", "--root", "-r", "--rwroot", "--disk", "-d", "--rwdisk")


def hardware(program: str, arguments: Sequence[str]) -> Hardware:
    """Return the machine that *arguments* describe."""
    dmi: dict[str, str] = dict(OWN_DMI)
    disks: list[DiskImage] = []
    nics: list[HostNic] = []
    command_line: list[str] = []
    for option, value in given(arguments):
        if option == "--smbios":
            fields = quoted_options(value)
            dmi |= {name: fields[key] for key, name in _SMBIOS.items() if fields.get(key)}
        elif option in ("-p", "--params"):
            command_line.append(value)
        elif option in _DISKS:
            path = quoted_options(value, "path").get("path")
            disks.append(DiskImage(path=path, shown=path or value))
        elif (nic := _nic(option, value)) is not None:
            nics.append(nic)
    machine = platform.machine()
    return Hardware(
        machine=machine,
        dmi=made_on_x86(machine, dmi),
        disks=tuple(disks),
        nics=tuple(nics),
        command_line=" ".join(command_line),
    )


def _nic(option: str, value: str) -> HostNic | None:
    """Return the NIC that an option makes, None where it makes none."""
    match option:
        case "--net":
            fields = quoted_options(value)
        case "--tap-name" | "--tap-fd":  # older releases
            fields = {option.removeprefix("--"): value}
        case "--vhost-user-net":
            return HostNic(kind="vhost-user NIC", shown=value)
        case "--vhost-user" if quoted_options(value, "type").get("type") == "net":
            return HostNic(kind="vhost-user NIC", shown=quoted_options(value).get("socket", value))
        case _:
            return None
    tap = fields.get("tap-name") or None
    return HostNic(
        kind="tap",
        shown=tap or fields.get("mac") or option,
        mac=mac_of(fields.get("mac") or None),
        ifname=tap,
        descriptors=descriptors_of(fields.get("tap-fd", "")),
    )
