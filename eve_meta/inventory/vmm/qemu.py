"""The identity on QEMU's command line."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from uuid import UUID

from eve_meta.inventory.vmm.identity import Identity, as_uuid, only
from eve_meta.inventory.vmm.options import options


def identity(arguments: Sequence[str]) -> Identity | None:
    """Return the uuid and the name among QEMU's *arguments*, or None where they cannot be known.

    ``-smbios type=1,uuid=`` sets the same uuid as ``-uuid`` does; Proxmox gives that alone.
    Where an option is given twice, QEMU takes the last. But the argument of another option, such as the guest's kernel
    command line after ``-append``, may look like the option; so two that differ make the result None. A QEMU that was
    given neither uuid nor name has a known identity all the same: one of two Nones.
    """
    uuids: list[UUID | None] = []
    names: list[str] = []
    for option, value in pairwise(arguments):
        if option in ("-uuid", "--uuid"):
            uuids.append(as_uuid(value))
        elif option in ("-smbios", "--smbios"):
            uuids.append(as_uuid(_system_uuid(value)))
        elif option in ("-name", "--name"):
            names.append(options(value, "guest").get("guest", ""))
    return only(uuids, names)


def _system_uuid(smbios: str) -> str:
    """Return the uuid in the argument of ``-smbios``, "" where it sets none."""
    fields = options(smbios)
    return fields.get("uuid", "") if fields.get("type") == "1" else ""
