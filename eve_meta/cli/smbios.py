"""``eve-meta smbios``: what must a domain show its guest so that cloud-init asks eve-meta?"""

from __future__ import annotations

import difflib
import shlex
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from eve_meta.admin.resolve import NamedDomain, Names
from eve_meta.cli.options import config_option, name_argument
from eve_meta.config import AUTO, load_config
from eve_meta.machine.libvirt import connected, inactive_xml, taps_of
from eve_meta.machine.smbios_xml import SETTINGS, Setting, argument, snippet, with_setting
from eve_meta.values.problem import Problem

AFTERWARDS = "This takes effect once the guest is shut down and started again; a reboot from within is not enough."

EXAMPLES = """\
\b
Examples:
  eve-meta smbios web1
  eve-meta smbios web1 --apply
  eve-meta smbios web1 --datasource nocloud --apply --yes
"""


@click.command(epilog=EXAMPLES)
@name_argument
@click.option(
    "--datasource",
    type=click.Choice(sorted(SETTINGS)),
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

    On x86 cloud-init looks for OpenStack's metadata only if the SMBIOS product is OpenStack's, and for NoCloud's over
    HTTP only if the SMBIOS serial names the address.

    With --apply the argument is the name, uuid or tap of a libvirt domain. The domain's definition is changed, which
    takes effect at its next start; everything else in it stays. The libvirt is the one that [inventory] libvirt names,
    or else this host's own.
    """
    setting = SETTINGS[datasource]
    if not apply_it:
        if yes:
            raise click.UsageError("--yes needs --apply")
        _explain(name, datasource, setting)
        return
    configured = load_config(config).inventory.libvirt
    with connected("" if configured == AUTO else configured) as connection:
        _apply(_find(connection, name), setting, yes=yes)


def _find(connection: Any, name: str) -> Any:
    """Return the libvirt domain (``virDomain``) that *name* means.

    Only libvirt's own domains can be meant, whether the daemon knows them or not.
    """
    domains = {UUID(domain.UUIDString()): domain for domain in connection.listAllDomains()}
    names = Names(
        domains=[NamedDomain(name=each.name(), uuid=uuid, taps=taps_of(each)) for uuid, each in domains.items()]
    )
    return domains[names.domain(name).uuid]


def _explain(name: str, datasource: str, setting: Setting) -> None:
    def indented(text: str) -> str:
        return "\n".join(f"  {line}" for line in text.splitlines())

    more = "" if datasource == "openstack" else f" --datasource {datasource}"
    quoted = shlex.quote(name)
    click.echo(f"In the libvirt XML of the domain; 'eve-meta smbios {quoted}{more} --apply' writes it:\n")
    click.echo(indented(snippet(setting)))
    click.echo("\nOr on the command line of QEMU:\n")
    click.echo(indented(f"-smbios {shlex.quote(argument(setting))}"))
    click.echo(f"\n{AFTERWARDS}")


def _apply(domain: Any, setting: Setting, *, yes: bool) -> None:
    name = domain.name()
    if not domain.isPersistent():
        raise Problem(
            f"{name} is transient, so libvirt keeps no definition of it: start it with XML that contains this"
        )
    before = inactive_xml(domain)
    try:
        after = with_setting(before, setting)
    except Problem as problem:
        raise Problem(f"{name}: {problem}") from None
    if after == before:
        click.echo(f"{name} already has it: {setting.name} is {setting.value!r}")
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
        click.echo(f"The domain runs. {AFTERWARDS}\n  {stop}\n  {start}   # when it is off")


def _show(name: str, before: str, after: str) -> None:
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"{name}, as it is", f"{name}, as it will be", lineterm=""
    )
    for line in lines:
        colour = {"+": "green", "-": "red"}.get(line[:1])
        # A description may hold escape sequences of a terminal, but XML allows few control characters.
        click.echo(click.style(line, fg=colour))
