"""``eve-meta smbios``: what must a domain have so that its cloud-init looks here?"""

from __future__ import annotations

import difflib
import shlex
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from eve_meta.admin.resolve import NamedDomain, Names
from eve_meta.cli.known import NAME, complete_name
from eve_meta.cli.options import config_option
from eve_meta.config import load_config
from eve_meta.machine.libvirt import connected, inactive_xml, taps_of
from eve_meta.machine.smbios_xml import SETTINGS, Setting, argument, snippet, with_setting
from eve_meta.values.problem import Problem

AFTERWARDS = "It takes effect when the guest is stopped and started again; a reboot from within is not enough."

EXAMPLES = """\
\b
Examples:
  eve-meta smbios web1
  eve-meta smbios web1 --apply
  eve-meta smbios web1 --datasource nocloud --apply --yes
"""


@click.command(epilog=EXAMPLES, short_help="Say, or write, what makes a guest's cloud-init look here.")
@click.argument("name", metavar=NAME, shell_complete=complete_name)
@click.option(
    "--datasource",
    type=click.Choice(sorted(SETTINGS)),
    default="openstack",
    show_default=True,
    help="The datasource of cloud-init that is to read from here.",
)
@click.option("--apply", "apply_it", is_flag=True, help="Write it into libvirt's domain NAME; shows the change first.")
@click.option("--yes", is_flag=True, help="With --apply: do not ask.")
@config_option
def smbios(name: str, datasource: str, apply_it: bool, yes: bool, config: Path | None) -> None:
    """Say what the domain NAME must show its guest as SMBIOS, for libvirt and for QEMU.

    On x86 cloud-init looks for OpenStack's metadata only where the product is OpenStack's, and for NoCloud's over HTTP
    only where the serial says from where.

    --apply changes the domain as it is when it starts next, by the libvirt that [inventory] libvirt names, else by the
    host's own, and leaves everything else in it as it is. NAME may be a uuid then, too.
    """
    setting = SETTINGS[datasource]
    if not apply_it:
        if yes:
            raise click.UsageError("--yes goes with --apply")
        _explain(name, datasource, setting)
        return
    with connected(load_config(config).inventory.libvirt) as connection:
        _apply(_find(connection, name), setting, yes=yes)


def _find(connection: Any, name: str) -> Any:
    """Return the libvirt domain (``virDomain``) that *name* means.

    libvirt's own domains alone can be meant, whether the daemon knows them or not.
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
    click.echo(f"In libvirt's XML of the domain, which this writes: eve-meta smbios {quoted}{more} --apply\n")
    click.echo(indented(snippet(setting)))
    click.echo("\nOr in the command line of QEMU:\n")
    click.echo(indented(f"-smbios {shlex.quote(argument(setting))}"))
    click.echo(f"\n{AFTERWARDS}")


def _apply(domain: Any, setting: Setting, *, yes: bool) -> None:
    name = domain.name()
    if not domain.isPersistent():
        raise Problem(f"{name} is transient: libvirt keeps nothing of it; start it with the XML that has this in it")
    before = inactive_xml(domain)
    try:
        after = with_setting(before, setting)
    except Problem as problem:
        raise Problem(f"{name}: {problem}") from None
    if after == before:
        click.echo(f"{name} has it already: {setting.name} is {setting.value!r}")
    else:
        _show(name, before, after)
        if not yes and not click.confirm(f"Change the domain {name}?"):
            raise Problem("nothing was changed")
        if inactive_xml(domain) != before:
            raise Problem(f"{name} was changed by somebody else meanwhile: try again")
        domain.connect().defineXML(after)
        click.echo(f"{name} is changed")
    if domain.isActive():
        stop, start = (shlex.join(["virsh", word, name]) for word in ("shutdown", "start"))
        click.echo(f"It runs. {AFTERWARDS}\n  {stop}\n  {start}   # when it is off")


def _show(name: str, before: str, after: str) -> None:
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"{name}, as it is", f"{name}, as it will be", lineterm=""
    )
    for line in lines:
        colour = {"+": "green", "-": "red"}.get(line[:1])
        # A description may hold a terminal's escape sequences, and XML lets few through.
        click.echo(click.style(line, fg=colour))
