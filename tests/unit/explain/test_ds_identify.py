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
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eve_meta.explain.ds_identify import (
    NEWER,
    NONE,
    OLDER,
    RELEASES,
    Dmi,
    Machine,
    Prediction,
    Release,
    identify,
    nocloud_seed,
)

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
        assert done.returncode in (0, 1, 2)
        return () if done.returncode == 0 else None


@functools.cache
def release_here() -> Release:
    """Return the release whose rules the distribution's ds-identify has."""
    return NEWER if "dscheck_Akamai" in DS_IDENTIFY.read_text() else OLDER


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
        [
            *("1a831fa7-c50b-4693-a16e-fb8171f1b69e", "ec2f8de0-0000-4000-8000-000000000001", "ec2", ""),
            *("45e12aec-dcd1-b213-94ed-012345abcdef", "45E12AEC-DCD1-B213-94ED-012345ABCDEF"),
        ]
    ),
    sys_vendor=st.sampled_from(
        [
            *("QEMU", "", "DigitalOcean", "Hetzner", "UpCloud", "Vultr", "Scaleway", "NWCS", "e24cloud"),
            *("3DS Outscale", "Red Hat", "Akamai", "Linode"),
        ]
    ),
    chassis_asset_tag=st.sampled_from(
        [
            *("", "OpenStack Nova", "OpenStack Compute", "OpenTelekomCloud", "SAP CCloud VM", "HUAWEICLOUD"),
            *(
                "Samsung Cloud Platform",
                "OracleCloud.com",
                "vm.zstack.io",
                "7783-7084-3265-9085-8269-3286-77",
                "SAP CCloud",
            ),
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
            *("xds=nocloud", "vultr ro", "scaleway", "datasource=None", "ds=openstack;x", "ro cloud-init=disabled"),
        ]
    ),
)


@settings(max_examples=100)
@given(guests, st.booleans())
@example(Machine(dmi=Dmi(product_name="OpenStack Nova")), False)
@example(Machine(dmi=Dmi(product_name="OpenStack Nova"), labels=("cidata",)), False)
@example(Machine(dmi=Dmi(product_name="OpenStack Nova"), labels=("config-2",)), True)
@example(Machine(dmi=Dmi(chassis_asset_tag="Samsung Cloud Platform")), True)
@example(Machine(dmi=Dmi(chassis_asset_tag="eve-meta.zstack.io", bios_vendor="Amazon EC2")), True)
@example(Machine(dmi=Dmi(product_uuid="45e12aec-dcd1-b213-94ed-012345abcdef")), True)
@example(Machine(dmi=Dmi(product_uuid="ec2e1916-9099-7caf-fd21-012345abcdef")), True)
@example(Machine(command_line="ro ds=nocloud;h=x quiet"), True)
@example(Machine(command_line="ro cloud-init=disabled", dmi=Dmi(product_name="OpenStack Nova")), True)
@example(Machine(labels=("config-2", "cidata")), False)
@example(Machine(machine="aarch64"), True)
@example(Machine(), False)
def test_the_datasources_are_those_that_ds_identify_finds(guest: Machine, of_an_image: bool) -> None:
    release = release_here()
    predicted = identify(guest, release, None if of_an_image else release.order)
    found = found_by_cloud_init(guest, release.image_order if of_an_image else None)
    if predicted.predicted == NONE:
        assert found is None or (release is OLDER and "cloud-init=disabled" in guest.command_line)
    else:
        # A name on the command line need not be spelled as cloud-init spells it.
        assert found is not None
        assert tuple(name.lower() for name in found) == tuple(name.lower() for name in predicted.found)


@given(dmis)
@settings(max_examples=25)
def test_the_predicted_datasource_is_the_first_found(dmi: Dmi) -> None:
    for release in RELEASES:
        prediction = identify(Machine(dmi=dmi), release)
        assert prediction.predicted == (prediction.found[0] if prediction.found else NONE)
        assert prediction.why


@pytest.mark.parametrize(
    ("guest", "older", "newer"),
    [
        (Machine(machine="aarch64"), "OpenStack", NONE),
        (Machine(dmi=Dmi(product_uuid="ec2e1916-9099-7caf-fd21-012345abcdef")), NONE, "Ec2"),
        (Machine(dmi=Dmi(product_uuid="45e12aec-dcd1-b213-94ed-012345abcdef")), NONE, "Ec2"),
        (Machine(command_line="ds=openstack"), NONE, "OpenStack"),
        (Machine(command_line="ds=nocloud-net;s=http://x/"), "NoCloud", "NoCloud"),
        (Machine(command_line="cloud-init=disabled", dmi=Dmi(product_name="OpenStack Nova")), NONE, NONE),
        (Machine(dmi=Dmi(chassis_asset_tag="Samsung Cloud Platform")), NONE, "OpenStack"),
        (Machine(dmi=Dmi(sys_vendor="Akamai")), NONE, "Akamai"),
    ],
)
def test_where_the_releases_differ(guest: Machine, older: str, newer: str) -> None:
    found: list[Prediction] = [identify(guest, release) for release in RELEASES]
    assert [each.predicted for each in found] == [older, newer]


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
