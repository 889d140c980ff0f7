"""What systemd-imdsd in the guest asks, by SMBIOS and the kernel's command line."""

from __future__ import annotations

import pytest

from eve_meta.explain.ds_identify import Dmi
from eve_meta.explain.facts import MachineFacts
from eve_meta.explain.guest_machine import imds_prediction
from eve_meta.explain.imds import Imds, ImdsPrediction

AWS = Dmi(bios_vendor="Amazon EC2")
BY_HAND = (
    "systemd.imds.token_url=http://169.254.169.254/latest/api/token"
    " systemd.imds.token_header_name=X-aws-ec2-metadata-token"
    " systemd.imds.data_url=http://169.254.169.254/latest"
)


def predict(dmi: Dmi = Dmi(), command_line: str = "") -> ImdsPrediction:  # noqa: B008  # it is frozen
    return imds_prediction(MachineFacts(source="", machine="x86_64", dmi=dmi, command_line=command_line))


@pytest.mark.parametrize(
    ("dmi", "command_line", "predicted"),
    [
        (Dmi(), "", Imds.NOTHING),
        (Dmi(product_name="OpenStack Nova"), "ro quiet", Imds.NOTHING),
        (AWS, "", Imds.OURS),
        (AWS, "systemd.imds=auto", Imds.OURS),
        (AWS, "systemd.imds=no", Imds.NOTHING),
        (AWS, "rd.systemd.imds=0", Imds.NOTHING),
        (Dmi(bios_vendor="Amazon  EC2 "), "", Imds.OURS),
        (Dmi(bios_vendor="Amazon EC2 nitro"), "", Imds.NOTHING),
        (Dmi(sys_vendor="Amazon EC2"), "", Imds.NOTHING),
        (Dmi(), BY_HAND, Imds.NOTHING),  # nothing enables it
        (Dmi(), f"systemd.imds=yes {BY_HAND}", Imds.OURS),
        (Dmi(), "systemd.imds=yes systemd.imds.data-url=http://[fd00:ec2::254]/2021-03-23", Imds.OURS),
        (Dmi(), "systemd.imds=yes", Imds.NOWHERE),
        (AWS, "systemd.imds.vendor=x", Imds.NOWHERE),  # the command line replaces all of the hwdb's
        (AWS, "systemd.imds.data_url=http://169.254.169.254/latest systemd.imds.token_url=http://x/", Imds.NOWHERE),
        (AWS, "systemd.imds.data_url=http://10.0.0.1/latest", Imds.ELSEWHERE),
        (AWS, "systemd.imds.data_url=https://169.254.169.254/latest", Imds.ELSEWHERE),
        (Dmi(bios_vendor="Hetzner"), "", Imds.ELSEWHERE),
        (Dmi(sys_vendor="Scaleway"), "", Imds.ELSEWHERE),
        (Dmi(product_name="Google Compute Engine"), "", Imds.ELSEWHERE),
        (Dmi(chassis_asset_tag="7783-7084-3265-9085-8269-3286-77"), "", Imds.ELSEWHERE),
        (AWS, 'quote="never ends', Imds.OURS),
    ],
)
def test_what_it_asks(dmi: Dmi, command_line: str, predicted: Imds) -> None:
    found = predict(dmi, command_line)
    assert found.predicted is predicted
    assert bool(found.why) == (predicted is not Imds.NOTHING or dmi is AWS)


def test_the_fact_that_decides_is_named() -> None:
    assert predict(AWS).why == "the DMI bios vendor is 'Amazon EC2'"
    assert predict(Dmi(sys_vendor="Scaleway")).why == "the DMI system vendor is 'Scaleway'"
    given = predict(AWS, "systemd.imds.data_url=http://10.0.0.1/latest systemd.imds.network=locked")
    assert given.why == "the kernel command line has systemd.imds.data_url=http://10.0.0.1/latest"
    assert (given.network, given.by_command_line) == ("locked", True)
