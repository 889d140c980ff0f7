"""The facts for ``eve-meta explain``: the daemon's, or those of files and processes; and the guest's virtual hardware.

The command reads the hardware itself, whether the daemon runs or not: the daemon parses nothing that a guest wrote, and
the labels of a guest's file systems are its own.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import attrs
import cattrs

from eve_meta.admin.client import NotRunning, ask
from eve_meta.admin.gathering import HostView, for_explanation
from eve_meta.admin.questions import EXPLAIN
from eve_meta.admin.resolve import NamedDomain, Names
from eve_meta.cli.known import names_in, scanned, with_profiles
from eve_meta.config import DEFAULT_PATH, Config, load_config
from eve_meta.explain.facts import DiskFacts, DomainFacts, Facts, HostFacts, MachineFacts, ProcessFacts, TapFacts
from eve_meta.inventory.files.domain_file import FileReading
from eve_meta.inventory.libvirt.host import usable_uri
from eve_meta.inventory.readers.command import CommandReader
from eve_meta.inventory.vmm.process import ProcessTable, trusted_uids
from eve_meta.machine import links
from eve_meta.machine.disks import read_disks
from eve_meta.machine.guests import of_libvirt
from eve_meta.machine.hardware import Hardware
from eve_meta.machine.libvirt import connected, hardware_of, inactive_xml
from eve_meta.machine.running import running
from eve_meta.values.checks import BadValue
from eve_meta.values.domain import Domain
from eve_meta.values.plain import make_converter
from eve_meta.values.problem import Problem
from eve_meta.values.text import escape_unprintable

PROC = Path("/proc")

_UNITS = (Path("/etc/systemd/system"), Path("/usr/lib/systemd/system"), Path("/lib/systemd/system"))

# The directory that libvirt makes for a running domain, as it stands in arguments of the domain's QEMU.
_LIBVIRT = re.compile(r"/domain-\d+-")

_CONVERTER = make_converter()


def gather(asked_for: str, config: Path | None) -> Facts:
    """Gather the facts about what *asked_for* means (:mod:`eve_meta.admin.resolve`).

    :raises Problem: where the configuration is wrong, or the daemon may not be asked.
    """
    loaded = load_config(config)
    table = ProcessTable(PROC, trusted_uids(loaded.inventory.process_users))
    try:
        host = _from_daemon(loaded, asked_for)
    except NotRunning:
        host = _without_daemon(loaded, asked_for, table)
    host = attrs.evolve(host, domain=None if host.domain is None else _with_line(host.domain))
    host = attrs.evolve(host, taps=_with_unidentified(host.taps, table))
    arguments, machine = _machine(host, table)
    by_libvirt = any(_LIBVIRT.search(argument) for argument in arguments)
    if machine is None and (uri := usable_uri(loaded.inventory.libvirt)):
        machine = _libvirts_machine(uri, host)
        by_libvirt = machine is not None
    return Facts(
        host=host,
        machine=machine,
        libvirt=by_libvirt,
        config=str(config or DEFAULT_PATH),
        config_named=config not in (None, DEFAULT_PATH),
        service=any((unit / "eve-meta.service").exists() for unit in _UNITS),
    )


def _from_daemon(config: Config, asked_for: str) -> HostFacts:
    answer = ask(config.admin.socket, EXPLAIN, name=asked_for)
    try:
        return _CONVERTER.structure(answer, HostFacts)
    except cattrs.BaseValidationError:
        raise Problem("the daemon that runs is of another version of eve-meta: restart it") from None


def _without_daemon(config: Config, asked_for: str, table: ProcessTable) -> HostFacts:
    directory = scanned(config.inventory.directory)
    owners = table.scan(links.names()).owners
    merged, refusals = with_profiles(directory, config.inventory.profiles)
    by_uuid = {each.domain.instance_uuid: (each.domain, each.origins) for each in merged}
    names = names_in(directory)
    for domain, taps in _only_in_libvirt(usable_uri(config.inventory.libvirt), names):
        origin = (f"libvirt XML of {escape_unprintable(domain.display_name)}",)
        by_uuid[domain.instance_uuid] = (domain, origin)
        named = NamedDomain(name=domain.display_name, uuid=domain.instance_uuid)
        served = dict.fromkeys(taps, domain.instance_uuid)
        names = attrs.evolve(names, domains=[*names.domains, named], served={**names.served, **served})
    view = HostView(
        names=for_explanation(names, owners),
        described=lambda domain: by_uuid.get(domain.uuid),
        owners=owners,
        faults=directory.problems,
        refusals=refusals,
        steering=config.steering,
    )
    return view.gather(asked_for, time.time())


def _only_in_libvirt(uri: str, names: Names) -> Iterator[tuple[Domain, tuple[str, ...]]]:
    """Yield the domains of libvirt that are not among *names*, each with its taps, as the daemon would know them.

    :param uri: the libvirt to ask, "" for none.
    """
    known = {domain.name for domain in names.domains} | {domain.uuid for domain in names.domains}
    with suppress(Problem):  # libvirt is away, which the daemon reports
        for guest in of_libvirt(uri) if uri else ():
            with suppress(BadValue):  # a name that no domain can have
                if known.isdisjoint({guest.name, guest.uuid}):
                    yield Domain(uuid=guest.uuid, name=guest.name), guest.taps


def _with_line(domain: DomainFacts) -> DomainFacts:
    """Return *domain* with the line on which its file begins to describe its NICs."""
    if not domain.taps or not domain.origins or not domain.origins[0].startswith("/"):
        return domain
    with closing(CommandReader()) as reader:
        file = FileReading(domain.origins[0], reader)
        if file.reading is not None:
            reader.wait(file.reading)
    lines = file.finish().lines
    return attrs.evolve(
        domain, line=min((line for path, line in lines.items() if path.startswith("nics[")), default=None)
    )


def _machine(host: HostFacts, table: ProcessTable) -> tuple[list[str], MachineFacts | None]:
    """Return the arguments of the guest's VMM and the machine that they describe; [] and None without a VMM."""
    # A VMM without an identity gives its tap no domain; but it does describe the machine. And one that is the domain
    # may have no tap.
    holders = [tap.process for tap in host.taps] + [tap.unidentified for tap in host.taps]
    for pid in [each.pid for each in holders if each is not None] or _pids_of(host.domain, table):
        with suppress(OSError, ValueError):  # the process has ended, or this is not root
            guest = running(pid, table, PROC)
            source = f"{guest.vmm} process {pid}"
            facts = machine_facts(source, guest.hardware, PROC / str(pid), runs=True)
            return guest.arguments, attrs.evolve(facts, vmm=guest.vmm)
    return [], None


def _with_unidentified(taps: tuple[TapFacts, ...], table: ProcessTable) -> tuple[TapFacts, ...]:
    """Return *taps*, those of which no process is known with the process that holds them without uuid and name."""
    names = {tap.name for tap in taps if tap.process is None}
    found: dict[str, ProcessFacts] = {}
    for pid, held in table.holders(names).items() if names else ():
        with suppress(OSError, ValueError):  # the process has ended
            process = ProcessFacts(pid=pid, vmm=table.vmm(pid).name, trusted=False)
            found |= dict.fromkeys(held, process)
    return tuple(attrs.evolve(tap, unidentified=found.get(tap.name)) for tap in taps)


def _pids_of(domain: DomainFacts | None, table: ProcessTable) -> list[int]:
    if domain is None:
        return []
    return [
        guest.pid
        for guest in table.guests()
        if str(guest.uuid) == domain.uuid or (guest.name == domain.name and (domain.by_name or guest.uuid is None))
    ]


def _libvirts_machine(uri: str, host: HostFacts) -> MachineFacts | None:
    """Return the machine of a guest that does not run, as libvirt describes it; None where libvirt does not."""
    if host.domain is None:
        return None
    try:
        with connected(uri) as connection:
            domain = connection.lookupByUUIDString(host.domain.uuid)
            xml, name = inactive_xml(domain), domain.name()
        described = hardware_of(xml)
    except (Problem, ValueError):
        return None  # libvirt does not know the domain, or is unreachable, which the daemon reports as a problem
    if described is None:
        return None
    return machine_facts(f"libvirt XML of {name}", described, PROC / "self", runs=False)


def machine_facts(source: str, described: Hardware, process: Path, *, runs: bool) -> MachineFacts:
    """Return the facts about a machine, whose disks are read as *process* sees them."""
    return MachineFacts(
        source=source,
        runs=runs,
        machine=described.machine,
        dmi=described.dmi,
        disks=tuple(DiskFacts(**attrs.asdict(disk)) for disk in read_disks(described.disks, process)),
        nics=described.nic_facts,
        command_line=described.command_line,
        untold=described.untold,
    )
