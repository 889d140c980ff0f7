"""Warnings of ``eve-meta check``: what domain files say, and guests do not get by DHCP from their taps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from eve_meta.config import SteeringConfig
from eve_meta.documents.dhcp_lease import dhcp_lease
from eve_meta.inventory.files.domain_file import LinesReading
from eve_meta.inventory.merge import Merged
from eve_meta.inventory.readers.command import CommandReader
from eve_meta.inventory.source import InventoryProblem
from eve_meta.values.domain import Domain
from eve_meta.values.nic import DhcpPolicy
from eve_meta.values.plain import Fault, field_of


def lease_warnings(
    domains: Iterable[Merged], steering: SteeringConfig, reader: CommandReader
) -> Iterator[InventoryProblem]:
    """Yield the warnings about *domains*, those of files and of their profiles.

    :param reader: finds the lines of fields.
    """
    for merged in domains:
        faults = [] if merged.refused else list(_faults(merged.domain, steering.dhcp))
        # The NICs of a bond have the same ones.
        found = dict.fromkeys((field_of(Domain, fault.path), fault.message) for fault in faults)
        if not found:
            continue
        sources = merged.sources()
        files = {field: _origin(field, sources, merged.origin) for field, _ in found}
        lines = {
            file: _lines(file, [field for field, origin in files.items() if origin == file], reader)
            for file in set(files.values())
        }
        for field, message in found:
            file = files[field]
            yield InventoryProblem(file=file, line=lines[file].get(field), field=field, message=message, warning=True)


def _faults(domain: Domain, default: DhcpPolicy) -> Iterator[Fault]:
    unnamed = sum(nic.tap is None for nic in domain.nics)
    for index, nic in enumerate(domain.nics):
        if domain.dhcp_policy(nic, default) is not DhcpPolicy.ON:
            continue
        if nic.tap is None and unnamed > 1:
            message = (
                "its tap is not written, nor another NIC's: unless libvirt or EVE-OS knows it, the guest gets a "
                "link-local address by DHCP"
            )
            yield Fault(("nics", index), message)
        yield from dhcp_lease(domain, index, nic.tap or "").faults


def _origin(field: str, sources: Mapping[str, str], default: str) -> str:
    """Return the file that has *field*: of a list such as ``nics[0].subnets``, *sources* has the whole alone."""
    whole = max((name for name in sources if field.startswith(name)), key=len, default="")
    return sources.get(whole, default)


def _lines(file: str, fields: list[str], reader: CommandReader) -> Mapping[str, int]:
    lines = LinesReading(file, fields, reader)
    reader.wait(lines.reading)
    return lines.finish()
