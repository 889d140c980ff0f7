"""A libvirt domain and the machine that its XML describes.

:mod:`eve_meta.machine.qemu` reads the machine of a running QEMU. This module reads it before QEMU starts.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from xml.etree import ElementTree

from eve_meta.explain.ds_identify import Dmi
from eve_meta.inventory.libvirt.connection import load
from eve_meta.machine.hardware import DiskImage, Hardware
from eve_meta.machine.nics import of_interfaces
from eve_meta.values.problem import Problem

# Where <sysinfo type='smbios'> holds each field of /sys/class/dmi/id.
_SYSINFO = {
    "bios_vendor": "bios/entry[@name='vendor']",
    "sys_vendor": "system/entry[@name='manufacturer']",
    "product_name": "system/entry[@name='product']",
    "product_serial": "system/entry[@name='serial']",
    "board_name": "baseBoard/entry[@name='product']",
    "chassis_asset_tag": "chassis/entry[@name='asset']",
}


# -- domains, asked of libvirt --


@contextmanager
def connected(uri: str, *, read_only: bool = False) -> Iterator[Any]:
    """Open a connection (``virConnect``). Within the context, libvirt's errors become Problems.

    :param uri: the URI of libvirt; "" for the one that LIBVIRT_DEFAULT_URI names, or else this host's own.
    :param read_only: whether nothing is to be changed, nor any secret read.
    :raises Problem: when there is no libvirt, or it refuses.
    """
    libvirt = load()
    # libvirt's library would print each error, which eve-meta reports itself. And while the library waits for a
    # libvirtd that hangs, Python's own handler of Ctrl-C would not run.
    libvirt.registerErrorHandler(lambda *_: None, None)
    interrupt = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        with closing((libvirt.openReadOnly if read_only else libvirt.open)(uri or None)) as connection:
            yield connection
    except libvirt.libvirtError as error:
        raise Problem(f"{uri or 'libvirt'}: {error.get_error_message() or error}") from None
    finally:
        signal.signal(signal.SIGINT, interrupt)


def inactive_xml(domain: Any) -> str:
    """Return the XML with which *domain* starts next."""
    libvirt = load()
    # SECURE: without it libvirt leaves passwords out, and a domain that is defined anew by that XML loses them.
    xml: str = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)
    return xml


def taps_of(domain: Any) -> tuple[str, ...]:
    """Return the taps that *domain* has at present; none where it does not run."""
    if not domain.isActive():
        return ()
    devices = ElementTree.fromstring(domain.XMLDesc(0)).iterfind("devices/interface/target")
    return tuple(tap for device in devices if (tap := device.get("dev")) is not None)


# -- its machine, read from the XML --


def hardware_of(xml: str) -> Hardware | None:
    """Return the machine that a domain's *xml* describes, None where the guest is shown the host's own SMBIOS.

    :raises ValueError: when *xml* is not XML.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise ValueError(f"expected the XML of a domain, got text that is not XML: {error}") from None
    smbios = root.find("os/smbios")
    mode = "" if smbios is None else smbios.get("mode", "")
    if mode == "host":
        return None
    dmi = {"product_uuid": root.findtext("uuid", "")}
    if mode == "sysinfo":
        dmi |= {field: root.findtext(f"sysinfo[@type='smbios']/{path}", "") for field, path in _SYSINFO.items()}
    kind = root.find("os/type")
    return Hardware(
        machine="x86_64" if kind is None else kind.get("arch", "x86_64"),
        dmi=Dmi(**dmi),
        disks=tuple(disk for each in root.iterfind("devices/disk") if (disk := _disk(each)) is not None),
        nics=of_interfaces(root),
        command_line=root.findtext("os/cmdline", ""),
    )


def _disk(disk: ElementTree.Element) -> DiskImage | None:
    source, driver = disk.find("source"), disk.find("driver")
    if source is None:
        return None  # a drive without a medium
    path = source.get("file") or source.get("dev")
    return DiskImage(
        path=path,
        shown=path or source.get("name") or source.get("protocol") or "a volume",
        # libvirt takes a disk without <driver type> for raw (its default of allow_disk_format_probing).
        format="raw" if driver is None else driver.get("type", "raw"),
        cd=disk.get("device") == "cdrom",
    )
