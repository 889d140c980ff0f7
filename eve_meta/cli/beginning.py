"""The text of a new domain file: what is known of the VM, and every other key in a comment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import UUID

from attrs import frozen

from eve_meta.machine.guests import Guest, GuestNic
from eve_meta.values.checks import BadValue
from eve_meta.values.domain import Domain, is_hostname
from eve_meta.values.text import escape_unprintable


@frozen(kw_only=True)
class Beginning:
    """What a new file says of its domain. It has a uuid, a name, or both.

    :ivar tied: whether it names the taps, so that the domain is behind these taps and no others.
    :ivar source: where all of this is from, as text for people; "" for the command line.
    """

    uuid: UUID | None
    name: str | None
    nics: tuple[GuestNic, ...] = ()
    tied: bool = False
    source: str = ""

    @property
    def taps(self) -> frozenset[str]:
        """The taps that the file names."""
        return frozenset(nic.tap for nic in self.nics if nic.tap is not None) if self.tied else frozenset()

    def text(self) -> str:
        """Return the file's text."""
        shown = escape_unprintable(self.name or str(self.uuid))
        host = f"{self.name}.example.org"
        parts = (
            HEAD.format(name=shown),
            "\n".join((*self._uuid(), *self._name())),
            OTHERS.format(host=host if is_hostname(host) else "web1.example.org"),
            "\n".join(self._nics()),
        )
        return "\n\n".join(parts) + "\n"

    def _uuid(self) -> Iterator[str]:
        if self.uuid is None:
            yield WITHOUT_UUID
            return
        if self.source:
            yield f"# From {escape_unprintable(self.source)}."
        yield WITH_UUID
        yield f"uuid: {self.uuid}"

    def _name(self) -> Iterator[str]:
        if self.name is not None:
            yield f"name: {_quoted(self.name)}"

    def _nics(self) -> Iterator[str]:
        written = [nic for nic in self.nics if nic.mac is not None or (self.tied and nic.tap is not None)]
        if not written:
            yield NO_NICS
            return
        yield TIED if self.tied else BY_MAC
        yield "nics:"
        for nic in written:
            named = self.tied and nic.tap is not None
            keys = [f"tap: {_quoted(nic.tap)}"] if named and nic.tap is not None else []
            keys += [f"mac: {_quoted(nic.mac)}"] if nic.mac is not None else []
            now = "" if named or nic.tap is None else f"   # {escape_unprintable(nic.tap)} at present"
            yield f"- {keys[0]}{now}"
            yield from (f"  {key}" for key in keys[1:])
            yield SUBNETS


def beginning(guest: Guest) -> Beginning:
    """Return what a new file says of *guest*.

    It names the taps where neither uuid nor name of the guest ties the file to them. Otherwise only where a person
    chose all their names: a name that libvirt or QEMU chose is another one at the next start.
    """
    uuid, name, taps = guest.uuid, guest.name if is_name(guest.name) else None, guest.taps
    needed = not guest.trusted or (uuid is None and name is None)
    chosen = all(nic.lasting for nic in guest.nics if nic.tap is not None)
    if uuid is None and name is None:
        name = taps[0]
    return Beginning(uuid=uuid, name=name, nics=guest.nics, tied=bool(taps) and (needed or chosen), source=guest.source)


def _quoted(text: str) -> str:
    # In YAML a plain 007 or true would not be a string, nor in YAML 1.1, which other programs read, a MAC of digits.
    return json.dumps(text, ensure_ascii=False)


def is_name(name: str | None) -> bool:
    """Return whether a domain can have *name*."""
    try:
        return name is not None and bool(Domain(name=name))
    except BadValue:
        return False


HEAD = """\
# What the metadata service tells the guest {name}. "eve-meta check" checks this file.
# Everything but the uuid or the name may be left out. Remove the "#" before each key that you need."""

WITH_UUID = """\
# The domain's own uuid. If it differed from the guest's DMI system-uuid, cloud-init would start over at each boot."""

WITHOUT_UUID = """\
# The VM's name identifies it. No uuid of it is known; once the VM has one, the daemon takes it from libvirt or QEMU."""

OTHERS = """\
#hostname: {host}
#availability_zone: nova

# The guest gets all of these keys.
#public_keys:
#  alice: ssh-ed25519 AAAA... alice@example.org

# Anything that the guest's cloud-init, Ignition or the like understands. To keep it in a file beside this one, write
# user_data_file and the path; for bytes that are not text, user_data_base64.
#user_data: |
#  #cloud-config
#  packages: [nginx]

# Strings of your own, in "meta" of meta_data.json.
#meta: {{role: web}}"""

BY_MAC = """\
# The guest's NICs, each known by its MAC address. Without subnets the guest uses DHCP."""

TIED = """\
# The guest's NICs. The domain is behind these taps and no others. Without subnets the guest uses DHCP."""

SUBNETS = """\
#  subnets:
#  - {type: ipv4, address: 10.1.2.10/24, gateway: 10.1.2.1, dns: [10.1.2.2]}"""

NO_NICS = f"""\
# Needed only to tell the guest its addresses, or if no VMM process holds the tap. Without subnets the guest uses DHCP.
#nics:
#- tap: vnet0
#  mac: fa:16:3e:00:00:01
{SUBNETS}"""
