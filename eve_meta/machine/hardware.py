"""The machine that a guest sees, as the command line of its VMM or libvirt's XML describes it."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from eve_meta.explain.ds_identify import Dmi, is_x86
from eve_meta.explain.facts import NicFacts
from eve_meta.values.checks import BadValue
from eve_meta.values.nic import Nic


@frozen(kw_only=True)
class DiskImage:
    """The place that holds the content of a guest's disk.

    :ivar path: the file or block device, as the VMM sees it; None where the content is in neither.
    :ivar shown: the place as the command line or libvirt's XML has it.
    :ivar format: "raw", "qcow2", …; None where the VMM detects it.
    :ivar cd: whether the disk is in a CD drive.
    """

    path: str | None
    shown: str
    format: str | None = None
    cd: bool = False


@frozen(kw_only=True)
class HostNic:
    """A NIC of a guest, as the host has it.

    :ivar kind: "tap", or a key of :data:`eve_meta.values.bypass.BYPASSES`; "" where it is of no kind that is known.
    :ivar shown: its tap, its link, its id, or what else describes it.
    :ivar mac: the guest's MAC address; None where the VMM chooses it.
    :ivar ifname: the name of its tap, as it was given; None where none was.
    :ivar descriptors: the open files that were given as its tap.
    """

    kind: str = ""
    shown: str = ""
    mac: str | None = None
    ifname: str | None = None
    descriptors: tuple[int, ...] = ()


@frozen(kw_only=True)
class Hardware:
    """The machine that a guest sees.

    :ivar machine: its architecture, as ``uname -m`` shows it.
    :ivar dmi: the fields of SMBIOS that are known; the VMM has values of its own for some others.
    :ivar nics: what is behind each of its NICs on the host.
    :ivar command_line: the kernel's command line; "" where the guest's boot loader sets it.
    :ivar untold: where disks, NICs and the kernel's command line are described in place of here; "" where it is here.
    """

    machine: str
    dmi: Dmi
    disks: tuple[DiskImage, ...] = ()
    nics: tuple[HostNic, ...] = ()
    command_line: str = ""
    untold: str = ""

    @property
    def nic_facts(self) -> tuple[NicFacts, ...]:
        """Its NICs as explain judges them."""
        return tuple(NicFacts(kind=nic.kind, shown=nic.shown) for nic in self.nics if nic.kind)


def made_on_x86(machine: str, fields: Mapping[str, str]) -> Dmi:
    """Return the SMBIOS of a VMM that makes one, with *fields*, where *machine* is x86, and nowhere else."""
    return Dmi(**fields) if is_x86(machine) else Dmi()


def mac_of(text: object) -> str | None:
    """Return the MAC address that *text* is, None where it is none."""
    try:
        return None if text is None else Nic(mac=str(text)).mac
    except BadValue:
        return None


def descriptors_of(text: str) -> tuple[int, ...]:
    """Return the numbers of open files in *text*, such as ``3``, ``3:4`` and ``[3,4]``."""
    numbers = text.strip("[]").replace(":", ",").split(",")
    return tuple(int(number) for number in numbers if number.isascii() and number.isdigit() and len(number) < 10)
