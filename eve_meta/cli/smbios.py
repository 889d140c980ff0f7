"""``eve-meta smbios``: what must a domain show its guest so that cloud-init asks eve-meta?"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from eve_meta.admin.resolve import NamedDomain, Names
from eve_meta.cli import terminal
from eve_meta.cli.gather import machine_facts
from eve_meta.cli.options import config_option, name_argument
from eve_meta.config import AUTO, load_config
from eve_meta.explain.facts import DomainFacts, Facts, HostFacts
from eve_meta.explain.guest_machine import prevented
from eve_meta.machine.libvirt import connected, hardware_of, inactive_xml, taps_of
from eve_meta.machine.smbios_xml import DATASOURCES, Setting, arguments, settings, snippet, with_settings
from eve_meta.values.problem import Problem
from eve_meta.values.text import escape_unprintable

PROC = Path("/proc")

ABOUT_EC2 = (
    "cloud-init takes this for a cloud whose metadata is EC2's without session tokens. Where the uuid begins with ec2, "
    "it takes the guest for an instance of AWS, and uses session tokens: then --apply sets the serial to the uuid, as "
    "'-uuid UUID -smbios type=1,serial=UUID' does."
)

AFTERWARDS = "This takes effect once the guest is shut down and started again; a reboot from within is not enough."

EXAMPLES = """\
\b
Examples:
  eve-meta smbios web1
  eve-meta smbios web1 --apply
  eve-meta smbios web1 --datasource nocloud --apply --yes
  eve-meta smbios web1 --datasource ec2
"""


@click.command(epilog=EXAMPLES)
@name_argument
@click.option(
    "--datasource",
    type=click.Choice(sorted(DATASOURCES)),
    default="openstack",
    show_default=True,
    help="The datasource of cloud-init that is to read from eve-meta.",
)
@click.option(
    "--apply",
    "apply_it",
    is_flag=True,
    help="Write it into the libvirt domain; the change is shown, and confirmed, first.",
)
@click.option("--yes", is_flag=True, help="With --apply: do not ask for confirmation.")
@config_option
def smbios(name: str, datasource: str, apply_it: bool, yes: bool, config: Path | None) -> None:
    """Print what a domain must show its guest as SMBIOS, in the syntax of libvirt and of QEMU.

    On x86 cloud-init looks for OpenStack's metadata only if the SMBIOS product is OpenStack's, for NoCloud's over HTTP
    only if the SMBIOS serial names the address, and for EC2's only if SMBIOS is that of a cloud that has it. For ec2,
    systemd-imdsd finds eve-meta, too.

    With --apply the argument is the name, uuid or tap of a libvirt domain. The domain's definition is changed, which
    takes effect at its next start; everything else in it stays. The libvirt is the one that [inventory] libvirt names,
    or else this host's own. The exit status is 1 if cloud-init will choose another datasource all the same, because of
    something else in the definition or on a disk; that is named, with the command that removes it.
    """
    if not apply_it:
        if yes:
            raise click.UsageError("--yes needs --apply")
        _explain(name, datasource)
        return
    configured = load_config(config).inventory.libvirt
    with connected("" if configured == AUTO else configured) as connection:
        domain = _find(connection, name)
        _apply(domain, settings(datasource, UUID(domain.UUIDString())), yes=yes)
        why = _prevented(domain, DATASOURCES[datasource])
    if why is not None:
        text, mend = map(escape_unprintable, why)
        click.echo(
            f"\n{terminal.paint('warning')}  {terminal.indented(text, 9)}\n{' ' * 9}{terminal.paint('→')} {mend}"
        )
        click.get_current_context().exit(1)


def _find(connection: Any, name: str) -> Any:
    """Return the libvirt domain (``virDomain``) that *name* means.

    Only libvirt's own domains can be meant, whether the daemon knows them or not.
    """
    domains = {UUID(domain.UUIDString()): domain for domain in connection.listAllDomains()}
    names = Names(
        domains=[NamedDomain(name=each.name(), uuid=uuid, taps=taps_of(each)) for uuid, each in domains.items()]
    )
    return domains[names.domain(name).uuid]


def _prevented(domain: Any, wanted: str) -> tuple[str, str] | None:
    """Return why cloud-init will not choose the datasource *wanted*, and what helps; None where it will."""
    described = hardware_of(inactive_xml(domain))
    if described is None:
        return None
    known = DomainFacts(name=domain.name(), uuid=domain.UUIDString(), origins=())
    machine = machine_facts(f"libvirt XML of {known.name}", described, PROC / "self", runs=False)
    facts = Facts(host=HostFacts(asked_for=known.name, now=0, domain=known), machine=machine, libvirt=True)
    return prevented(facts, machine, wanted)


def _explain(name: str, datasource: str) -> None:
    def indented(text: str) -> str:
        return "\n".join(f"  {line}" for line in text.splitlines())

    wanted = settings(datasource)
    more = "" if datasource == "openstack" else f" --datasource {datasource}"
    quoted = shlex.quote(name)
    click.echo(f"In the libvirt XML of the domain; 'eve-meta smbios {quoted}{more} --apply' writes it:\n")
    click.echo(indented(snippet(wanted)))
    click.echo("\nOr on the command line of QEMU:\n")
    click.echo(indented("\n".join(f"-smbios {shlex.quote(argument)}" for argument in arguments(wanted))))
    if datasource == "ec2":
        click.echo(f"\n{terminal.indented(ABOUT_EC2, 0)}")
    click.echo(f"\n{terminal.indented(AFTERWARDS, 0)}")


def _apply(domain: Any, wanted: Sequence[Setting], *, yes: bool) -> None:
    name = domain.name()
    if not domain.isPersistent():
        raise Problem(
            f"{name} is transient, so libvirt keeps no definition of it: start it with XML that contains this"
        )
    before = inactive_xml(domain)
    try:
        after = with_settings(before, wanted)
    except Problem as problem:
        raise Problem(f"{name}: {problem}") from None
    if after == before:
        values = ", ".join(f"{setting.table} {setting.name} is {setting.value!r}" for setting in wanted)
        click.echo(f"{name} already has it: {values}")
    else:
        _show(name, before, after)
        if not yes and not click.confirm(f"Change the domain {name}?"):
            raise Problem("nothing was changed")
        if inactive_xml(domain) != before:
            raise Problem(f"somebody else has changed {name} meanwhile: try again")
        domain.connect().defineXML(after)
        click.echo(f"changed {name}")
    if domain.isActive():
        stop, start = (shlex.join(["virsh", word, name]) for word in ("shutdown", "start"))
        click.echo(f"{terminal.indented(f'The domain runs. {AFTERWARDS}', 0)}\n  {stop}\n  {start}   # when it is off")


def _show(name: str, before: str, after: str) -> None:
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"{name}, as it is", f"{name}, as it will be", lineterm=""
    )
    for line in lines:
        colour = {"+": "green", "-": "red"}.get(line[:1])
        # A description may hold escape sequences of a terminal, but XML allows few control characters.
        click.echo(click.style(line, fg=colour))
