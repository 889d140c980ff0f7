"""SMBIOS written into a domain's XML: what must be there is there, and all the rest is as it was."""

from __future__ import annotations

import difflib
from xml.etree import ElementTree

import libvirt
import pytest

from eve_meta.machine.libvirt import hardware_of
from eve_meta.machine.qemu import DiskImage, hardware
from eve_meta.machine.smbios_xml import SETTINGS, Setting, argument, snippet, with_setting
from eve_meta.values.problem import Problem

NOVA = SETTINGS["openstack"]
NOCLOUD = SETTINGS["nocloud"]

CANONICAL = """\
<domain type='kvm'>
  <name>web1</name>
  <!-- 1 < 2 > 0 -->
  <description>a &lt;os&gt; of "ours" — é</description>
  <os>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
    <boot dev='hd'/>
  </os>
  <devices>
    <graphics type='vnc' passwd='a>b'/>
  </devices>
</domain>
"""

WITH_NOVA = """\
  <sysinfo type='smbios'>
    <system>
      <entry name='product'>OpenStack Nova</entry>
    </system>
  </sysinfo>
"""


def entry(xml: str, name: str) -> str | None:
    return ElementTree.fromstring(xml).findtext(f"sysinfo[@type='smbios']/system/entry[@name='{name}']")


def mode(xml: str) -> str | None:
    smbios = ElementTree.fromstring(xml).find("os/smbios")
    return None if smbios is None else smbios.get("mode")


def changed(before: str, after: str) -> list[str]:
    """Return the lines that differ."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return [line for line in lines if line[:3] not in ("---", "+++") and line[:2] != "@@"]


def test_xml_of_libvirt_gets_lines_and_loses_none() -> None:
    after = with_setting(CANONICAL, NOVA)
    assert changed(CANONICAL, after) == [
        *(f"+{line}" for line in WITH_NOVA.splitlines()),
        "+    <smbios mode='sysinfo'/>",
    ]
    assert (entry(after, "product"), mode(after)) == ("OpenStack Nova", "sysinfo")


OS = "<os><type>hvm</type></os>"
SYSINFO = "<sysinfo type='smbios'>{}</sysinfo>"


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize(
    "inside",
    [
        OS,
        "<os/>",
        "<os><smbios mode='emulate'/></os>",
        "<os><smbios mode='sysinfo'></smbios></os>",
        SYSINFO.format("") + OS,
        "<sysinfo type='smbios'/>" + OS,
        SYSINFO.format("<bios><entry name='product'>no</entry></bios>") + OS,
        SYSINFO.format("<system/>") + OS,
        SYSINFO.format("<system><entry name='product'>other</entry></system>") + OS,
        SYSINFO.format("<system><entry name='product'/></system>") + OS,
        SYSINFO.format("<system>\n <entry name='serial'>1>2</entry>\n</system>") + OS,
        "<sysinfo type='fwcfg'><entry name='opt/x'>y</entry></sysinfo>" + OS,
        OS + SYSINFO.format("<system>\n</system>"),
        "\n  <os\n   >\n  </os >\n",
    ],
)
def test_any_xml_has_the_setting_afterwards(inside: str, setting: Setting) -> None:
    before = f"<domain type='kvm'><name>é>web1</name>{inside}</domain>"
    after = with_setting(before, setting)
    assert (entry(after, setting.name), mode(after)) == (setting.value, "sysinfo")
    assert with_setting(after, setting) == after
    # Nothing is lost but the old value of that entry.
    kept, new = ({child.tag for child in ElementTree.fromstring(xml).iter()} for xml in (before, after))
    assert kept <= new


def test_an_entry_of_another_name_stays() -> None:
    after = with_setting(with_setting(CANONICAL, NOVA), NOCLOUD)
    assert (entry(after, "product"), entry(after, "serial")) == (NOVA.value, NOCLOUD.value)


@pytest.mark.parametrize(
    ("xml", "why"),
    [
        ("<domain><os><smbios mode='host'/></os></domain>", "the host's own SMBIOS"),
        ("<domain/>", "<os>"),
        ("<network/>", "<network>"),
        ("<domain>", "expected XML"),
        ("", "expected XML"),
    ],
)
def test_xml_that_cannot_be_changed_is_a_problem(xml: str, why: str) -> None:
    with pytest.raises(Problem, match=why):
        with_setting(xml, NOVA)


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_the_snippet_and_the_argument_have_the_setting(setting: Setting) -> None:
    (os, sysinfo) = ElementTree.fromstring(f"<x>{snippet(setting)}</x>")
    assert (os.tag, sysinfo.tag) == ("os", "sysinfo")
    dmi = hardware("qemu-system-x86_64", ["-smbios", argument(setting)]).dmi
    assert setting.value in (dmi.product_name, dmi.product_serial)


def test_libvirt_keeps_the_setting() -> None:
    connection = libvirt.open("test:///default")
    try:
        before = connection.lookupByName("test").XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        after = with_setting(before, NOVA)
        assert all(line.startswith("+") for line in changed(before, after))
        kept = connection.defineXML(after).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        # libvirt itself writes the same: no line of the setting is at another place or in another form.
        assert kept == after
    finally:
        connection.close()


# -- the machine that a domain will have --


DISKS = """
<devices>
  <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/a.qcow2'/></disk>
  <disk type='file' device='cdrom'><source file='/seed.iso'/></disk>
  <disk type='file' device='cdrom'/>
  <disk type='block' device='disk'><driver type='raw'/><source dev='/dev/vg/a'/></disk>
  <disk type='network' device='disk'><source protocol='rbd' name='pool/a'/></disk>
</devices></domain>"""


def test_the_machine_is_known_before_it_runs() -> None:
    machine = hardware_of(
        with_setting(CANONICAL, NOVA).replace("<devices>", "<devices/>").split("<devices/>")[0] + DISKS
    )
    assert machine is not None
    assert (machine.machine, machine.dmi.product_name) == ("x86_64", "OpenStack Nova")
    assert machine.disks == (
        DiskImage(path="/a.qcow2", shown="/a.qcow2", format="qcow2"),
        DiskImage(path="/seed.iso", shown="/seed.iso", format="raw", cd=True),
        DiskImage(path="/dev/vg/a", shown="/dev/vg/a", format="raw"),
        DiskImage(path=None, shown="pool/a", format="raw"),
    )


def test_sysinfo_that_the_guest_does_not_see_does_not_count() -> None:
    hidden = with_setting(CANONICAL, NOVA).replace("<smbios mode='sysinfo'/>", "")
    machine = hardware_of(hidden)
    assert machine is not None
    assert machine.dmi.product_name == ""
    assert hardware_of(CANONICAL.replace("<boot dev='hd'/>", "<smbios mode='host'/>")) is None
    with pytest.raises(ValueError, match="XML"):
        hardware_of("no")
