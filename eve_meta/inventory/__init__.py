"""Where domains come from, and which of them is behind which tap.

Each source has a room of its own: ``files/`` for domain files, ``libvirt/`` for libvirt, ``eve/`` for EVE-OS, ``qemu/``
for the QEMU process behind a tap. ``source.py`` says what a source is. ``merge.py`` makes one domain of what several
sources know, ``tap_domains.py`` decides which domain is behind a tap, and ``inventory.py`` holds the daemon's pieces
together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eve_meta.inventory.inventory import Inventory

__all__ = ["Inventory"]


def __getattr__(name: str) -> Any:
    # Only now: Inventory needs Twisted, whose import takes longer than a whole "eve-meta check".
    if name == "Inventory":
        from eve_meta.inventory.inventory import Inventory

        return Inventory
    raise AttributeError(name)
