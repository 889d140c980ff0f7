"""``eve-meta new``: a domain file to begin with."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from uuid import UUID

import click

from eve_meta.admin.client import NotRunning, ask
from eve_meta.admin.questions import LIST_DOMAINS
from eve_meta.admin.resolve import NamedDomain, Names
from eve_meta.cli.beginning import Beginning, beginning, is_name
from eve_meta.cli.known import read_directory
from eve_meta.cli.options import complete_name, config_option, domains_option
from eve_meta.config import AUTO, Config, load_config
from eve_meta.inventory.files.directory import Directory
from eve_meta.inventory.libvirt.connection import MISSING
from eve_meta.inventory.libvirt.host import HostLibvirt, usable_uri
from eve_meta.machine import links
from eve_meta.machine.guests import Guest, GuestNic, guests
from eve_meta.values.problem import Problem
from eve_meta.values.text import escape_unprintable

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}\Z")

DOMAIN_SCHEMA = Path(sys.prefix, "share/eve-meta/domain.schema.json")
"""The JSON Schema of domain files, where eve-meta is installed. Editors find it by a comment."""

_UNSEEN = "" if os.geteuid() == 0 else "that you may examine "

EXAMPLES = """\
\b
Examples:
  eve-meta new web1
  eve-meta new vnet0
  eve-meta new --all
  eve-meta new --domains ./domains.d web1
"""


@click.command(epilog=EXAMPLES)
@click.argument("name", metavar="NAME|UUID|TAP", required=False, shell_complete=complete_name)
@click.option("--all", "every", is_flag=True, help="Write a file for each VM that runs and has none.")
@config_option
@domains_option
def new(name: str | None, every: bool, config: Path | None, domains: Path | None) -> None:
    """Write a domain file with what is known of the VM, and every other key in a comment, for you to complete.

    The argument is the VM's name, its uuid or its tap. uuid, name and NICs are those of the running VMM, or of this
    host's libvirt, whether the configuration names it or not; the output says what was taken from where. Where no uuid
    is known, the file has none. A VM need not exist yet. An existing file is never overwritten.
    """
    if (name is None) is not every:
        raise click.UsageError("expected either NAME|UUID|TAP or --all")
    loaded = Config() if domains is not None else load_config(config)
    directory = read_directory(domains if domains is not None else loaded.inventory.directory)
    found, problems = _guests(loaded.inventory.libvirt)
    if domains is None:
        found += _of_daemon(loaded, found)
    for problem in problems:
        click.echo(f"not asked: {problem}", err=True)
    begun = _all_without_file(directory, found) if name is None else [_meant(name, found)]
    failed = []
    for each in begun:
        try:
            _write(directory, each)
        except Problem as problem:
            failed.append(str(problem))
    if len(failed) < len(begun):
        where = "" if domains is None else f" {domains}"
        click.echo(f"Next: complete it, then run 'eve-meta check{where}'. A running daemon reads it by itself.")
    if failed:
        raise Problem("\n".join(failed))


def _guests(configured: str) -> tuple[list[Guest], list[str]]:
    """Return the VMs of this host, and why some of them may be missing.

    :param configured: ``[inventory] libvirt``. Where that is "", this host's own libvirt is asked.
    """
    uri = usable_uri(configured or AUTO)
    found, problems = guests(uri, links.names())
    if not uri and HostLibvirt().socket is not None:
        problems.append(f"libvirt: {MISSING}")
    return found, problems


def _of_daemon(config: Config, found: Iterable[Guest]) -> list[Guest]:
    """Return the domains of the daemon that are not among those *found*: EVE-OS's applications, for example."""
    try:
        domains = ask(config.admin.socket, LIST_DOMAINS)
    except NotRunning:
        return []
    known = {guest.uuid for guest in found} | {guest.name for guest in found}
    return [
        Guest(source="the daemon", name=each["name"], uuid=UUID(each["uuid"]), running=False)
        for each in domains
        if known.isdisjoint({UUID(each["uuid"]), each["name"]})
    ]


def _meant(name: str, found: Sequence[Guest]) -> Beginning:
    """Return what the file of the VM says that *name* means.

    :raises Problem: where several VMs have that name, or none can.
    """
    same = [guest for guest in found if guest.name == name]
    if len(same) > 1:
        which = " and ".join(f"{guest.source} ({guest.uuid or ' '.join(guest.taps)})" for guest in same)
        raise Problem(f"several VMs are called {name}: {which}; give a uuid or a tap")
    # A VM without a uuid gets one for the look-up alone.
    by_uuid = {guest.uuid or UUID(int=number): guest for number, guest in enumerate(found)}
    names = Names(
        domains=[NamedDomain(name=guest.name or "", uuid=uuid, taps=guest.taps) for uuid, guest in by_uuid.items()],
        taps=links.names(),
    )
    meaning = names.resolve(name)
    if meaning is not None and meaning.domain is not None:
        return beginning(by_uuid[meaning.domain.uuid])
    if meaning is not None and meaning.tap is not None:
        return beginning(Guest(source=f"the host, where {meaning.tap} is", nics=(GuestNic(tap=meaning.tap),)))
    with contextlib.suppress(ValueError):
        return Beginning(uuid=UUID(name), name=None)
    if not _SAFE.match(name) or not is_name(name):
        raise Problem(
            f"expected a name of letters, digits, '.', '_' and '-' that begins with a letter or digit, got {name!r}"
        )
    return Beginning(uuid=None, name=name)


def _all_without_file(directory: Directory, found: Iterable[Guest]) -> list[Beginning]:
    """Return what to write of each of the VMs *found* that runs, has a tap, and has no file.

    :raises Problem: where there is none.
    """
    running = [beginning(guest) for guest in found if guest.running and guest.taps]
    begun = [each for each in running if _described(directory, each) is None]
    if not running:
        raise Problem(f"no VM runs here: neither libvirt nor a VMM process {_UNSEEN}has a tap")
    if not begun:
        raise Problem(f"each VM that runs here has a file in {directory.path}")
    return begun


def _described(directory: Directory, begun: Beginning) -> str | None:
    """Return the file in *directory* that describes the same domain, None for none."""
    for path, domain in directory.domains.items():
        if begun.uuid is not None and domain.uuid is not None:
            same = begun.uuid == domain.uuid
        else:
            same = domain.name is not None and begun.name == domain.name
        if same or not begun.taps.isdisjoint(domain.taps):
            return path
    return None


def _write(directory: Directory, begun: Beginning) -> None:
    """Write the file, and show what is in it and from where.

    :raises Problem: where it cannot be written, or another file describes the domain.
    """
    for other, domain in directory.domains.items():
        if begun.name is not None and domain.name == begun.name:
            raise Problem(f"there is already a domain {begun.name}, in {other}")
    if (other_file := _described(directory, begun)) is not None:
        raise Problem(f"there is already a file of this VM: {other_file}")
    path = directory.path / f"{_stem(begun)}.yaml"
    try:
        # For root alone: the file will hold secrets.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise Problem(f"{path} already exists: edit it, or remove it first") from None
    except OSError as error:
        raise Problem(f"cannot write {path}: {error.strerror}") from None
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(_for_editors() + begun.text())
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink()
        raise Problem(f"cannot write {path}: {error.strerror}") from None
    click.echo(path)
    for line in _shown(begun):
        click.echo(f"  {line}")


def _for_editors() -> str:
    """Return the comment that names the schema of domain files; "" in a checkout, which has none."""
    return f"# yaml-language-server: $schema={DOMAIN_SCHEMA}\n" if DOMAIN_SCHEMA.exists() else ""


def _stem(begun: Beginning) -> str:
    """Return the file's name, without its suffix."""
    names = (begun.name, None if begun.uuid is None else str(begun.uuid))
    return next(name for name in (*names, "domain") if name is not None and _SAFE.match(name))


def _shown(begun: Beginning) -> list[str]:
    """Return what the file says of the VM, and from where that is, for people."""
    if not begun.source:
        what = "uuid" if begun.name is None else "name"
        return [f"the {what} as you gave it: neither libvirt nor a VMM process {_UNSEEN}has it"]
    lines = [f"uuid  {begun.uuid}" if begun.uuid is not None else "uuid  none, because none is known"]
    lines += [] if begun.name is None else [f"name  {escape_unprintable(begun.name)}"]
    for nic in begun.nics:
        tap = None if nic.tap is None else f"tap {nic.tap}" if begun.tied else f"{nic.tap} at present"
        lines.append(f"nic   {', '.join(each for each in (nic.mac, tap) if each is not None)}")
    return [f"from {escape_unprintable(begun.source)}:", *lines]
