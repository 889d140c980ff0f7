"""NICs whose guests no filter of eve-meta's sees, and what to use in their place."""

from __future__ import annotations

from collections.abc import Collection

from eve_meta.explain.facts import Facts, NicFacts
from eve_meta.explain.steps import command, listed
from eve_meta.explain.vmms import ADVICE, QEMU
from eve_meta.values.bypass import WITH_LIBVIRT, bypass


def bypassing(nics: Collection[NicFacts]) -> str:
    """Return why none of a guest's *nics* can be served; "" where one may be, or there is none."""
    reasons = [why for nic in nics if (why := bypass(nic.shown, nic.kind)) is not None]
    return listed(reasons, 1) if len(reasons) == len(nics) else ""


def use_a_tap(facts: Facts) -> str:
    """Return what gives the guest a tap."""
    known = facts.host.domain
    if facts.libvirt and known is not None:
        return f"{command('virsh', 'edit', known.name)}   # {WITH_LIBVIRT}"
    vmm = QEMU if facts.machine is None else facts.machine.vmm
    return f"start the guest with {ADVICE[vmm].tap}"
