"""NICs whose frames never come in through a tap, where eve-meta looks: no guest reaches the service through one."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_BELOW = "its guest's frames go straight to the link below it and never come in through it"
_MEMORY = "frames go between the guest's memory and {}, past this host's kernel"

BYPASSES: Mapping[str, str] = MappingProxyType(
    {
        # Kinds of links (IFLA_INFO_KIND).
        "macvtap": _BELOW,
        "macvlan": _BELOW,
        "ipvtap": _BELOW,
        "ipvlan": _BELOW,
        # Kinds of NICs that no link of the host stands for.
        "vhost-user NIC": _MEMORY.format("another program, such as a virtual switch"),
        "device of the host": _MEMORY.format("the device, which the guest drives itself"),
        "vDPA device": _MEMORY.format("the device"),
        "AF_XDP socket": _MEMORY.format("another link's queue"),
        "netmap port": _MEMORY.format("another link's queue"),
        "user network": "QEMU itself, or a program such as passt, is the guest's whole network",
        "socket": "QEMU sends the guest's frames to another program",
    }
)
"""The reason, by the kind of a NIC."""

INTERFACES: Mapping[str, str] = MappingProxyType(
    {
        "bridge": "tap",
        "network": "tap",
        "ethernet": "tap",
        "direct": "macvtap",
        "hostdev": "device of the host",
        "vhostuser": "vhost-user NIC",
        "vdpa": "vDPA device",
        "user": "user network",
        "mcast": "socket",
        "server": "socket",
        "client": "socket",
        "udp": "socket",
    }
)
"""The kind of NIC by the type of libvirt's ``<interface>``. A network may lead to something else than a bridge, which
only its own XML tells; most do not."""

WITH_LIBVIRT = "<interface type='bridge'> or <interface type='network'>"
WITH_QEMU = "-netdev tap or -netdev bridge"
INSTEAD = f"use a tap: {WITH_LIBVIRT} with libvirt, {WITH_QEMU} with QEMU"
"""What makes a tap."""


def bypass(name: str, kind: str) -> str | None:
    """Return why no frame of *name*, a NIC of this *kind*, passes where eve-meta looks; None where frames do pass."""
    why = BYPASSES.get(kind)
    return None if why is None else f"{name} is {'an' if kind[0] in 'ai' else 'a'} {kind}: {why}"
