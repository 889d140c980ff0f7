"""The machine that a QEMU's command line describes, as people and libvirt write it."""

from __future__ import annotations

import json
import platform

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eve_meta.explain.ds_identify import Dmi
from eve_meta.inventory.vmm.options import options
from eve_meta.machine.hardware import DiskImage
from eve_meta.machine.qemu import hardware

QEMU = "qemu-system-x86_64"

# As libvirt 9.0 starts a domain with UEFI, a qcow2 on a backing file, a seed in a CD drive and an empty CD drive.
LIBVIRT = [
    *("-name", "guest=web1,debug-threads=on", "-S"),
    *("-object", '{"qom-type":"secret","id":"masterKey0","file":"/var/lib/libvirt/qemu/domain-1-web1/master-key.aes"}'),
    "-blockdev",
    json.dumps(
        {
            "driver": "file",
            "filename": "/usr/share/OVMF/OVMF_CODE_4M.fd",
            "node-name": "libvirt-pflash0-storage",
            "auto-read-only": True,
        }
    ),
    "-blockdev",
    json.dumps({"node-name": "libvirt-pflash0-format", "driver": "raw", "file": "libvirt-pflash0-storage"}),
    *("-uuid", "1a831fa7-c50b-4693-a16e-fb8171f1b69e"),
    *("-smbios", "type=1,manufacturer=OpenStack Foundation,product=OpenStack Nova,version=1,,2,serial=abc"),
    *("-smbios", "type=3,asset=OpenStack Compute"),
    "-blockdev",
    json.dumps({"driver": "file", "filename": "/images/base.qcow2", "node-name": "libvirt-4-storage"}),
    "-blockdev",
    json.dumps({"node-name": "libvirt-4-format", "read-only": True, "driver": "qcow2", "file": "libvirt-4-storage"}),
    "-blockdev",
    json.dumps({"driver": "file", "filename": "/images/web1.qcow2", "node-name": "libvirt-3-storage"}),
    "-blockdev",
    json.dumps(
        {
            "node-name": "libvirt-3-format",
            "driver": "qcow2",
            "file": "libvirt-3-storage",
            "backing": "libvirt-4-format",
        }
    ),
    *("-device", '{"driver":"virtio-blk-pci","bus":"pci.4","drive":"libvirt-3-format","id":"virtio-disk0"}'),
    "-blockdev",
    json.dumps({"driver": "file", "filename": "/images/seed,1.iso", "node-name": "libvirt-2-storage"}),
    "-blockdev",
    json.dumps({"node-name": "libvirt-2-format", "read-only": True, "driver": "raw", "file": "libvirt-2-storage"}),
    *("-device", '{"driver":"ide-cd","bus":"ide.0","drive":"libvirt-2-format","id":"sata0-0-0"}'),
    *("-device", '{"driver":"ide-cd","bus":"ide.1","id":"sata0-0-1"}'),
]


def test_a_command_line_of_libvirt() -> None:
    machine = hardware(f"/usr/bin/{QEMU}", LIBVIRT)
    assert machine.machine == "x86_64"
    assert machine.dmi == Dmi(
        product_name="OpenStack Nova",
        product_serial="abc",
        product_uuid="1a831fa7-c50b-4693-a16e-fb8171f1b69e",
        sys_vendor="OpenStack Foundation",
        chassis_asset_tag="OpenStack Compute",
    )
    assert machine.disks == (
        DiskImage(path="/images/web1.qcow2", shown="/images/web1.qcow2", format="qcow2"),
        DiskImage(path="/images/seed,1.iso", shown="/images/seed,1.iso", format="raw", cd=True),
    )
    assert machine.command_line == ""


@pytest.mark.parametrize(
    ("arguments", "disk"),
    [
        (["-drive", "file=a.img"], DiskImage(path="a.img", shown="a.img")),
        (["-drive", "file=a,,b.img,if=virtio,format=raw"], DiskImage(path="a,b.img", shown="a,b.img", format="raw")),
        (["--drive", "file=/a.iso,media=cdrom"], DiskImage(path="/a.iso", shown="/a.iso", cd=True)),
        (
            ["-drive", "file=/a.iso,id=x,if=none", "-device", "scsi-cd,drive=x"],
            DiskImage(path="/a.iso", shown="/a.iso", cd=True),
        ),
        (["-cdrom", "/a,b.iso"], DiskImage(path="/a,b.iso", shown="/a,b.iso", cd=True)),
        (["-hda", "/a=b.img"], DiskImage(path="/a=b.img", shown="/a=b.img")),
        (
            ["-drive", "driver=qcow2,file.driver=file,file.filename=/a.qcow2"],
            DiskImage(path="/a.qcow2", shown="/a.qcow2", format="qcow2"),
        ),
        (
            ["-drive", 'file=json:{"driver":"raw",,"file":{"driver":"file",,"filename":"/a"}}'],
            DiskImage(path="/a", shown="/a", format="raw"),
        ),
        (["-drive", "file=nbd://host/disk"], DiskImage(path=None, shown="nbd://host/disk")),
        (["-drive", "file=fat:rw:/dir"], DiskImage(path=None, shown="fat:rw:/dir")),
        (["-blockdev", "driver=file,filename=/a,node-name=x"], DiskImage(path="/a", shown="/a", format="raw")),
        (
            ["-blockdev", "driver=qcow2,file.driver=file,file.filename=/a,node-name=x"],
            DiskImage(path="/a", shown="/a", format="qcow2"),
        ),
        (
            [
                *("-blockdev", '{"driver":"host_device","filename":"/dev/vg/a","node-name":"s"}'),
                *("-blockdev", '{"driver":"throttle","file":"s","node-name":"t","throttle-group":"g"}'),
                *("-blockdev", '{"driver":"qcow2","file":"t","node-name":"f"}'),
            ],
            DiskImage(path="/dev/vg/a", shown="/dev/vg/a", format="qcow2"),
        ),
        (
            ["-blockdev", '{"driver":"rbd","pool":"p","image":"i","node-name":"r"}'],
            DiskImage(path=None, shown="rbd"),
        ),
    ],
)
def test_disks_in_every_spelling(arguments: list[str], disk: DiskImage) -> None:
    assert hardware(QEMU, arguments).disks == (disk,)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-drive", "if=pflash,format=raw,file=/usr/share/OVMF/OVMF_CODE.fd"],
        ["-drive", "media=cdrom"],
        ["-append", "-cdrom", "/a.iso"],
        ["-name", "x,-cdrom"],
        ["-cdrom"],
    ],
)
def test_options_that_describe_no_disk(arguments: list[str]) -> None:
    assert hardware(QEMU, arguments).disks == ()


def test_a_circle_of_nodes_has_an_end() -> None:
    circle = [
        "-blockdev",
        '{"driver":"raw","file":"b","node-name":"a"}',
        "-blockdev",
        '{"driver":"raw","file":"a","node-name":"b"}',
    ]
    assert hardware(QEMU, [*circle, "-blockdev", '{"driver":"raw","file":"a","node-name":"top"}']).disks == (
        DiskImage(path=None, shown="raw", format="raw"),
    )


def test_the_last_value_of_each_smbios_field_counts() -> None:
    arguments = ["-smbios", "type=1,product=a,serial=s", "-smbios", "type=1,product=b", "-smbios", "type=2,product=LXD"]
    assert hardware(QEMU, arguments).dmi == Dmi(product_name="b", product_serial="s", board_name="LXD")


def test_the_kernel_command_line() -> None:
    assert hardware(QEMU, ["-kernel", "vmlinuz", "-append", "ro ds=nocloud"]).command_line == "ro ds=nocloud"


@pytest.mark.parametrize(
    ("program", "machine"),
    [
        ("qemu-system-aarch64", "aarch64"),
        ("/usr/libexec/qemu-kvm", platform.machine()),
        ("kvm", platform.machine()),
        ("qemu-system-i386", "i686"),
    ],
)
def test_the_architecture(program: str, machine: str) -> None:
    assert hardware(program, []).machine == machine


def test_options_as_qemu_splits_them() -> None:
    assert options("web1,,2,process=x", "guest") == {"guest": "web1,2", "process": "x"}
    assert options("type=1,product=a=b,,c,product=d") == {"type": "1", "product": "d"}
    assert options("x") == {}


@given(
    st.lists(
        st.sampled_from(["-drive", "-blockdev", "-device", "-smbios", "-cdrom", "{", "[]", '{"file":3}']) | st.text()
    )
)
def test_no_command_line_raises(arguments: list[str]) -> None:
    hardware(QEMU, arguments)
