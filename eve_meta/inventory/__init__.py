"""Where domains come from, and which of them is behind which tap.

``domainfile.py`` reads one file, ``directory.py`` all files of a directory; neither needs Twisted. ``pubsub.py`` reads
what EVE-OS's agents publish, ``evetypes.py`` and ``evedomain.py`` make values and domains of it, and ``eve.py`` says
whose a tap is. ``watch.py`` keeps files up to date in a daemon. ``process.py`` finds the QEMU process behind a tap,
``owners.py`` keeps that up to date. ``merge.py`` makes one domain of what several places say, ``join.py`` decides whose
a tap is, and ``inventory.py`` holds the daemon's pieces together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eve_meta.inventory.inventory import Inventory

__all__ = ["Inventory"]


def __getattr__(name: str) -> Any:
    # Only now: Inventory needs Twisted, whose import takes longer than a whole "eve-meta check".
    if name == "Inventory":
        from eve_meta.inventory.inventory import Inventory  # noqa: PLC0415

        return Inventory
    raise AttributeError(name)
