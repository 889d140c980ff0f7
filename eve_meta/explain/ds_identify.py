"""The datasource that a guest's cloud-init will choose, by the rules of its ``ds-identify``.

Before cloud-init, systemd runs ``ds-identify`` (``tools/ds-identify`` of cloud-init). It examines SMBIOS, the labels of
file systems and the kernel command line, and keeps the datasources that it *found*, in the order of the image's
``datasource_list``; cloud-init takes the first of them that has data. Where ``ds-identify`` finds none, it disables
cloud-init on x86 (``notfound=disabled``). The rules differ between versions, so there is one prediction for each
:class:`Release`.

The prediction leaves out what only the guest's own files show: seeds in its root file system, the image's
``datasource_list``, containers. It leaves out VMware and Hyper-V, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType

from attrs import field, frozen

_FIRST = (
    *("MAAS", "ConfigDrive", "NoCloud", "AltCloud", "Azure", "Bigstep", "CloudSigma", "CloudStack", "DigitalOcean"),
    *("Vultr", "AliYun", "Ec2", "GCE", "OpenNebula", "OpenStack"),
)
_THEN = ("SmartOS", "Scaleway", "Hetzner", "IBMCloud", "Oracle", "Exoscale", "RbxCloud", "UpCloud")


@frozen(kw_only=True, eq=False)
class Release:
    """A release of cloud-init, and the rules of its ``ds-identify`` that differ from those of others.

    :ivar version: the release, as ``cloud-init --version`` begins it.
    :ivar shown: the release as people know it.
    :ivar order: ``DI_DSLIST_DEFAULT``, the datasources that it knows, for an image without a ``datasource_list``.
    :ivar on_command_line: the parameters of the kernel's command line that name a datasource.
    :ivar disables: whether it disables cloud-init where it finds none, on architectures other than x86, too.
    :ivar checks: the check of each datasource.
    """

    version: str
    shown: str
    order: tuple[str, ...]
    on_command_line: tuple[str, ...]
    disables: bool
    checks: Mapping[str, Callable[[Machine], str]] = field(repr=False)

    @property
    def image_order(self) -> tuple[str, ...]:
        """The order of images of Debian and Ubuntu.

        Their ``/etc/cloud/cloud.cfg.d/90_dpkg.cfg`` has NoCloud before ConfigDrive.
        """
        return ("NoCloud", "ConfigDrive", *(name for name in self.order if name not in ("NoCloud", "ConfigDrive")))


NOCLOUD_SEED = "ds=nocloud;s=http://169.254.169.254/nocloud/"
"""What makes cloud-init read from eve-meta by NoCloud, as SMBIOS's serial or on the kernel's command line. It ends with
"/", because cloud-init appends the names of the files."""

NONE = "None"
"""No datasource: cloud-init is disabled, or finds nothing."""

OPENSTACK_PRODUCTS = ("OpenStack Nova", "OpenStack Compute")
OPENSTACK_ASSET_TAGS = ("OpenTelekomCloud", "SAP CCloud VM", "HUAWEICLOUD", *OPENSTACK_PRODUCTS)
_NEWER_ASSET_TAGS = (*OPENSTACK_ASSET_TAGS, "Samsung Cloud Platform")

_AZURE_CHASSIS = "7783-7084-3265-9085-8269-3286-77"
_OVF_LABELS = ("OVF-TRANSPORT", "ovf-transport", "OVFENV", "ovfenv", "OVF ENV", "ovf env")


@frozen(kw_only=True)
class Dmi:
    """What the guest reads below ``/sys/class/dmi/id``; "" where its SMBIOS has nothing."""

    product_name: str = ""
    product_serial: str = ""
    product_uuid: str = ""
    sys_vendor: str = ""
    chassis_asset_tag: str = ""
    board_name: str = ""
    bios_vendor: str = ""


@frozen(kw_only=True)
class Machine:
    """What ``ds-identify`` examines, as far as it can be seen from outside the guest.

    :ivar machine: the architecture, as ``uname -m`` prints it.
    :ivar labels: the labels of all file systems on the guest's disks, as ``blkid`` prints them.
    :ivar cd_labels: the labels of ISO 9660 file systems on CD drives.
    :ivar command_line: the kernel's command line, where the hypervisor sets it; "" where the guest's boot loader does.
    """

    machine: str = "x86_64"
    dmi: Dmi = Dmi()
    labels: tuple[str, ...] = ()
    cd_labels: tuple[str, ...] = ()
    command_line: str = ""


@frozen(kw_only=True)
class Prediction:
    """What cloud-init will do.

    :ivar predicted: the datasource that it tries first, :data:`NONE` where it is disabled.
    :ivar found: all datasources that ``ds-identify`` keeps, in the order in which cloud-init tries them.
    :ivar why: the fact that decides, as text for people.
    """

    predicted: str
    found: tuple[str, ...]
    why: str


def identify(guest: Machine, release: Release, order: tuple[str, ...] | None = None) -> Prediction:
    """Predict what the ``ds-identify`` of *release* finds in *guest*.

    :param order: the image's ``datasource_list``; None for that of images of Debian and Ubuntu.
    """
    if "cloud-init=disabled" in guest.command_line.split():  # in older releases, the caller of ds-identify looks for it
        return Prediction(predicted=NONE, found=(), why="the kernel command line has cloud-init=disabled")
    named = _datasource_named_in(guest.command_line, release)
    if named:
        return Prediction(predicted=named, found=(named,), why="the kernel command line names it")
    names = release.image_order if order is None else order
    found = {name: why for name in names if (why := release.checks.get(name, _never)(guest))}
    if found:
        first = next(iter(found))
        return Prediction(predicted=first, found=tuple(found), why=found[first])
    if not is_x86(guest.machine) and not release.disables:
        why = f"on {guest.machine} cloud-init tries all datasources, and OpenStack is the first of them that has data"
        return Prediction(predicted="OpenStack", found=(), why=why)
    return Prediction(
        predicted=NONE, found=(), why="neither SMBIOS nor a disk names a datasource: cloud-init is disabled"
    )


def is_x86(machine: str) -> bool:
    """Return whether *machine* is x86, where ``ds-identify`` relies on SMBIOS."""
    return fnmatchcase(machine, "i?86") or machine == "x86_64"


def nocloud_seed(serial: str) -> str | None:
    """Return the address from which a serial such as ``ds=nocloud;s=http://…`` makes NoCloud read, or None.

    The serial is parsed as ``DataSourceNoCloud.parse_cmdline_data()`` parses it.
    """
    for word in serial.split():
        if word.startswith("ds=nocloud"):
            for item in word.split(";")[1:]:
                key, _, value = item.partition("=")
                if key in ("s", "seedfrom") and value:
                    return value
    return None


def _datasource_named_in(command_line: str, release: Release) -> str:
    named = ""
    for word in command_line.split():
        key, equals, value = word.partition("=")
        if equals and key in release.on_command_line:
            named = value
    if "ds" not in release.on_command_line:
        return named
    # Newer releases ignore what follows, and the case (importer.match_case_insensitive_module_name()).
    named = named.partition(";")[0].removesuffix("-net")
    return next((name for name in release.order if name.lower() == named.lower()), named)


def _read(value: str) -> str:
    # As the shell's "read" without -r: strip white space at both ends, and each backslash that escapes a character.
    return re.sub(r"\\(.)", r"\1", value.strip(" \t\n"))


# -- checks: each returns the fact for which ds-identify keeps a datasource, "" where it does not keep it --


def _never(_: Machine) -> str:
    return ""


def _fact(name: str, value: str) -> str:
    return f"the {name} is {value!r}"


def _has_label(guest: Machine, *labels: str) -> str:
    label = next((label for label in guest.labels if label in labels), None)
    return "" if label is None else f"a disk is labelled {label!r}"


def _field(name: str, field: str, *patterns: str) -> Callable[[Machine], str]:
    def check(guest: Machine) -> str:
        value = _read(getattr(guest.dmi, field))
        return _fact(name, value) if any(fnmatchcase(value, pattern) for pattern in patterns) else ""

    return check


_product = _field("DMI product name", "product_name", *OPENSTACK_PRODUCTS)
_asset_tag = _field("DMI chassis asset tag", "chassis_asset_tag", *OPENSTACK_ASSET_TAGS)
_newer_asset_tag = _field("DMI chassis asset tag", "chassis_asset_tag", *_NEWER_ASSET_TAGS)


def _vendor(*vendors: str) -> Callable[[Machine], str]:
    return _field("DMI system vendor", "sys_vendor", *vendors)


def _nocloud(guest: Machine) -> str:
    if re.search(r"(?:^| )ds=nocloud", guest.command_line):
        return "the kernel command line has ds=nocloud"
    return _newer_nocloud(guest)


def _newer_nocloud(guest: Machine) -> str:
    if re.search(r"(?:^| )ds=nocloud", _read(guest.dmi.product_serial)):
        return "the DMI serial has ds=nocloud"
    return _has_label(guest, "cidata", "CIDATA")


def _config_drive(guest: Machine) -> str:
    return _has_label(guest, "config-2", "CONFIG-2")


def _openstack(guest: Machine) -> str:
    # A config drive would be another source of the same data.
    return "" if _config_drive(guest) else _product(guest) or _asset_tag(guest)


def _newer_openstack(guest: Machine) -> str:
    return "" if _config_drive(guest) else _product(guest) or _newer_asset_tag(guest)


def _ec2(guest: Machine) -> str:
    dmi = guest.dmi
    serial, uuid = _read(dmi.product_serial), _read(dmi.product_uuid)
    if serial.endswith(".brightbox.com"):
        return _fact("DMI serial", serial)
    if _read(dmi.chassis_asset_tag).endswith(".zstack.io"):
        return _fact("DMI chassis asset tag", _read(dmi.chassis_asset_tag))
    if _read(dmi.sys_vendor) == "e24cloud":
        return _fact("DMI system vendor", "e24cloud")
    if (_read(dmi.product_name), _read(dmi.sys_vendor)) == ("3DS Outscale VM", "3DS Outscale"):
        return _fact("DMI product name", "3DS Outscale VM")
    if uuid.lower().startswith("ec2") and uuid.lower() == serial.lower():
        return f"DMI uuid and serial are both {uuid!r}, as on AWS"
    return ""


def _newer_ec2(guest: Machine) -> str:
    uuid = _read(guest.dmi.product_uuid)
    # Its first part may have the other byte order.
    if re.match(r"ec2|[^-]*2[0-9a-f]ec(?:-|$)", uuid, re.IGNORECASE):
        return f"the DMI uuid is {uuid!r}, as on AWS"
    return _ec2(guest)


def _gce(guest: Machine) -> str:
    product = _field("DMI product name", "product_name", "Google Compute Engine")
    return product(guest) or _field("DMI serial", "product_serial", "GoogleCloud-*")(guest)


def _ovf(guest: Machine) -> str:
    if _read(guest.dmi.chassis_asset_tag) == _AZURE_CHASSIS:
        return ""
    label = next((label for label in guest.cd_labels if label in _OVF_LABELS), None)
    return "" if label is None else f"a CD is labelled {label!r}"


def _word_or_vendor(word: str, vendor: str) -> Callable[[Machine], str]:
    def check(guest: Machine) -> str:
        if f" {word} " in f" {guest.command_line} ":
            return f"the kernel command line has {word}"
        return _vendor(vendor)(guest)

    return check


_CHECKS: Mapping[str, Callable[[Machine], str]] = MappingProxyType(
    {
        "NoCloud": _nocloud,
        "ConfigDrive": _config_drive,
        "Azure": _field("DMI chassis asset tag", "chassis_asset_tag", _AZURE_CHASSIS),
        "CloudSigma": _field("DMI product name", "product_name", "CloudSigma"),
        "CloudStack": _field("DMI product name", "product_name", "CloudStack*"),
        "DigitalOcean": _vendor("DigitalOcean"),
        "Vultr": _word_or_vendor("vultr", "Vultr"),
        "AliYun": _field("DMI product name", "product_name", "Alibaba Cloud ECS"),
        "Ec2": _ec2,
        "GCE": _gce,
        "OpenNebula": lambda guest: _has_label(guest, "CONTEXT", "CDROM"),
        "OpenStack": _openstack,
        "OVF": _ovf,
        "SmartOS": _field("DMI product name", "product_name", "SmartDC*"),
        "Scaleway": _word_or_vendor("scaleway", "Scaleway"),
        "Hetzner": _vendor("Hetzner"),
        "Oracle": _field("DMI chassis asset tag", "chassis_asset_tag", "OracleCloud.com"),
        "Exoscale": _field("DMI product name", "product_name", "Exoscale*"),
        "RbxCloud": lambda guest: _has_label(guest, "CLOUDMD", "cloudmd"),
        "UpCloud": _vendor("UpCloud"),
        "LXD": _field("DMI board name", "board_name", "LXD"),
        "NWCS": _vendor("NWCS"),
    }
)

_NEWER_CHECKS: Mapping[str, Callable[[Machine], str]] = MappingProxyType(
    {
        **_CHECKS,
        "Ec2": _newer_ec2,
        "OpenStack": _newer_openstack,
        "NoCloud": _newer_nocloud,
        "Akamai": _vendor("Linode", "Akamai"),
        "CloudCIX": _field("DMI product name", "product_name", "CloudCIX"),
    }
)

OLDER = Release(
    version="22.4",
    shown="cloud-init 22.4 (Debian 12)",
    order=(*_FIRST, "OVF", *_THEN, "VMware", "LXD", "NWCS"),
    on_command_line=("ci.ds", "ci.datasource"),
    disables=False,
    checks=_CHECKS,
)
NEWER = Release(
    version="25.1",
    shown="cloud-init 25.1 (Debian 13)",
    order=(*_FIRST, "VMware", "OVF", *_THEN, "LXD", "NWCS", "Akamai", "WSL", "CloudCIX"),
    on_command_line=("ds", "ci.ds", "ci.datasource"),
    disables=True,
    checks=_NEWER_CHECKS,
)
RELEASES = (OLDER, NEWER)
"""The releases that guests are predicted for, the oldest first: those of Debian."""
