"""The machine of a guest that runs, read from the process of its VMM."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from attrs import evolve, frozen

from eve_meta.inventory.vmm.process import ProcessTable
from eve_meta.inventory.vmm.procfs import arguments_of
from eve_meta.inventory.vmm.vmms import CLOUD_HYPERVISOR, CROSVM, FIRECRACKER, QEMU, Vmm
from eve_meta.machine import cloud_hypervisor, crosvm, firecracker, qemu
from eve_meta.machine.hardware import Hardware, HostNic
from eve_meta.machine.nics import macvtaps

HARDWARE: Mapping[Vmm, Callable[[str, Sequence[str]], Hardware]] = MappingProxyType(
    {
        QEMU: qemu.hardware,
        CLOUD_HYPERVISOR: cloud_hypervisor.hardware,
        FIRECRACKER: firecracker.hardware,
        CROSVM: crosvm.hardware,
    }
)
"""What reads the machine, from the program's name and its arguments."""


@frozen
class Running:
    """A guest that runs.

    :ivar vmm: the name of its VMM.
    :ivar arguments: the VMM's command line.
    :ivar hardware: the machine that the guest sees.
    """

    vmm: str
    arguments: list[str]
    hardware: Hardware


def running(pid: int, table: ProcessTable, proc: Path) -> Running:
    """Return the guest whose VMM is the process *pid*.

    :param proc: where procfs is mounted.
    :raises OSError: when the process has ended, or may not be examined.
    :raises ValueError: when the process is no VMM.
    """
    process = proc / str(pid)
    vmm, arguments = table.vmm(pid), arguments_of(process)
    described = HARDWARE[vmm](table.program(pid), arguments)
    return Running(vmm.name, arguments, evolve(described, nics=_nics(described.nics, process)))


def _nics(described: tuple[HostNic, ...], process: Path) -> tuple[HostNic, ...]:
    """Return the NICs of a VMM; as many of its taps are macvtaps as it holds."""
    held = macvtaps(process)
    taps = [nic for nic in described if nic.kind == "tap"]
    return (*held, *taps[len(held) :], *(nic for nic in described if nic.kind != "tap"))
