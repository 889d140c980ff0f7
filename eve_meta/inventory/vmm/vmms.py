"""The table of the VMMs that eve-meta knows: how each is recognised, and what reads its command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import field, frozen

from eve_meta.inventory.vmm import cloud_hypervisor, crosvm, firecracker, qemu
from eve_meta.inventory.vmm.identity import Identity


@frozen(kw_only=True)
class Vmm:
    """A VMM.

    :ivar name: its name for people.
    :ivar programs: the beginnings of the names of its executables: "firecracker-v1.7.0-x86_64" is one, too.
    :ivar identity: reads the identity from the command line; its result is None where that contradicts itself.
    """

    name: str
    programs: tuple[str, ...]
    identity: Callable[[Sequence[str]], Identity | None] = field(repr=False)


QEMU = Vmm(name="QEMU", programs=("qemu", "kvm"), identity=qemu.identity)
CLOUD_HYPERVISOR = Vmm(
    name="Cloud Hypervisor",
    programs=("cloud-hyperviso",),  # as the kernel cuts it (comm), where the executable may not be read
    identity=cloud_hypervisor.identity,
)
FIRECRACKER = Vmm(name="Firecracker", programs=("firecracker",), identity=firecracker.identity)
CROSVM = Vmm(name="crosvm", programs=("crosvm",), identity=crosvm.identity)

VMMS = (QEMU, CLOUD_HYPERVISOR, FIRECRACKER, CROSVM)


def vmm_of(program: str) -> Vmm | None:
    """Return the VMM whose executable is called *program*, None for any other program."""
    return next((vmm for vmm in VMMS if program.startswith(vmm.programs)), None)
