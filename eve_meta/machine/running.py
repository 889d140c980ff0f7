"""The machine of a QEMU that runs, read from its process."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve, frozen

from eve_meta.explain.facts import NicFacts
from eve_meta.inventory.qemu.process import ProcessTable, arguments_of
from eve_meta.machine.nics import macvtaps
from eve_meta.machine.qemu import Hardware, hardware


@frozen
class Running:
    """A QEMU that runs.

    :ivar arguments: its command line.
    :ivar hardware: the machine that the guest sees.
    """

    arguments: list[str]
    hardware: Hardware


def running(pid: int, table: ProcessTable, proc: Path) -> Running:
    """Return the QEMU that is the process *pid*.

    :param proc: where procfs is mounted.
    :raises OSError: when the process has ended, or may not be examined.
    """
    process = proc / str(pid)
    arguments = arguments_of(process)
    described = hardware(table.program(pid), arguments)
    return Running(arguments, evolve(described, nics=_nics(described.nics, process)))


def _nics(described: tuple[NicFacts, ...], process: Path) -> tuple[NicFacts, ...]:
    """Return the NICs of a QEMU; as many of its taps are macvtaps as it holds."""
    held = macvtaps(process)
    taps = [nic for nic in described if nic.kind == "tap"]
    return (*held, *taps[len(held) :], *(nic for nic in described if nic.kind != "tap"))
