"""The facts that ``eve-meta explain`` gathers itself: the guest's machine, and all that is known without a daemon."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import attrs
import cattrs

from eve_meta.admin.client import NotRunning, ask
from eve_meta.cli.options import read_directory
from eve_meta.config import DEFAULT_PATH, Config, load_config
from eve_meta.explain.facts import DiskFacts, DomainFacts, Facts, HostFacts, MachineFacts, ProcessFacts, TapFacts
from eve_meta.explain.finding import find, near
from eve_meta.inventory.files.domain_file import read_domain_file
from eve_meta.inventory.qemu.process import MAX_CMDLINE, ProcessTable
from eve_meta.machine import links
from eve_meta.machine.disks import read_disks
from eve_meta.machine.libvirt import domain_of, hardware_of, inactive_xml
from eve_meta.machine.qemu import Hardware, hardware
from eve_meta.values.plain import make_converter
from eve_meta.values.problem import Problem

PROC = Path("/proc")

_UNITS = (Path("/etc/systemd/system"), Path("/usr/lib/systemd/system"), Path("/lib/systemd/system"))

# libvirt's folder of a running domain, in arguments of its QEMU.
_LIBVIRT = re.compile(r"/domain-\d+-")

_CONVERTER = make_converter()


def gather(asked_for: str, config: Path | None) -> Facts:
    """All facts about a name, a uuid or a tap.

    :raises Problem: when the configuration is wrong, or the daemon may not be asked.
    """
    loaded = load_config(config)
    table = ProcessTable(PROC)
    try:
        host = _told(loaded, asked_for)
    except NotRunning:
        host = _found(loaded, asked_for, table)
    host = attrs.evolve(host, domain=None if host.domain is None else _with_line(host.domain))
    arguments, machine = _machine(host, table)
    by_libvirt = any(_LIBVIRT.search(argument) for argument in arguments)
    if machine is None and loaded.inventory.libvirt:
        machine = _libvirts_machine(loaded.inventory.libvirt, host)
        by_libvirt = machine is not None
    return Facts(
        host=host,
        machine=machine,
        libvirt=by_libvirt,
        config=str(config or DEFAULT_PATH),
        service=any((unit / "eve-meta.service").exists() for unit in _UNITS),
    )


def _told(config: Config, asked_for: str) -> HostFacts:
    said = ask(config.admin.socket, "explain", asked_for=asked_for)
    try:
        return _CONVERTER.structure(said, HostFacts)
    except cattrs.BaseValidationError:
        raise Problem("the daemon that runs is of another version of eve-meta: restart it") from None


def _found(config: Config, asked_for: str, table: ProcessTable) -> HostFacts:
    """What files and processes say."""
    try:
        directory = read_directory(config.inventory.directory)
    except Problem:
        files: Mapping[str, DomainFacts] = {}
        broken: tuple[str, ...] = ()
    else:
        files = {
            path: DomainFacts(
                name=domain.display_name,
                uuid=str(domain.instance_uuid),
                origins=(path,),
                taps=domain.taps,
            )
            for path, domain in directory.domains.items()
        }
        wrong = (each for each in directory.problems if not each.warning and Path(each.file).stem == asked_for)
        broken = tuple(str(each) for each in wrong)
    there = links.names()
    # Of all links: that [steering] taps does not name one is what may be wrong.
    owners = table.scan(there).owners
    processes = {
        tap: ProcessFacts(
            pid=owner.pid,
            uuid=None if owner.uuid is None else str(owner.uuid),
            name=owner.name,
            uid=owner.uid,
            trusted=owner.trusted,
        )
        for tap, owner in owners.items()
    }
    domains = list(files.values())
    domain, taps = find(asked_for, domains, there, processes, {})
    return HostFacts(
        asked_for=asked_for,
        now=time.time(),
        domain=domain,
        taps=tuple(
            TapFacts(
                name=tap,
                matched=config.steering.matches(tap),
                link=links.read_link(tap),
                domain=domain,
                process=processes.get(tap),
            )
            for tap in taps
        ),
        near=near(asked_for, (*(each.name for each in domains), *there)),
        broken=broken,
        patterns=config.steering.taps,
    )


def _with_line(domain: DomainFacts) -> DomainFacts:
    """*domain* with the line on which its file names a tap."""
    if not domain.taps or not domain.origins[0].startswith("/"):
        return domain
    lines = read_domain_file(domain.origins[0]).lines
    found = [line for name, line in lines.items() if name.startswith("nics[")]
    return attrs.evolve(domain, line=min(found, default=None))


def _machine(host: HostFacts, table: ProcessTable) -> tuple[list[str], MachineFacts | None]:
    """The arguments of the guest's QEMU, and the machine that they say."""
    known = [tap.process.pid for tap in host.taps if tap.process is not None]
    # One that was started by hand, with neither uuid nor name, is nobody's word, but its machine is what it says.
    for pid in known or table.holders({tap.name for tap in host.taps}):
        with suppress(OSError):  # it has ended, or this is not root
            process = PROC / str(pid)
            with open(process / "cmdline", "rb") as file:
                arguments = file.read(MAX_CMDLINE).decode(errors="surrogateescape").split("\0")[:-1]
            said = hardware(table.program(pid), arguments)
            return arguments, MachineFacts(
                said_by=f"QEMU process {pid}",
                machine=said.machine,
                dmi=said.dmi,
                disks=_disks(said, process),
                command_line=said.command_line,
            )
    return [], None


def _libvirts_machine(uri: str, host: HostFacts) -> MachineFacts | None:
    """What libvirt says of a guest that does not run."""
    if host.domain is None:
        return None
    try:
        with domain_of(uri, host.domain.uuid) as found:
            xml, name = inactive_xml(found), found.name()
        said = hardware_of(xml)
    except (Problem, ValueError):
        return None  # libvirt has none of it, or is away, which the daemon complains of
    if said is None:
        return None
    return MachineFacts(
        said_by=f"libvirt XML of {name}",
        machine=said.machine,
        dmi=said.dmi,
        disks=_disks(said, PROC / "self"),
        command_line=said.command_line,
        running=False,
    )


def _disks(said: Hardware, process: Path) -> tuple[DiskFacts, ...]:
    return tuple(DiskFacts(**attrs.asdict(disk)) for disk in read_disks(said.disks, process))
