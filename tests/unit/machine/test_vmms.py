"""The machine that a guest of a VMM other than QEMU sees, by its command line."""

from __future__ import annotations

import platform
import shlex

import pytest

from eve_meta.explain.ds_identify import Dmi
from eve_meta.machine import cloud_hypervisor, crosvm, firecracker
from eve_meta.machine.guests import GuestNic, nics
from eve_meta.machine.hardware import DiskImage

UUID = "551e7604-e35c-42b3-b825-416853441234"
MAC = "2e:89:a8:e4:bf:49"


@pytest.fixture(autouse=True)
def on_x86(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the host be x86, where Cloud Hypervisor and crosvm make an SMBIOS."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


CLOUD_HYPERVISOR = (
    "cloud-hypervisor --kernel vmlinux --cmdline 'console=hvc0 root=/dev/vda1 rw' --cpus boot=4 "
    "--disk path=/vm/focal.raw path=/vm/seed.img,readonly=on,image_type=Raw "
    f"--net tap=ich0,mac={MAC} fd=[3,4],num_queues=4 vhost_user=true,socket=/run/vhost.sock "
    f"--platform uuid={UUID},serial_number=abc -v"
)


def test_cloud_hypervisor() -> None:
    machine = cloud_hypervisor.hardware("cloud-hypervisor", shlex.split(CLOUD_HYPERVISOR))
    assert machine.dmi == Dmi(
        sys_vendor="Cloud Hypervisor",
        product_name="cloud-hypervisor",
        bios_vendor="cloud-hypervisor",
        product_serial="abc",
        product_uuid=UUID,
    )
    assert machine.command_line == "console=hvc0 root=/dev/vda1 rw"
    assert machine.disks == (
        DiskImage(path="/vm/focal.raw", shown="/vm/focal.raw"),
        DiskImage(path="/vm/seed.img", shown="/vm/seed.img", format="raw"),
    )
    kinds = [(nic.kind, nic.shown) for nic in machine.nic_facts]
    assert kinds == [("tap", "ich0"), ("tap", "--net"), ("vhost-user NIC", "vhost.sock")]
    taps = {9: "ich0", 3: "vnet0", 4: "vnet0"}
    assert nics(machine.nics, taps)[:2] == [GuestNic(mac=MAC, tap="ich0", lasting=True), GuestNic(tap="vnet0")]


def test_cloud_hypervisor_with_the_names_of_newer_releases() -> None:
    arguments = ("--firmware", "CLOUDHV.fd", "--platform", "system_product_name=OpenStack Nova,chassis_asset_tag=x")
    dmi = cloud_hypervisor.hardware("cloud-hypervisor", ("cloud-hypervisor", *arguments)).dmi
    assert (dmi.product_name, dmi.chassis_asset_tag) == ("OpenStack Nova", "x")


def test_a_vm_that_was_made_by_an_api_is_not_described() -> None:
    by_api = ("cloud-hypervisor", "--api-socket", "/tmp/ch.sock")
    assert cloud_hypervisor.hardware("cloud-hypervisor", by_api).untold
    machine = firecracker.hardware("firecracker", ("firecracker", "--id", "web1", "--config-file", "x"))
    assert machine.untold
    assert machine.dmi == Dmi()


def test_no_other_architecture_has_smbios(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert cloud_hypervisor.hardware("cloud-hypervisor", shlex.split(CLOUD_HYPERVISOR)).dmi == Dmi()
    assert crosvm.hardware("crosvm", ("crosvm", "run", "Image")).dmi == Dmi()


def test_crosvm() -> None:
    machine = crosvm.hardware(
        "crosvm",
        shlex.split(
            "crosvm run --disable-sandbox -c 4 --block path=/vm/root.img,root --rwdisk /vm/data.img,sparse=false "
            f"--net tap-name=crosvm_tap,mac={MAC} --tap-fd 5 --vhost-user net,socket=/run/net.sock "
            f"--smbios 'product-name=\"OpenStack Nova\",uuid={UUID}' -p init=/sbin/init --params=quiet vmlinux"
        ),
    )
    assert machine.dmi == Dmi(
        sys_vendor="ChromiumOS", product_name="OpenStack Nova", bios_vendor="crosvm", product_uuid=UUID
    )
    assert machine.command_line == "init=/sbin/init quiet"
    assert [disk.path for disk in machine.disks] == ["/vm/root.img", "/vm/data.img"]
    kinds = [(nic.kind, nic.shown) for nic in machine.nic_facts]
    assert kinds == [("tap", "crosvm_tap"), ("tap", "--tap-fd"), ("vhost-user NIC", "/run/net.sock")]
    found = nics(machine.nics, {4: "crosvm_tap", 5: "tap7"})
    assert found == [GuestNic(mac=MAC, tap="crosvm_tap", lasting=True), GuestNic(tap="tap7")]
