"""Reads the machine that a guest sees from QEMU's command line: SMBIOS, disks, NICs, the kernel's command line.

The command line describes libvirt's guests, too: libvirt turns ``<sysinfo>`` into ``-smbios`` and ``<disk>`` into
``-blockdev``.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from eve_meta.explain.ds_identify import Dmi
from eve_meta.inventory.vmm.options import options, options_or_json
from eve_meta.machine.hardware import DiskImage, Hardware, HostNic
from eve_meta.machine.nics import DEFAULT, of_arguments

MAX_DEPTH = 8
"""The most block devices on top of each other that are followed: format, throttle, copy-on-read, file. No disk with a
longer chain, or with a circle, starts."""

_DRIVES = {
    "-hda": {},
    "-hdb": {},
    "-hdc": {},
    "-hdd": {},
    "-sd": {},
    "-cdrom": {"media": "cdrom"},
    "-fda": {},
    "-fdb": {},
}

_NICS = ("-netdev", "-nic", "-net", "-device")

_LOCAL = ("file", "host_device", "host_cdrom")

# block/raw-format.c, block/throttle.c, …: drivers that pass on the content below them unchanged.
_FILTERS = ("throttle", "copy-on-read", "preallocate", "blkdebug", "compress")

_PROTOCOL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")

# Fields of SMBIOS, and the files of /sys/class/dmi/id that hold them (dmi-id.c of the kernel).
_SMBIOS: Mapping[tuple[str, str], str] = {
    ("0", "vendor"): "bios_vendor",
    ("1", "manufacturer"): "sys_vendor",
    ("1", "product"): "product_name",
    ("1", "serial"): "product_serial",
    ("1", "uuid"): "product_uuid",
    ("2", "product"): "board_name",
    ("3", "asset"): "chassis_asset_tag",
}


def hardware(program: str, arguments: Sequence[str]) -> Hardware:
    """Return the machine that QEMU's *arguments* describe.

    :param program: the path or name of the QEMU, such as ``qemu-system-x86_64``.
    """
    dmi: dict[str, str] = {}
    drives: list[dict[str, str]] = []
    nodes: dict[str, Mapping[str, Any]] = {}
    in_cd_drives: set[str] = set()
    command_line = ""
    for option, value in _known_options(arguments):
        match option:
            case "-smbios":
                fields = options(value)
                for (kind, key), name in _SMBIOS.items():
                    if fields.get("type") == kind and key in fields:
                        dmi[name] = fields[key]
            case "-uuid":
                dmi["product_uuid"] = value
            case "-append":
                command_line = value
            case "-drive":
                drives.append(options(value))
            case "-blockdev":
                node = options_or_json(value)
                nodes[str(node.get("node-name"))] = node
            case "-device":
                device = options_or_json(value, "driver")
                if str(device.get("driver")).endswith("-cd"):
                    in_cd_drives.add(str(device.get("drive")))
            case "-netdev" | "-nic" | "-net":
                pass  # see _nics()
            case _:
                drives.append({"file": value, **_DRIVES[option]})
    disks = [_disk_of_drive(drive, in_cd_drives) for drive in drives if drive.get("if") != "pflash"]
    below = {
        str(each) for node in nodes.values() for key in ("file", "backing") if isinstance(each := node.get(key), str)
    }
    # A node that is below no other belongs to a disk, unless its name shows that it holds firmware.
    tops = [name for name in nodes if name not in below and "pflash" not in name]
    disks += [_disk_of_node(nodes, nodes[name], name in in_cd_drives) for name in tops]
    return Hardware(
        machine=_machine(program),
        dmi=Dmi(**dmi),
        disks=tuple(disk for disk in disks if disk is not None),
        nics=_nics(arguments),
        command_line=command_line,
    )


def _known_options(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    known = {"-smbios", "-uuid", "-append", "-drive", "-blockdev", *_NICS, *_DRIVES}
    remaining = iter(arguments)
    for argument in remaining:
        option = argument[1:] if argument.startswith("--") else argument
        if option in known and (value := next(remaining, None)) is not None:
            # The value is consumed, too: a kernel's command line may look like an option.
            yield option, value


def _nics(arguments: Sequence[str]) -> tuple[HostNic, ...]:
    given = {each.replace("--", "-", 1) for each in arguments}
    if given.isdisjoint({"-nodefaults", "-netdev", "-nic", "-net"}):
        return (DEFAULT,)
    return of_arguments((option, value) for option, value in _known_options(arguments) if option in _NICS)


def _machine(program: str) -> str:
    name = program.rpartition("/")[2].partition("qemu-system-")[2]
    # "kvm" and "qemu-kvm" have the architecture of the host.
    return {"i386": "i686", "arm": "armv7l"}.get(name, name) or platform.machine()


def _disk_of_drive(drive: Mapping[str, str], in_cd_drives: set[str]) -> DiskImage | None:
    name = drive.get("file.filename", drive.get("file"))
    if not name:
        return None  # a drive without a medium
    cd = drive.get("media") == "cdrom" or drive.get("id") in in_cd_drives
    if name.startswith("json:"):
        return _disk_of_node({}, options_or_json(name.removeprefix("json:")), cd)
    driver = drive.get("file.driver", "file")
    name = name.removeprefix("file:")
    local = driver in _LOCAL and not _PROTOCOL.match(name)
    image_format = drive.get("format", drive.get("driver"))
    return DiskImage(path=name if local else None, shown=name, format=image_format, cd=cd)


def _disk_of_node(nodes: Mapping[str, Mapping[str, Any]], node: Mapping[str, Any], cd: bool) -> DiskImage | None:
    image_format = None
    for _ in range(MAX_DEPTH):
        driver = str(node.get("driver"))
        if driver in _LOCAL:
            name = str(node.get("filename"))
            return DiskImage(path=name, shown=name, format=image_format or "raw", cd=cd)
        below = node.get("file")
        if "file.filename" in node:
            below = {"driver": node.get("file.driver", "file"), "filename": node["file.filename"]}
        if isinstance(below, str):
            below = nodes.get(below)
        if not isinstance(below, Mapping):
            break
        if driver not in _FILTERS:
            image_format = image_format or driver
        node = below
    shown = str(node.get("driver", "something"))
    return None if shown == "null-co" else DiskImage(path=None, shown=shown, format=image_format, cd=cd)
