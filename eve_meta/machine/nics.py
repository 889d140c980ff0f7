"""Reads from QEMU's command line, or from libvirt's XML, what is behind each of a guest's NICs on the host."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from attrs import evolve

from eve_meta.inventory.vmm.options import options_or_json
from eve_meta.machine.hardware import HostNic, descriptors_of, mac_of
from eve_meta.values.bypass import INTERFACES

NETWORK_CLASS = "0x02"
"""What the class of a PCI device that is a network controller begins with (linux/pci_ids.h)."""

PCI = Path("/sys/bus/pci/devices")

_MACVTAP = re.compile(r"/dev/tap(\d+)\Z")

# QEMU's backends (qapi/net.json) by the kind of NIC that each makes; one that is missing here has no guest's frames.
_BACKENDS: Mapping[str, str] = {
    "tap": "tap",
    "bridge": "tap",
    "user": "user network",
    "passt": "user network",
    "vde": "socket",
    "l2tpv3": "socket",
    "socket": "socket",
    "stream": "socket",
    "dgram": "socket",
    "vhost-user": "vhost-user NIC",
    "vhost-vdpa": "vDPA device",
    "af-xdp": "AF_XDP socket",
    "netmap": "netmap port",
}

DEFAULT = HostNic(kind="user network", shown="QEMU's default NIC")
"""The NIC of a QEMU that was given neither a backend nor ``-nodefaults``."""


def of_arguments(arguments: Iterable[tuple[str, str]]) -> tuple[HostNic, ...]:
    """Return the NICs that QEMU's options make.

    :param arguments: the options ``-netdev``, ``-nic``, ``-net`` and ``-device`` of its command line, each with its
        value.
    """
    nics: list[HostNic] = []
    backends: dict[str, int] = {}  # the id of a -netdev to its place in the list
    for option, value in arguments:
        if option == "-device":
            _add_device(options_or_json(value, "driver"), nics, backends)
            continue
        backend = options_or_json(value, "type")
        if option == "-netdev":
            backends[str(backend.get("id"))] = len(nics)
        if backend.get("type") not in ("none", "nic"):
            nics.append(_of_backend(option, backend))
    return tuple(nics)


def _add_device(device: Mapping[str, Any], nics: list[HostNic], backends: Mapping[str, int]) -> None:
    """Add what a ``-device`` tells of NICs: a MAC address, or a device of the host."""
    if "netdev" in device:
        mac, place = mac_of(device.get("mac")), backends.get(str(device["netdev"]))
        if place is None:
            nics.append(HostNic(mac=mac))
        else:
            nics[place] = evolve(nics[place], mac=mac)
    elif str(device.get("driver")) == "vfio-pci":
        host = str(device.get("host") or os.path.basename(str(device.get("sysfsdev", ""))))
        if _is_network_device(host):
            nics.append(HostNic(kind="device of the host", shown=host))


def _of_backend(option: str, backend: Mapping[str, Any]) -> HostNic:
    name, of_type = backend.get("ifname"), str(backend.get("type"))
    return HostNic(
        kind=_BACKENDS.get(of_type, ""),
        shown=str(name or backend.get("id") or f"{option} {of_type}"),
        mac=mac_of(backend.get("mac")),
        ifname=None if name is None else str(name),
        descriptors=descriptors_of(f"{backend.get('fd', '')}:{backend.get('fds', '')}"),
    )


def _is_network_device(host: str) -> bool:
    # libvirt and QEMU may leave the domain of a PCI address out.
    name = host if host.count(":") == 2 else f"0000:{host}"
    with suppress(OSError, ValueError):
        return (PCI / name / "class").read_text().startswith(NETWORK_CLASS)
    return False


def of_interfaces(root: ElementTree.Element) -> tuple[HostNic, ...]:
    """Return the NICs of a libvirt domain, whose XML is *root*."""
    found = []
    for interface in root.iterfind("devices/interface"):
        of_type = interface.get("type", "")
        kind = INTERFACES.get(of_type)
        target, mac = interface.find("target"), interface.find("mac")
        names = (None if target is None else target.get("dev"), None if mac is None else mac.get("address"))
        if kind is not None:
            found.append(HostNic(kind=kind, shown=next(filter(None, names), f"<interface type='{of_type}'>")))
    return tuple(found)


def macvtaps(process: Path) -> tuple[HostNic, ...]:
    """Return the macvtaps that a process holds.

    A VMM gets one as an open file, and takes it for a tap.

    :param process: its ``/proc/PID``.
    """
    found = []
    with suppress(OSError):  # it has ended
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):
                if held := _MACVTAP.match(os.readlink(descriptor)):
                    found.append(HostNic(kind="macvtap", shown=_link(int(held[1]))))
    return tuple(dict.fromkeys(found))


def _link(ifindex: int) -> str:
    try:
        return socket.if_indextoname(ifindex)
    except OSError:
        return f"link {ifindex}"  # of another network namespace
