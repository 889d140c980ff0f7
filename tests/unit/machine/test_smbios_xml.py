"""SMBIOS written into a domain's XML: what must be there is there, and all the rest is as it was."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from uuid import UUID
from xml.etree import ElementTree

import attrs
import libvirt
import pytest

from eve_meta.explain.facts import MachineFacts
from eve_meta.explain.guest_machine import imds_prediction, predictions
from eve_meta.explain.imds import Imds
from eve_meta.machine.hardware import DiskImage
from eve_meta.machine.libvirt import hardware_of
from eve_meta.machine.qemu import hardware
from eve_meta.machine.smbios_xml import DATASOURCES, Setting, arguments, settings, snippet, with_settings
from eve_meta.values.problem import Problem

NOVA = settings("openstack")
NOCLOUD = settings("nocloud")
EC2_UUID = UUID("ec2e1916-9099-4caf-bd21-012345abcdef")

WANTED = {
    **{name: settings(name) for name in DATASOURCES},
    "ec2 of AWS": settings("ec2", EC2_UUID),
}
"""The settings of each datasource."""

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


def entry(xml: str, name: str, table: str = "system") -> str | None:
    return ElementTree.fromstring(xml).findtext(f"sysinfo[@type='smbios']/{table}/entry[@name='{name}']")


def mode(xml: str) -> str | None:
    smbios = ElementTree.fromstring(xml).find("os/smbios")
    return None if smbios is None else smbios.get("mode")


def changed(before: str, after: str) -> list[str]:
    """Return the lines that differ."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return [line for line in lines if line[:3] not in ("---", "+++") and line[:2] != "@@"]


def test_xml_of_libvirt_gets_lines_and_loses_none() -> None:
    after = with_settings(CANONICAL, NOVA)
    assert changed(CANONICAL, after) == [
        *(f"+{line}" for line in WITH_NOVA.splitlines()),
        "+    <smbios mode='sysinfo'/>",
    ]
    assert (entry(after, "product"), mode(after)) == ("OpenStack Nova", "sysinfo")


OS = "<os><type>hvm</type></os>"
SYSINFO = "<sysinfo type='smbios'>{}</sysinfo>"


@pytest.mark.parametrize("wanted", WANTED.values(), ids=WANTED)
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
def test_any_xml_has_the_settings_afterwards(inside: str, wanted: Sequence[Setting]) -> None:
    before = f"<domain type='kvm'><name>é>web1</name>{inside}</domain>"
    after = with_settings(before, wanted)
    assert mode(after) == "sysinfo"
    assert all(entry(after, each.name, each.table) == each.value for each in wanted)
    assert with_settings(after, wanted) == after
    # Nothing is lost but the old value of that entry.
    kept, new = ({child.tag for child in ElementTree.fromstring(xml).iter()} for xml in (before, after))
    assert kept <= new


def test_an_entry_of_another_name_stays() -> None:
    after = with_settings(with_settings(CANONICAL, NOVA), NOCLOUD)
    assert (entry(after, "product"), entry(after, "serial")) == (NOVA[0].value, NOCLOUD[0].value)


def test_a_domain_is_aws_to_cloud_init_where_its_uuid_allows_that() -> None:
    assert settings("ec2", EC2_UUID) == (
        Setting("bios", "vendor", "Amazon EC2"),
        Setting("system", "serial", str(EC2_UUID)),
    )
    for uuid in (None, UUID("1a831fa7-c50b-4693-a16e-fb8171f1b69e")):
        assert settings("ec2", uuid)[1] == Setting("chassis", "asset", "eve-meta.zstack.io")


@pytest.mark.parametrize("uuid", [UUID("1a831fa7-c50b-4693-a16e-fb8171f1b69e"), EC2_UUID])
def test_every_release_of_cloud_init_chooses_ec2_and_systemd_asks(uuid: UUID) -> None:
    xml = CANONICAL.replace("<name>", f"<uuid>{uuid}</uuid><name>")
    machine = hardware_of(with_settings(xml, settings("ec2", uuid)))
    assert machine is not None
    facts = MachineFacts(source="", machine=machine.machine, dmi=machine.dmi)
    assert {each.predicted for each in predictions(facts).values()} == {"Ec2"}
    assert imds_prediction(facts).predicted is Imds.OURS


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
        with_settings(xml, NOVA)


@pytest.mark.parametrize("wanted", WANTED.values(), ids=WANTED)
def test_the_snippet_and_the_arguments_have_the_settings(wanted: Sequence[Setting]) -> None:
    (os, sysinfo) = ElementTree.fromstring(f"<x>{snippet(wanted)}</x>")
    assert (os.tag, sysinfo.tag) == ("os", "sysinfo")
    options = [part for argument in arguments(wanted) for part in ("-smbios", argument)]
    of_qemu = hardware("qemu-system-x86_64", options).dmi
    of_libvirt = hardware_of(with_settings(CANONICAL, wanted))
    assert of_libvirt is not None
    assert of_qemu == of_libvirt.dmi
    assert all(each.value in attrs.astuple(of_qemu) for each in wanted)


@pytest.mark.parametrize("datasource", DATASOURCES)
def test_libvirt_keeps_the_settings(datasource: str) -> None:
    connection = libvirt.open("test:///default")
    try:
        before = connection.lookupByName("test").XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        after = with_settings(before, settings(datasource))
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
        with_settings(CANONICAL, NOVA).replace("<devices>", "<devices/>").split("<devices/>")[0] + DISKS
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
    hidden = with_settings(CANONICAL, NOVA).replace("<smbios mode='sysinfo'/>", "")
    machine = hardware_of(hidden)
    assert machine is not None
    assert machine.dmi.product_name == ""
    assert hardware_of(CANONICAL.replace("<boot dev='hd'/>", "<smbios mode='host'/>")) is None
    with pytest.raises(ValueError, match="XML"):
        hardware_of("no")
