"""The predicted datasource, compared with that of cloud-init's own ds-identify, which decides."""

from __future__ import annotations

import functools
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import attrs
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from eve_meta.explain.ds_identify import BUILTIN_ORDER, IMAGE_ORDER, NONE, Dmi, Machine, identify, nocloud_seed

DS_IDENTIFY = Path(sys.prefix) / "bin/ds-identify"
"""cloud-init's own; scripts/bootstrap puts it there."""

DEFAULT_LIST = "WARN: no datasource_list found, using default: "
"""Debian 13's cloud-init (25.1.4) prints this with its list; Debian 12's (22.4.2) prints nothing."""

# Functions, which a shell finds before programs, answer what the script asks the machine: it must describe a QEMU guest
# and would otherwise describe this machine.
SCRIPT = """
uname() { echo "Linux guest 6.1.0 #1 SMP $MACHINE GNU/Linux"; }
blkid() { cat "$PATH_ROOT/blkid"; }
dmidecode() { return 1; }
DI_MAIN=noop
. "$DS_IDENTIFY"
detect_virt() { _RET=kvm; }
main
"""


def found_by_cloud_init(guest: Machine, order: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return the datasources that cloud-init's own ds-identify keeps; None where it disables cloud-init."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        dmi = root / "sys/class/dmi/id"
        for directory in (dmi, root / "etc/cloud/cloud.cfg.d", root / "proc", root / "run"):
            directory.mkdir(parents=True)
        for field, value in attrs.asdict(guest.dmi).items():
            if value:
                (dmi / field).write_text(f"{value}\n")
        disks = [
            *(f"DEVNAME=/dev/vd{i}\nLABEL={label}\nTYPE=vfat\n" for i, label in enumerate(guest.labels)),
            *(f"DEVNAME=/dev/sr{i}\nLABEL={label}\nTYPE=iso9660\n" for i, label in enumerate(guest.cd_labels)),
        ]
        (root / "blkid").write_text("\n".join(disks))
        (root / "proc/cmdline").write_text(f"{guest.command_line}\n")
        (root / "etc/cloud/cloud.cfg").write_text("users: [default]\n")
        if order is not None:
            dpkg = root / "etc/cloud/cloud.cfg.d/90_dpkg.cfg"
            dpkg.write_text(f"datasource_list: [ {', '.join(order)} ]\n")
        environment = {
            "PATH": "/usr/bin:/bin",
            "PATH_ROOT": str(root),
            "DS_IDENTIFY": str(DS_IDENTIFY),
            "MACHINE": guest.machine,
        }
        done = subprocess.run(["sh", "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False)
        if order is None:
            assert done.stderr == "" or (done.stderr.startswith(DEFAULT_LIST) and done.stderr.count("\n") == 1)
        else:
            assert done.stderr == "", shlex.join(["sh", "-c", SCRIPT])
        result = root / "run/cloud-init/cloud.cfg"
        written = result.read_text() if result.exists() else ""
        if found := re.match(r"datasource_list: \[ (.*) \]", written):
            return tuple(name for name in found[1].split(", ") if name != NONE)
        assert done.returncode in (0, 1)
        return () if done.returncode == 0 else None


def found_by_us(guest: Machine, order: tuple[str, ...]) -> tuple[str, ...] | None:
    prediction = identify(guest, order)
    # Where nothing is found, 22.4.2 enables cloud-init on a machine that it expects to have no DMI; 25.1.4 disables it.
    disabled = prediction.predicted == NONE or (not prediction.found and _disables_without_dmi())
    return None if disabled else prediction.found


@functools.cache
def _disables_without_dmi() -> bool:
    policy = re.search(r'^DI_DEFAULT_POLICY_NO_DMI=".*notfound=\$\{(\w+)\}"$', DS_IDENTIFY.read_text(), re.M)
    assert policy is not None
    return policy[1] == "DI_DISABLED"


plain = st.text("abcXYZ 0129.-;=/", max_size=12)
dmis = st.builds(
    Dmi,
    product_name=st.sampled_from(
        [
            *("", "OpenStack Nova", "OpenStack Compute", "OpenStack Nova ", "openstack nova", "Standard PC (i440FX)"),
            *("CloudStack KVM", "Exoscale X", "CloudSigma", "Google Compute Engine", "Alibaba Cloud ECS"),
            *("SmartDC HVM", "3DS Outscale VM", "OpenStack Nova 2"),
        ]
    ),
    product_serial=st.sampled_from(
        [
            *("", "ds=nocloud", "ds=nocloud;s=http://169.254.169.254/nocloud/", "x ds=nocloud-net;h=a", "xds=nocloud"),
            *("ds=noclou", "GoogleCloud-1", "a.brightbox.com", "EC2f8de0-0000-4000-8000-000000000001"),
        ]
    )
    | plain,
    product_uuid=st.sampled_from(
        ["1a831fa7-c50b-4693-a16e-fb8171f1b69e", "ec2f8de0-0000-4000-8000-000000000001", "ec2", ""]
    ),
    sys_vendor=st.sampled_from(
        [
            *("QEMU", "", "DigitalOcean", "Hetzner", "UpCloud", "Vultr", "Scaleway", "NWCS", "e24cloud"),
            *("3DS Outscale", "Red Hat"),
        ]
    ),
    chassis_asset_tag=st.sampled_from(
        [
            *("", "OpenStack Nova", "OpenStack Compute", "OpenTelekomCloud", "SAP CCloud VM", "HUAWEICLOUD"),
            *("OracleCloud.com", "vm.zstack.io", "7783-7084-3265-9085-8269-3286-77", "SAP CCloud"),
        ]
    ),
    board_name=st.sampled_from(["", "LXD", "440FX"]),
)
labels = st.sampled_from(
    [
        *("cidata", "CIDATA", "Cidata", "config-2", "CONFIG-2", "config-22", "rootfs", "CONTEXT", "CLOUDMD", "CDROM"),
        "cloudimg-rootfs",
    ]
)
guests = st.builds(
    Machine,
    machine=st.sampled_from(["x86_64", "i686", "aarch64", "riscv64", "ppc64le"]),
    dmi=dmis,
    labels=st.lists(labels, max_size=2).map(tuple),
    cd_labels=st.sampled_from([(), (), ("OVF-TRANSPORT",), ("ovf env",), ("d-live",)]),
    command_line=st.sampled_from(
        [
            *("", "", "", "ro quiet", "ro ds=nocloud;h=x quiet", "ci.ds=Ec2 ro", "ci.ds=Ec2 ci.datasource=OpenStack"),
            *("xds=nocloud", "vultr ro", "scaleway", "datasource=None"),
        ]
    ),
)


@settings(max_examples=100)
@given(guests, st.sampled_from([None, IMAGE_ORDER]))
@example(Machine(dmi=Dmi(product_name="OpenStack Nova")), None)
@example(Machine(dmi=Dmi(product_name="OpenStack Nova"), labels=("cidata",)), None)
@example(Machine(dmi=Dmi(product_name="OpenStack Nova"), labels=("config-2",)), IMAGE_ORDER)
@example(Machine(labels=("config-2", "cidata")), None)
@example(Machine(machine="aarch64"), IMAGE_ORDER)
@example(Machine(), None)
def test_the_datasources_are_those_that_ds_identify_finds(guest: Machine, order: tuple[str, ...] | None) -> None:
    # The prediction is 22.4.2's. 25.1.4 takes such a UUID for AWS's also without a serial number that equals it, and
    # takes the datasource on a command line alone.
    assume(not (_disables_without_dmi() and guest.dmi.product_uuid.startswith("ec2")))
    assume(not (_disables_without_dmi() and " ds=" in guest.command_line))
    assert found_by_us(guest, order or BUILTIN_ORDER) == found_by_cloud_init(guest, order)


@given(dmis)
@settings(max_examples=25)
def test_the_predicted_datasource_is_the_first_found(dmi: Dmi) -> None:
    prediction = identify(Machine(dmi=dmi))
    assert prediction.predicted == (prediction.found[0] if prediction.found else NONE)
    assert prediction.why


@pytest.mark.parametrize(
    ("serial", "seed"),
    [
        ("ds=nocloud;s=http://169.254.169.254/nocloud/", "http://169.254.169.254/nocloud/"),
        ("ds=nocloud-net;h=web1;seedfrom=http://10.0.0.1/", "http://10.0.0.1/"),
        ("ds=nocloud", None),
        ("ds=nocloud;s=", None),
        ("1234", None),
    ],
)
def test_the_address_from_which_nocloud_reads(serial: str, seed: str | None) -> None:
    assert nocloud_seed(serial) == seed
