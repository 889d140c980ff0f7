"""Writes into a libvirt domain's XML the SMBIOS fields by which cloud-init and systemd in the guest find eve-meta.

The module changes the XML as text, at places that a parser finds. Everything else in it stays as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from uuid import UUID
from xml.parsers import expat
from xml.sax.saxutils import escape

from attrs import define, frozen

from eve_meta.explain.ds_identify import NOCLOUD_SEED
from eve_meta.values.problem import Problem

BIOS_VENDOR = "Amazon EC2"
"""The BIOS vendor by which systemd's hwdb (``40-imds.hwdb``) recognises AWS, for systemd-imdsd."""

LOOKALIKE = "eve-meta.zstack.io"
"""A chassis asset tag by which cloud-init recognises ZStack, whose metadata is AWS's without session tokens.

AWS itself is recognised by a uuid that begins with "ec2". A domain that exists keeps its uuid."""

_TABLES = ("bios", "system", "chassis")
"""The tables of SMBIOS by libvirt's names, in the order in which it writes them."""

_TYPES: Mapping[str, int] = MappingProxyType({"bios": 0, "system": 1, "chassis": 3})


@frozen
class Setting:
    """An entry of SMBIOS. libvirt and QEMU use the same name for it.

    :ivar table: one of :data:`_TABLES`.
    """

    table: str
    name: str
    value: str


DATASOURCES: Mapping[str, str] = MappingProxyType({"openstack": "OpenStack", "nocloud": "NoCloud", "ec2": "Ec2"})
"""cloud-init's datasources that can read from eve-meta, by the name that people type."""


def settings(datasource: str, uuid: UUID | None = None) -> tuple[Setting, ...]:
    """Return what makes cloud-init choose *datasource*, a key of :data:`DATASOURCES`.

    :param uuid: the domain's; None where it is unknown.
    """
    if datasource == "openstack":
        return (Setting("system", "product", "OpenStack Nova"),)
    if datasource == "nocloud":
        return (Setting("system", "serial", NOCLOUD_SEED),)
    bios = Setting("bios", "vendor", BIOS_VENDOR)
    if uuid is not None and str(uuid).startswith("ec2"):
        # Older releases of cloud-init want a serial that equals the uuid, too.
        return bios, Setting("system", "serial", str(uuid))
    return bios, Setting("chassis", "asset", LOOKALIKE)


def snippet(wanted: Collection[Setting]) -> str:
    """Return the XML that a domain must contain for the settings that are *wanted*."""
    return f"<os>\n  …\n  <smbios mode='sysinfo'/>\n</os>\n{_block(wanted)}"


def arguments(wanted: Collection[Setting]) -> list[str]:
    """Return the value of each option ``-smbios`` of QEMU for the settings that are *wanted*."""
    return [f"type={_TYPES[each.table]},{each.name}={each.value.replace(',', ',,')}" for each in wanted]


def with_settings(xml: str, wanted: Collection[Setting]) -> str:
    """Return a domain's *xml* with the settings that are *wanted*; the same text where all are in it already.

    :raises Problem: when *xml* is not the XML of a domain, or shows the guest the host's SMBIOS.
    """
    text = xml.encode()
    root = _parse(text)
    if root.name != "domain":
        raise Problem(f"expected the XML of a libvirt domain, got <{root.name}>")
    edits = [*_mode(text, root), *_sysinfo(text, root, wanted)]
    # From the end, so that the places of earlier edits stay valid.
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new.encode() + text[end:]
    return text.decode()


@define
class _Element:
    """An element and its place: the start tag from *start* to *inside*, the end tag from *close* to *end*.

    In an element that closes itself, *inside* and *close* equal *end*.
    """

    name: str
    attributes: dict[str, str]
    start: int
    children: list[_Element]
    inside: int = 0
    close: int = 0
    end: int = 0

    def first(self, name: str, /, **attributes: str) -> _Element | None:
        """Return the first child of that name with at least these attributes."""
        for child in self.children:
            if child.name == name and attributes.items() <= child.attributes.items():
                return child
        return None


_Edit = tuple[int, int, str]


def _parse(text: bytes) -> _Element:
    parser = expat.ParserCreate()
    stack = [_Element("", {}, 0, [])]

    def start(name: str, attributes: dict[str, str]) -> None:
        element = _Element(name, attributes, parser.CurrentByteIndex, [])
        element.inside = _end_of_tag(text, element.start)
        stack[-1].children.append(element)
        stack.append(element)

    def end(_: str) -> None:
        element = stack.pop()
        element.close = parser.CurrentByteIndex
        if element.close == element.start or text[element.inside - 2 : element.inside] == b"/>":
            element.close = element.end = element.inside  # it closes itself
        else:
            element.end = _end_of_tag(text, element.close)

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise Problem(f"expected XML, got something else: {error}") from None
    return stack[0].children[0]


def _end_of_tag(text: bytes, start: int) -> int:
    quote = b""
    for at in range(start, len(text)):
        char = text[at : at + 1]
        if quote:
            quote = b"" if char == quote else quote
        elif char in b"'\"":
            quote = char
        elif char == b">":
            return at + 1
    return len(text)


def _entry(setting: Setting) -> str:
    return f"<entry name='{setting.name}'>{escape(setting.value)}</entry>"


def _indent(text: bytes, element: _Element) -> str:
    """Return the white space before an element on its line, "" where there is more than white space."""
    line = text[text.rfind(b"\n", 0, element.start) + 1 : element.start]
    return "" if line.strip() else line.decode()


def _into(text: bytes, parent: _Element, new: str) -> _Edit:
    """Return the edit that makes *new*, whose lines get an indent of two, the last child of *parent*."""
    indent = _indent(text, parent)
    lines = "".join(f"{indent}  {line}\n" for line in new.splitlines())
    if parent.close == parent.end:
        tag = text[parent.start : parent.inside].decode().removesuffix("/>").rstrip()
        return parent.start, parent.end, f"{tag}>\n{lines}{indent}</{parent.name}>"
    before = text.rfind(b"\n", 0, parent.close) + 1
    if text[before : parent.close].strip():  # the end tag is not on a line of its own
        return parent.close, parent.close, f"\n{lines}{indent}"
    return before, before, lines


def _mode(text: bytes, root: _Element) -> Iterator[_Edit]:
    os = root.first("os")
    if os is None:
        raise Problem("expected <os> in the domain's XML, got none")
    smbios = os.first("smbios")
    if smbios is None:
        yield _into(text, os, "<smbios mode='sysinfo'/>")
    elif smbios.attributes.get("mode") == "host":
        raise Problem(
            "its guest is shown the host's own SMBIOS (<smbios mode='host'/>): decide which SMBIOS it is to see, and "
            "remove that element with 'virsh edit'"
        )
    elif smbios.attributes.get("mode") != "sysinfo":
        yield smbios.start, smbios.end, "<smbios mode='sysinfo'/>"


def _block(wanted: Collection[Setting]) -> str:
    tables = "\n".join(_table(table, entries) for table, entries in _by_table(wanted))
    return f"<sysinfo type='smbios'>\n{_indented(tables)}\n</sysinfo>"


def _table(table: str, entries: Collection[Setting]) -> str:
    return f"<{table}>\n{_indented(_entries(entries))}\n</{table}>"


def _entries(entries: Collection[Setting]) -> str:
    return "\n".join(map(_entry, entries))


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _by_table(wanted: Collection[Setting]) -> Iterator[tuple[str, list[Setting]]]:
    for table in _TABLES:
        if entries := [each for each in wanted if each.table == table]:
            yield table, entries


def _sysinfo(text: bytes, root: _Element, wanted: Collection[Setting]) -> Iterator[_Edit]:
    sysinfo = root.first("sysinfo", type="smbios")
    if sysinfo is None:
        os = root.first("os")
        assert os is not None  # _mode() found it
        indent = _indent(text, os)
        yield os.start, os.start, _block(wanted).replace("\n", f"\n{indent}") + f"\n{indent}"
        return
    missing = []
    for table, entries in _by_table(wanted):
        element = sysinfo.first(table)
        if element is None:
            missing.append(_table(table, entries))
        else:
            yield from _changed(text, element, entries)
    if missing:
        yield _into(text, sysinfo, "\n".join(missing))


def _changed(text: bytes, table: _Element, entries: Collection[Setting]) -> Iterator[_Edit]:
    """Yield the edits that give *table* its *entries*."""
    missing = []
    for setting in entries:
        entry = table.first("entry", name=setting.name)
        if entry is None:
            missing.append(setting)
        elif text[entry.inside : entry.close].decode().strip() != escape(setting.value):
            yield entry.start, entry.end, _entry(setting)
    if missing:
        yield _into(text, table, _entries(missing))
