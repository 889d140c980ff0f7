"""The machine that a guest of Firecracker sees: it has no SMBIOS, and the rest is not on the command line."""

from __future__ import annotations

import platform
from collections.abc import Sequence

from eve_meta.explain.ds_identify import Dmi
from eve_meta.machine.hardware import Hardware

UNTOLD = "its API and its configuration file alone know, which eve-meta does not read"


def hardware(program: str, arguments: Sequence[str]) -> Hardware:
    """Return the machine of a Firecracker."""
    return Hardware(machine=platform.machine(), dmi=Dmi(), untold=UNTOLD)
