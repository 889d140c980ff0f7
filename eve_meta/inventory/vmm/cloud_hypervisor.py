"""The identity on Cloud Hypervisor's command line: a uuid. It has no option for a name.

``api-types/src/vm_config`` and ``cloud-hypervisor/src/main.rs`` of its sources have the options. A VM that is made by
its API (``ch-remote create``, libvirt's ``ch:///``) has no option at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eve_meta.inventory.vmm.identity import Identity, as_uuid, only
from eve_meta.inventory.vmm.options import long_options, quoted_options

_SEVERAL = ("--disk", "--net", "--device", "--user-device", "--vdpa", "--fs", "--pmem")
_TEXTS = ("--cmdline",)


def given(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each option of Cloud Hypervisor's *arguments*, with its value, or with each of its values."""
    return long_options(arguments[1:], several=_SEVERAL, texts=_TEXTS)


def identity(arguments: Sequence[str]) -> Identity | None:
    """Return the uuid of ``--platform``, which the guest sees in SMBIOS; None where several contradict each other."""
    platforms = [quoted_options(value) for option, value in given(arguments) if option == "--platform"]
    # "uuid" is its name in all releases, and the old one since there is "system_uuid".
    return only((as_uuid(each.get(key, "")) for each in platforms for key in ("uuid", "system_uuid")), ())
