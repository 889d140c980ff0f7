"""This host's own libvirt, which ``libvirt = "auto"`` uses where it is there: its socket and its Python module."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from eve_meta.config import AUTO

URI = "qemu:///system"
"""The libvirt that "auto" means. Others, such as that of Xen, have to be named."""

PACKAGE = "python3-libvirt"

_DIRECTORY = Path("/run/libvirt")

_SOCKETS = ("virtqemud-sock", "virtqemud-sock-ro", "libvirt-sock", "libvirt-sock-ro")
"""Those of libvirt's QEMU driver as a daemon of its own, and those of a libvirtd with all drivers."""


class HostLibvirt:
    """The libvirt of this host.

    :param directory: where its sockets are.
    """

    def __init__(self, directory: Path = _DIRECTORY) -> None:
        self.directory = directory

    @property
    def socket(self) -> Path | None:
        """One of its sockets, None where there is none: the host has no libvirt, or it has not been started."""
        return next((path for name in _SOCKETS if (path := self.directory / name).exists()), None)

    @property
    def has_module(self) -> bool:
        """Whether Python finds libvirt's module."""
        return find_spec("libvirt") is not None

    @property
    def is_usable(self) -> bool:
        """Whether libvirt can be asked."""
        return self.socket is not None and self.has_module


def usable_uri(configured: str) -> str:
    """Return the URI of the libvirt that a command asks where ``[inventory] libvirt`` is *configured*; "" for none."""
    if configured == AUTO:
        return URI if HostLibvirt().is_usable else ""
    return configured
