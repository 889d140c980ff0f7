"""What systemd-imdsd does in the guest: systemd's own client of the metadata service, since systemd 261.

It runs early in boot, before cloud-init, and imports host name, SSH key and credentials. ``systemd-imds-generator``
enables it where the kernel command line or systemd's hwdb (``40-imds.hwdb``) says so; the hwdb knows clouds by SMBIOS.
Endpoint and keys come from the command line, or else from the hwdb.
"""

from __future__ import annotations

import enum
import re
import shlex
from collections.abc import Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from urllib.parse import urlsplit

from attrs import frozen

from eve_meta.explain.ds_identify import Dmi, Machine

_CLOUDS: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("bios_vendor", "AmazonEC2"): "http://169.254.169.254/latest",
        ("chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77"): "http://169.254.169.254/metadata",
        ("product_name", "GoogleComputeEngine"): "http://169.254.169.254/computeMetadata/v1",
        ("bios_vendor", "Hetzner"): "http://169.254.169.254/hetzner/v1/metadata",
        ("sys_vendor", "Scaleway"): "http://169.254.42.42",
    }
)
"""The base of the URLs by field of SMBIOS, and the value of that field as the kernel has it in the modalias."""

_ENDPOINT = re.compile(
    r"vendor|token_url|refresh_header_name|data_url|data_url_suffix|token_header_name|extra_header|address_ipv[46]|key\..+"
)
"""Parameters of the command line that replace what the hwdb has."""

_TRUE, _FALSE = ("1", "yes", "y", "true", "t", "on"), ("0", "no", "n", "false", "f", "off")


class Imds(enum.Enum):
    """What systemd-imdsd asks."""

    NOTHING = "nothing"  # it is not enabled
    OURS = "ours"
    ELSEWHERE = "elsewhere"
    NOWHERE = "nowhere"  # it is enabled and knows no endpoint


@frozen(kw_only=True)
class ImdsPrediction:
    """What systemd-imdsd will do.

    :ivar why: the fact that decides, as text for people; "" where nothing speaks of systemd-imdsd.
    :ivar network: ``systemd.imds.network=`` of the kernel's command line, "" for none: "locked" keeps all other
        programs of the guest from the service, cloud-init among them.
    :ivar by_command_line: whether the kernel's command line decides.
    """

    predicted: Imds
    why: str = ""
    network: str = ""
    by_command_line: bool = False


def predict_imds(guest: Machine, hosts: tuple[str, ...], trees: tuple[str, ...]) -> ImdsPrediction:
    """Predict what systemd-imdsd asks in *guest*.

    :param hosts: the addresses of the service.
    :param trees: the patterns of what follows the address and its slash in a URL that the service serves.
    """
    given = _parameters(guest.command_line)
    cloud, fact = _cloud(guest.dmi)
    switch = given.get("", "auto").lower()
    enabled = switch in _TRUE or (switch not in _FALSE and bool(cloud))
    if not enabled:
        why = f"{fact}, but the kernel command line has systemd.imds={given['']}" if cloud else ""
        return ImdsPrediction(predicted=Imds.NOTHING, why=why, by_command_line=bool(why))
    network = given.get("network", "")
    by_command_line = any(_ENDPOINT.fullmatch(name) for name in given)
    url = given.get("data_url", "") if by_command_line else cloud
    if by_command_line:
        fact = f"the kernel command line has systemd.imds.data_url={url}"
    if not url or bool(given.get("token_url")) != bool(given.get("token_header_name")):
        missing = "data_url" if not url else "token_url and token_header_name, of which only one is there"
        why = f"the kernel command line enables it without systemd.imds.{missing}"
        return ImdsPrediction(predicted=Imds.NOWHERE, why=why, network=network, by_command_line=True)
    parts = urlsplit(url)
    ours = (
        parts.scheme == "http"
        and parts.hostname in hosts
        and any(fnmatchcase(parts.path.strip("/"), tree) for tree in trees)
    )
    predicted = Imds.OURS if ours else Imds.ELSEWHERE
    return ImdsPrediction(predicted=predicted, why=fact, network=network, by_command_line=by_command_line)


def _cloud(dmi: Dmi) -> tuple[str, str]:
    """Return the URL that the hwdb has for a guest with *dmi*, and the fact by which; two "" for none."""
    for (field, value), url in _CLOUDS.items():
        written = getattr(dmi, field)
        # The kernel leaves blanks, colons and all but printable ASCII out of the modalias (dmi-id.c, ascii_filter()).
        if "".join(c for c in written if " " < c < "\x7f" and c != ":") == value:
            return url, f"the DMI {field.replace('_', ' ').replace('sys', 'system')} is {written!r}"
    return "", ""


def _parameters(command_line: str) -> dict[str, str]:
    """Return the parameters ``systemd.imds.NAME=`` by name, ``systemd.imds=`` by ""."""
    try:
        words = shlex.split(command_line)
    except ValueError:
        words = command_line.split()
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        # In the initrd the same parameters may begin with "rd."; "-" and "_" are the same (proc_cmdline_key_streq()).
        key = key.removeprefix("rd.").replace("-", "_")
        if equals and (key == "systemd.imds" or key.startswith("systemd.imds.")):
            found[key.removeprefix("systemd.imds").removeprefix(".")] = value
    return found
