"""What the command lines of VMMs other than QEMU tell of a VM, as their documentation and others write them."""

from __future__ import annotations

import shlex
import time
from uuid import UUID

import attrs
import pytest

from eve_meta.explain.vmms import ADVICE
from eve_meta.inventory.vmm.identity import Identity
from eve_meta.inventory.vmm.options import quoted_options
from eve_meta.inventory.vmm.process import Owner, ProcessTable
from eve_meta.inventory.vmm.procfs import MAX_CMDLINE
from eve_meta.inventory.vmm.vmms import CLOUD_HYPERVISOR, CROSVM, FIRECRACKER, QEMU, VMMS, Vmm, vmm_of
from eve_meta.machine.running import HARDWARE
from tests.unit.inventory.fakeproc import FakeProc

UUID1 = "551e7604-e35c-42b3-b825-416853441234"
UUID2 = "2a831fa7-c50b-4693-a16e-fb8171f1b69e"

OF_UUID1 = Identity(uuid=UUID(UUID1))
NONE = Identity()


@pytest.mark.parametrize(
    ("program", "vmm"),
    [
        ("qemu-system-x86_64", QEMU),
        ("cloud-hypervisor", CLOUD_HYPERVISOR),
        ("cloud-hypervisor-static-aarch64", CLOUD_HYPERVISOR),
        ("cloud-hyperviso", CLOUD_HYPERVISOR),  # its comm, where only that may be read
        ("firecracker", FIRECRACKER),
        ("firecracker-v1.7.0-x86_64", FIRECRACKER),
        ("crosvm", CROSVM),
        ("ch-remote", None),
        ("jailer", None),
        ("openvpn", None),
    ],
)
def test_the_vmm_of_a_program(program: str, vmm: Vmm | None) -> None:
    assert vmm_of(program) is vmm


def test_each_table_has_each_vmm() -> None:
    assert set(HARDWARE) == set(VMMS)
    assert list(ADVICE) == [vmm.name for vmm in VMMS]


def identity_of(vmm: Vmm, command: str) -> Identity | None:
    return vmm.identity(shlex.split(command))


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (
            (
                "./cloud-hypervisor --kernel ./hypervisor-fw --disk path=focal.raw path=ubuntu-cloudinit.img"
                f' --cpus boot=4 --memory size=1024M --platform uuid={UUID1} --net "tap=,mac=,ip=,mask="'
            ),
            OF_UUID1,
        ),
        (f"cloud-hypervisor --platform=system_uuid={UUID1},system_product_name=web --kernel vmlinux", OF_UUID1),
        (f"cloud-hypervisor --platform num_pci_segments=2,oem_strings=[uuid={UUID2},b],uuid={UUID1.upper()}", OF_UUID1),
        ("cloud-hypervisor --platform oem_strings=[io.systemd.credential:a=b] --kernel vmlinux", NONE),
        ("cloud-hypervisor --api-socket /tmp/cloud-hypervisor.sock", NONE),
        ("cloud-hypervisor --platform uuid=junk", NONE),
        ("cloud-hypervisor --platform", NONE),
        ("cloud-hypervisor", NONE),
        # A tenant may have written the kernel's command line.
        (f"cloud-hypervisor --cmdline --platform=uuid={UUID2} --platform uuid={UUID1}", OF_UUID1),
        (f"cloud-hypervisor --cmdline --platform uuid={UUID2}", NONE),
        (f"cloud-hypervisor --platform uuid={UUID1} --platform uuid={UUID2}", None),
    ],
)
def test_cloud_hypervisor(command: str, expected: Identity | None) -> None:
    assert identity_of(CLOUD_HYPERVISOR, command) == expected


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("firecracker --id web1 --api-sock /tmp/fc-web1.sock --config-file /etc/fc-web1.json", Identity(name="web1")),
        # The jailer writes it so.
        ("/firecracker --id manual1 --start-time-us 4652668169 --start-time-cpu-us 7544", Identity(name="manual1")),
        (f"./firecracker --id={UUID1} --start-time-us=1 --start-time-cpu-us=2 --no-api", OF_UUID1),
        ("firecracker --no-api --config-file vm_config.json", NONE),
        ("firecracker --id anonymous-instance", NONE),
        ("firecracker -- --id web1", NONE),
        ("firecracker --id web1 --id web2", None),
    ],
)
def test_firecracker(command: str, expected: Identity | None) -> None:
    assert identity_of(FIRECRACKER, command) == expected


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (
            (
                "crosvm run --disable-sandbox --cpus 4 --mem 4096 --net tap-name=crosvm_tap --rwdisk ./rootfs"
                f" --initrd x -p root=/dev/vda1 --name web1 --smbios uuid={UUID1} ./vmlinuz"
            ),
            Identity(uuid=UUID(UUID1), name="web1"),
        ),
        ('crosvm run --smbios \'product-name="a,uuid=x",uuid=' + UUID1 + "' vmlinux", OF_UUID1),
        ("crosvm run --name web1 vmlinux", Identity(name="web1")),
        ("crosvm run -b root.img,root,ro vmlinux", NONE),
        (f"crosvm run -p --name=victim --params --smbios=uuid={UUID2} --name web1 vmlinux", Identity(name="web1")),
        ("crosvm run --name web1 --name web2 vmlinux", None),
    ],
)
def test_crosvm(command: str, expected: Identity | None) -> None:
    assert identity_of(CROSVM, command) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a=1,b=[2,[3,4]],c", {"a": "1", "b": "[2,[3,4]]", "c": ""}),
        ('cmdline="console=ttyS0,9600n8",x=1', {"cmdline": "console=ttyS0,9600n8", "x": "1"}),
        ("a=1,a=2", {"a": "2"}),
        ("/img,ro", {"path": "/img", "ro": ""}),
        ("a=[1,b=2", {"a": "[1,b=2"}),
        ('a="1,b=2', {"a": "1,b=2"}),
        ("", {"path": ""}),
    ],
)
def test_quoted_options(value: str, expected: dict[str, str]) -> None:
    assert quoted_options(value, "path") == expected


@pytest.mark.parametrize("vmm", VMMS, ids=lambda vmm: vmm.name)
@pytest.mark.parametrize("argument", ["--platform", "uuid=[", "[[[[", '"', "--id=", "-", ",,,,,,,,"])
def test_a_hostile_command_line_takes_no_longer_than_a_long_one(vmm: Vmm, argument: str) -> None:
    count = MAX_CMDLINE // (len(argument) + 1)
    began = time.process_time()
    vmm.identity([argument] * count)
    vmm.identity(["x", "--platform", argument * count, "--smbios", argument * count])
    assert time.process_time() - began < 2


# -- the process --


@pytest.mark.parametrize(
    ("program", "arguments", "expected"),
    [
        (
            "cloud-hypervisor",
            ("--platform", f"uuid={UUID1}"),
            Owner(pid=10, start=100, uuid=UUID(UUID1), vmm="Cloud Hypervisor"),
        ),
        ("firecracker", ("--id", "web1"), Owner(pid=10, start=100, name="web1", vmm="Firecracker")),
        ("crosvm", ("run", "--name", "web1"), Owner(pid=10, start=100, name="web1", vmm="crosvm")),
    ],
)
def test_the_process_that_holds_the_tap(
    proc: FakeProc, program: str, arguments: tuple[str, ...], expected: Owner
) -> None:
    proc.add(10, program, *arguments, taps=["tap0"], exe=f"/usr/bin/{program}")
    proc.add(11, program, *arguments, taps=["tap1"], exe=f"/usr/bin/{program}", uids=(123,) * 4)  # as a jailer does
    jailed = attrs.evolve(expected, pid=11, uid=123, trusted=False)
    assert ProcessTable(proc.path).scan(["tap0", "tap1"]).owners == {"tap0": expected, "tap1": jailed}
    assert list(ProcessTable(proc.path).guests()) == [expected]


def test_a_sandboxed_device_of_crosvm_is_in_a_network_namespace_of_its_own(proc: FakeProc) -> None:
    proc.add(10, "crosvm", "run", "--name", "web1", exe="/usr/bin/crosvm")
    proc.add(11, "crosvm", "run", "--name", "web1", exe="/usr/bin/crosvm", taps=["tap0"], netns="net:[1]")
    assert ProcessTable(proc.path).scan(["tap0"]).owners == {}


def test_two_vmms_with_one_tap_are_withheld(proc: FakeProc) -> None:
    proc.add(10, "qemu", "-name", "web1", taps=["tap0"])
    proc.add(11, "firecracker", "--id", "web2", taps=["tap0"], exe="/usr/bin/firecracker")
    assert ProcessTable(proc.path).scan(["tap0"]).withheld.keys() == {"tap0"}
