"""Writes into a libvirt domain's XML the SMBIOS field by which cloud-init in the guest finds eve-meta.

The module changes the XML as text, at places that a parser finds. Everything else in it stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.parsers import expat
from xml.sax.saxutils import escape

from attrs import define, frozen

from eve_meta.values.problem import Problem

NOCLOUD_SERIAL = "ds=nocloud;s=http://169.254.169.254/nocloud/"
"""It ends with "/", because cloud-init appends the names of the files."""


@frozen
class Setting:
    """An entry of SMBIOS's system information (type 1). libvirt and QEMU use the same name for it."""

    name: str
    value: str


SETTINGS = {"openstack": Setting("product", "OpenStack Nova"), "nocloud": Setting("serial", NOCLOUD_SERIAL)}


def snippet(setting: Setting) -> str:
    """Return the XML that a domain must contain for *setting*."""
    return (
        f"<os>\n  …\n  <smbios mode='sysinfo'/>\n</os>\n"
        f"<sysinfo type='smbios'>\n  <system>\n    {_entry(setting)}\n  </system>\n</sysinfo>"
    )


def argument(setting: Setting) -> str:
    """Return the value of QEMU's option ``-smbios`` for *setting*."""
    return f"type=1,{setting.name}={setting.value.replace(',', ',,')}"


def with_setting(xml: str, setting: Setting) -> str:
    """Return a domain's *xml* with *setting* in it; the same text where the setting is in it already.

    :raises Problem: when *xml* is not the XML of a domain, or shows the guest the host's SMBIOS.
    """
    text = xml.encode()
    root = _parse(text)
    if root.name != "domain":
        raise Problem(f"expected the XML of a libvirt domain, got <{root.name}>")
    edits = [*_mode(text, root), *_sysinfo(text, root, setting)]
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


def _sysinfo(text: bytes, root: _Element, setting: Setting) -> Iterator[_Edit]:
    sysinfo = root.first("sysinfo", type="smbios")
    if sysinfo is None:
        os = root.first("os")
        assert os is not None  # _mode() found it
        indent = _indent(text, os)
        block = f"<sysinfo type='smbios'>\n  <system>\n    {_entry(setting)}\n  </system>\n</sysinfo>"
        yield os.start, os.start, block.replace("\n", f"\n{indent}") + f"\n{indent}"
        return
    system = sysinfo.first("system")
    if system is None:
        yield _into(text, sysinfo, f"<system>\n  {_entry(setting)}\n</system>")
        return
    entry = system.first("entry", name=setting.name)
    if entry is None:
        yield _into(text, system, _entry(setting))
    elif text[entry.inside : entry.close].decode().strip() != escape(setting.value):
        yield entry.start, entry.end, _entry(setting)
