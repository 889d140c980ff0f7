"""What is read from libvirt's XML."""

from __future__ import annotations

from uuid import UUID

import pytest

from eve_meta.inventory.libvirt.description import Description
from eve_meta.values.content import content_of
from eve_meta.values.domain import METADATA_NAMESPACE as NAMESPACE
from eve_meta.values.domain import Disk
from eve_meta.values.nic import Nic
from tests.contracts.fake_reader import describe

NETWORK = UUID("aaaaaaaa-c50b-4693-a16e-fb8171f1b69e")
PORT = UUID("bbbbbbbb-c50b-4693-a16e-fb8171f1b69e")
WHO = "<name>web1</name><uuid>1a831fa7-c50b-4693-a16e-fb8171f1b69e</uuid>"


def described(devices: str = "", metadata: str = "", running: str = " id='3'") -> Description:
    xml = f"<domain type='kvm'{running}>{WHO}<metadata>{metadata}</metadata><devices>{devices}</devices></domain>"
    return describe(xml, {"default": NETWORK}.get)


def nic(inner: str, kind: str = "bridge") -> Nic:
    (found,) = described(f"<interface type='{kind}'>{inner}</interface>").domain.nics
    return found


def disk(inner: str, device: str = " device='disk'") -> Disk:
    (found,) = described(f"<disk type='file'{device}>{inner}</disk>").domain.disks
    return found


def test_a_domain_that_runs_and_one_that_does_not() -> None:
    running = described()
    assert (running.domain.name, str(running.domain.uuid)) == ("web1", "1a831fa7-c50b-4693-a16e-fb8171f1b69e")
    assert running.active
    assert not described(running="").active


def test_a_nic_as_libvirt_writes_it() -> None:
    assert nic(
        "<mac address='52:54:00:16:52:C8'/><source network='default' portid='x' bridge='virbr0'/><target dev='vnet0'/>"
        "<model type='virtio'/><mtu size='1450'/><alias name='net0'/>"
        "<address type='pci' domain='0x0000' bus='0x01' slot='0x1f' function='0x2'/>",
        "network",
    ) == Nic(
        tap="vnet0",
        mac="52:54:00:16:52:c8",
        network_id=NETWORK,
        type="bridge",
        mtu=1450,
        bus="pci",
        address="0000:01:1f.2",
    )


def test_a_port_of_open_vswitch() -> None:
    port = f"<virtualport type='openvswitch'><parameters interfaceid='{PORT}'/></virtualport>"
    assert nic(f"<source bridge='br-int'/>{port}<target dev='vnet1'/>") == Nic(tap="vnet1", type="ovs", id=PORT)


@pytest.mark.parametrize(
    ("kind", "vlan", "expected"),
    [
        ("bridge", "<vlan><tag id='42'/></vlan>", None),  # the host tags
        ("bridge", "<vlan trunk='yes'><tag id='42'/></vlan>", 42),
        ("bridge", "<vlan trunk='yes'><tag id='42'/><tag id='43'/></vlan>", None),
        ("bridge", "<vlan trunk='yes'><tag id='42' nativeMode='untagged'/></vlan>", None),
        ("bridge", "<vlan trunk='yes'><tag id='42' nativeMode='tagged'/></vlan>", 42),
        ("hostdev", "<vlan><tag id='42'/></vlan>", 42),
    ],
)
def test_a_vlan_is_for_the_guest_only_where_the_host_does_not_tag(kind: str, vlan: str, expected: int | None) -> None:
    assert nic(vlan, kind).vlan == expected


def test_kinds_of_nics() -> None:
    kinds = ("bridge", "network", "ethernet", "direct", "hostdev", "vhostuser", "user")
    assert [nic("", kind).type for kind in kinds] == ["bridge", "bridge", None, None, "hw_veb", "vhostuser", None]


def test_a_field_that_values_cannot_hold_is_left_out() -> None:
    assert nic("<mac address='?'/><mtu size='1'/><target dev='a/b'/>") == Nic(type="bridge")
    assert disk("<serial>a\tb</serial>") == Disk()


def test_a_tap_that_is_named_twice_counts_once() -> None:
    twice = "<interface type='ethernet'><target dev='tap0'/></interface>" * 2
    assert [each.tap for each in described(twice, running="").domain.nics] == ["tap0"]


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        (
            "<target dev='vda' bus='virtio'/><serial>vol-1</serial><address type='pci' bus='0x00' slot='0x04'/>",
            Disk(bus="pci", address="0000:00:04.0", serial="vol-1"),
        ),
        (
            "<target dev='sda' bus='scsi'/><address type='drive' controller='1' bus='0' target='2' unit='3'/>",
            Disk(bus="scsi", address="1:0:2:3"),
        ),
        (
            "<target dev='hda' bus='ide'/><address type='drive' controller='0' bus='1' target='0' unit='0'/>",
            Disk(bus="ide", address="1:0"),
        ),
        ("<target dev='sda' bus='usb'/><address type='usb' bus='0' port='4'/>", Disk(bus="usb", address="0:4")),
        ("<target dev='vda' bus='virtio'/><address type='virtio-mmio'/>", Disk()),
        ("<target dev='xvda' bus='xen'/>", Disk(bus="xen")),
    ],
)
def test_disks(inner: str, expected: Disk) -> None:
    assert disk(f"<source file='/var/lib/libvirt/images/secret-customer.qcow2'/>{inner}") == expected


def test_a_drive_with_a_medium_is_no_disk() -> None:
    assert described("<disk type='file' device='cdrom'/><disk type='file' device='floppy'/>").domain.disks == ()
    assert disk("<target bus='scsi'/>", " device='lun'").bus == "scsi"


# -- metadata --


def element(text: str) -> str:
    return f"<other xmlns='urn:x'/><eve:domain xmlns:eve='{NAMESPACE}'>{text}</eve:domain>"


def problems(metadata: str) -> list[str]:
    description = described(metadata=metadata)
    assert description.metadata is None
    return [str(problem) for problem in description.problems]


def test_metadata_hold_the_text_of_a_domain_file() -> None:
    description = described(metadata=element("<![CDATA[hostname: h\nuser_data: |\n  a < b\nmeta: {role: web}\n]]>"))
    assert description.problems == ()
    assert description.metadata is not None
    assert (description.metadata.hostname, description.metadata.user_data, description.metadata.meta) == (
        "h",
        content_of(b"a < b\n"),
        {"role": "web"},
    )
    assert description.metadata.uuid == description.uuid


def test_metadata_as_json() -> None:
    description = described(metadata=element('{"hostname": "h", "user_data_base64": "AAE="}'))
    assert description.metadata is not None
    assert description.metadata.user_data == content_of(b"\x00\x01")


def test_no_metadata() -> None:
    for none in ("", "<other xmlns='urn:x'>hostname: h</other>", element(""), element(" \n ")):
        assert (described(metadata=none).metadata, described(metadata=none).problems) == (None, ())


def test_metadata_name_their_own_domain_or_none() -> None:
    own = described(metadata=element("uuid: 1A831FA7-C50B-4693-A16E-FB8171F1B69E\nname: web1"))
    assert own.problems == ()
    assert problems(element("name: web2")) == [
        "libvirt metadata of web1:1: name: expected the domain's own, 'web1', or none, got 'web2'"
    ]
    assert len(problems(element("uuid: 2a831fa7-c50b-4693-a16e-fb8171f1b69e"))) == 1


def test_mistakes_in_metadata_are_reported_as_those_of_a_file() -> None:
    where = "libvirt metadata of web1"
    assert problems(element("\nhostnam: h\nnics:\n- mac: x\n")) == [
        f"{where}:2: hostnam: unknown key; did you mean 'hostname'?",
        f"{where}:4: nics[0].mac: expected a MAC address such as fa:16:3e:00:00:01, got 'x'",
    ]
    (broken,) = problems(element("\nhostname: [ ]]"))
    assert broken.startswith(f"{where}:2:14: YAML: expected the end of the value, got ']'")
    (no_file,) = problems(element("user_data_file: x"))
    assert no_file == (
        f"{where}:1: user_data_file: expected no file, as no file lies beside metadata: write user_data or "
        "user_data_base64"
    )
    assert problems(element("- a")) == [
        f"{where}: expected a domain, which is a mapping with a 'uuid' or a 'name', got a list"
    ]


def test_metadata_with_elements_in_place_of_text() -> None:
    message = "libvirt metadata of web1: expected one element <domain> with the text of a domain file in it, got {}"
    assert problems(element("<hostname>h</hostname>")) == [message.format("an element within it")]
    assert problems(f"<x:meta xmlns:x='{NAMESPACE}'>hostname: h</x:meta>") == [message.format("<meta>")]


def test_xml_of_something_else_is_an_error() -> None:
    for xml in ("", "<domain", "<domain/>", "<domain><uuid>x</uuid></domain>"):
        with pytest.raises(ValueError, match="expected the XML of a domain"):
            describe(xml, lambda _: None)


HOSTDEV, BRIDGE = "<interface type='hostdev'/>", "<interface type='bridge'/>"


def test_a_domain_that_runs_without_any_tap_is_a_warning() -> None:
    (problem,) = described(HOSTDEV).problems
    assert str(problem).startswith(
        "libvirt XML of web1: warning: it cannot be served: its NIC is a device of the host: frames go between"
    )
    assert "use a tap: <interface type='bridge'>" in str(problem)


@pytest.mark.parametrize(("devices", "running"), [(HOSTDEV + BRIDGE, " id='3'"), ("", " id='3'"), (HOSTDEV, "")])
def test_a_domain_that_may_have_a_tap_is_none(devices: str, running: str) -> None:
    assert described(devices, running=running).problems == ()
