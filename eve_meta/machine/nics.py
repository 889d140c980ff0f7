"""Reads from QEMU's command line, or from libvirt's XML, what is behind each of a guest's NICs on the host."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree

from eve_meta.explain.facts import NicFacts
from eve_meta.inventory.qemu.options import options_or_json
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

DEFAULT = NicFacts(kind="user network", shown="QEMU's default NIC")
"""The NIC of a QEMU that was given neither a backend nor ``-nodefaults``."""


def of_arguments(arguments: Iterable[tuple[str, str]]) -> tuple[NicFacts, ...]:
    """Return the NICs that QEMU's options make.

    :param arguments: the options ``-netdev``, ``-nic``, ``-net`` and ``-device`` of its command line, each with its
        value.
    """
    return tuple(_of_arguments(arguments))


def _of_arguments(arguments: Iterable[tuple[str, str]]) -> Iterator[NicFacts]:
    for option, value in arguments:
        if option == "-device":
            device = options_or_json(value, "driver")
            if str(device.get("driver")) == "vfio-pci":
                host = str(device.get("host") or os.path.basename(str(device.get("sysfsdev", ""))))
                if _is_network_device(host):
                    yield NicFacts(kind="device of the host", shown=host)
            continue
        backend = options_or_json(value, "type")
        of_type = str(backend.get("type"))
        kind = _BACKENDS.get(of_type)
        if kind is not None:
            yield NicFacts(kind=kind, shown=str(backend.get("ifname") or backend.get("id") or f"{option} {of_type}"))


def _is_network_device(host: str) -> bool:
    # libvirt and QEMU may leave the domain of a PCI address out.
    name = host if host.count(":") == 2 else f"0000:{host}"
    with suppress(OSError, ValueError):
        return (PCI / name / "class").read_text().startswith(NETWORK_CLASS)
    return False


def of_interfaces(root: ElementTree.Element) -> tuple[NicFacts, ...]:
    """Return the NICs of a libvirt domain, whose XML is *root*."""
    found = []
    for interface in root.iterfind("devices/interface"):
        of_type = interface.get("type", "")
        kind = INTERFACES.get(of_type)
        target, mac = interface.find("target"), interface.find("mac")
        names = (None if target is None else target.get("dev"), None if mac is None else mac.get("address"))
        if kind is not None:
            found.append(NicFacts(kind=kind, shown=next(filter(None, names), f"<interface type='{of_type}'>")))
    return tuple(found)


def macvtaps(process: Path) -> tuple[NicFacts, ...]:
    """Return the macvtaps that a process holds.

    QEMU gets one as an open file, and takes it for a tap.

    :param process: its ``/proc/PID``.
    """
    found = []
    with suppress(OSError):  # it has ended
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):
                if held := _MACVTAP.match(os.readlink(descriptor)):
                    found.append(NicFacts(kind="macvtap", shown=_link(int(held[1]))))
    return tuple(dict.fromkeys(found))


def _link(ifindex: int) -> str:
    try:
        return socket.if_indextoname(ifindex)
    except OSError:
        return f"link {ifindex}"  # of another network namespace
