"""The VMs of this host, as the processes of VMMs and libvirt show them: identity, and each NIC with its tap.

The commands read them where a person begins a domain file; the daemon does not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from uuid import UUID

from attrs import frozen

from eve_meta.inventory.libvirt.connection import load
from eve_meta.inventory.libvirt.description import Description, ReadXml, xml_reading
from eve_meta.inventory.readers.command import CommandReader
from eve_meta.inventory.vmm.process import Owner, ProcessTable
from eve_meta.machine.hardware import HostNic
from eve_meta.machine.libvirt import connected
from eve_meta.machine.running import Running, running
from eve_meta.values.problem import Problem

PROC = Path("/proc")


@frozen(kw_only=True)
class GuestNic:
    """A NIC of a guest.

    :ivar tap: its end on the host at present, None where that is unknown or does not exist.
    :ivar lasting: whether a person chose the tap's name, so that the tap has it at each start.
    """

    mac: str | None = None
    tap: str | None = None
    lasting: bool = False


@frozen(kw_only=True)
class Guest:
    """A VM.

    :ivar source: what shows it: "libvirt (qemu:///system)", "QEMU process 4711".
    :ivar trusted: whether its uuid or its name assigns a domain to its taps. Otherwise a file has to name the taps.
    """

    source: str
    name: str | None = None
    uuid: UUID | None = None
    nics: tuple[GuestNic, ...] = ()
    running: bool = True
    trusted: bool = True

    @property
    def taps(self) -> tuple[str, ...]:
        """Its taps at present."""
        return tuple(nic.tap for nic in self.nics if nic.tap is not None)


def guests(uri: str, taps: Collection[str]) -> tuple[list[Guest], list[str]]:
    """Return the VMs of this host, and a reason for each part of them that could not be read.

    :param uri: the libvirt to ask, "" for none.
    :param taps: all network devices; some may be taps.
    """
    problems: list[str] = []
    found: list[Guest] = []
    if uri:
        try:
            found += of_libvirt(uri)
        except Problem as problem:
            problems.append(str(problem))
    known = {guest.uuid for guest in found}
    # The name that a process of libvirt has is libvirt's.
    with suppress(OSError):  # no procfs is mounted
        found += [guest for guest in _of_processes(taps, PROC) if guest.uuid is None or guest.uuid not in known]
    return found, problems


# -- libvirt --


def of_libvirt(uri: str) -> list[Guest]:
    """Return libvirt's domains, whether they run or not.

    :raises Problem: when there is no libvirt, or it refuses.
    """
    found = []
    # Without the names of taps that libvirt chose itself (virDomainNetDefFormat() of libvirt).
    inactive = load().VIR_DOMAIN_XML_INACTIVE
    with closing(CommandReader()) as reader, connected(uri, read_only=True) as connection:
        for domain in connection.listAllDomains():
            name, uuid = domain.name(), UUID(bytes=domain.UUID())
            running = _described(domain.XMLDesc(), uuid, reader)
            lasting = _described(domain.XMLDesc(inactive), uuid, reader)
            nics = () if running is None else running.domain.nics
            chosen = set() if lasting is None else set(lasting.domain.taps)
            active = bool(domain.isActive())
            found.append(
                Guest(
                    source=f"libvirt ({uri})",
                    name=name,
                    uuid=uuid,
                    nics=tuple(
                        GuestNic(mac=nic.mac, tap=nic.tap if active else None, lasting=nic.tap in chosen)
                        for nic in nics
                    ),
                    running=active,
                )
            )
    return found


def _described(xml: str, uuid: UUID, reader: CommandReader) -> Description | None:
    """Return what the reader makes of *xml*, which tenants wrote in part; None where it reads nothing."""
    reading = xml_reading(xml, uuid)
    reader.read(reading)
    reader.wait(reading)
    return reading.result.description if isinstance(reading.result, ReadXml) else None


# -- processes --


def _of_processes(taps: Collection[str], proc: Path) -> Iterator[Guest]:
    table = ProcessTable(proc)
    owners = table.scan(taps).owners
    identified = {owner.pid: owner for owner in owners.values()}
    # Started by hand, with neither uuid nor name: a file that names the tap is all that they can have.
    unidentified = [pid for pid in table.holders(set(taps) - owners.keys()) if pid not in identified]
    for pid in sorted({*identified, *unidentified}):
        with suppress(OSError, ValueError):  # it has ended
            guest = running(pid, table, proc)
            owner = identified.get(pid, Owner(pid=pid, start=0, trusted=False, vmm=guest.vmm))
            yield _guest(owner, guest, table.taps_of(pid))


def _guest(owner: Owner, guest: Running, descriptors: Mapping[int, str]) -> Guest:
    return Guest(
        source=str(owner),
        name=owner.name,
        uuid=owner.uuid,
        nics=tuple(nics(guest.hardware.nics, descriptors)),
        trusted=owner.trusted,
    )


def nics(described: Sequence[HostNic], descriptors: Mapping[int, str]) -> list[GuestNic]:
    """Return the NICs that a VMM's command line describes, whatever is behind them, with the taps that they have.

    :param descriptors: the taps that the process holds, by the number of the file descriptor.
    """
    made = []
    for nic in described:
        held = nic.ifname in descriptors.values()
        inherited = next((descriptors[number] for number in nic.descriptors if number in descriptors), None)
        made.append(GuestNic(mac=nic.mac, tap=nic.ifname if held else inherited, lasting=held))
    return _completed(made, descriptors)


def _completed(found: list[GuestNic], descriptors: Mapping[int, str]) -> list[GuestNic]:
    """Return *found* with those taps that belong to no NIC of which one knows."""
    rest = [tap for tap in dict.fromkeys(descriptors.values()) if tap not in {nic.tap for nic in found}]
    without = [nic for nic in found if nic.tap is None]
    if len(rest) == len(without) == 1:
        # The VMM or its helper chose the tap's name, and there is one NIC that it can be.
        return [GuestNic(mac=nic.mac, tap=rest[0]) if nic.tap is None else nic for nic in found]
    return [nic for nic in found if nic != GuestNic()] + [GuestNic(tap=tap) for tap in rest]
