"""What a guest will see of its machine, by its libvirt domain's XML: as :mod:`eve_meta.machine.qemu`, beforehand."""

from __future__ import annotations

from xml.etree import ElementTree

from eve_meta.explain.ds_identify import Dmi
from eve_meta.machine.qemu import DiskImage, Hardware

# Where each field of /sys/class/dmi/id is in <sysinfo type='smbios'>.
_SYSINFO = {
    "sys_vendor": "system/entry[@name='manufacturer']",
    "product_name": "system/entry[@name='product']",
    "product_serial": "system/entry[@name='serial']",
    "board_name": "baseBoard/entry[@name='product']",
    "chassis_asset_tag": "chassis/entry[@name='asset']",
}


def hardware_of(xml: str) -> Hardware | None:
    """What the domain's *xml* says; None where it shows its guest the host's own SMBIOS.

    :raises ValueError: when it is no domain's.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise ValueError(f"expected the XML of a domain, got what is none: {error}") from None
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
        # Without a word libvirt takes it for raw (its default of allow_disk_format_probing).
        format="raw" if driver is None else driver.get("type", "raw"),
        cd=disk.get("device") == "cdrom",
    )
