"""A boot storm: a thousand guests that all run cloud-init at once."""

from __future__ import annotations

from typing import Any

from benchmark.field import MARKER, field, request

GUESTS = 1000
SECONDS = 120

EC2_LEAVES = (
    "",
    "block-device-mapping/",
    "block-device-mapping/ami",
    "block-device-mapping/ebs0",
    "block-device-mapping/root",
    "block-device-mapping/swap",
    "placement/",
    "placement/availability-zone",
    "public-keys/",
    "public-keys/0/openssh-key",
    "ami-id",
    "ami-launch-index",
    "ami-manifest-path",
    "hostname",
    "instance-action",
    "instance-id",
    "instance-type",
    "kernel-id",
    "local-hostname",
    "local-ipv4",
    "public-hostname",
    "public-ipv4",
    "ramdisk-id",
    "reservation-id",
    "security-groups",
)

BOOT = (
    # The load checks the first answer: it must be the guest's own.
    "/openstack/2018-08-27/meta_data.json",
    "/openstack",
    "/openstack",
    *(
        f"/openstack/2018-08-27/{name}"
        for name in ("user_data", "vendor_data.json", "vendor_data2.json", "network_data.json")
    ),
    "/openstack/content/0000",
    "/openstack/content/0001",
    *(f"/latest/meta-data/{leaf}" for leaf in EC2_LEAVES),
    "/latest/user-data",
)
"""The 35 requests of cloud-init's OpenStack datasource for a domain with one key, four block devices and two files."""


def measure(_rounds: int) -> list[dict[str, Any]]:
    """Return one row about the boots of all guests together."""
    with field() as here:
        here.add_guests(GUESTS)
        here.pin_workers()
        here.settle()
        boot = b"".join(map(request, BOOT))
        total = GUESTS * len(BOOT)
        load = here.load(boot, slots=GUESTS, total=total, seconds=SECONDS, marker=MARKER)
        drops = sum(sum(tap["drops"].values()) for tap in here.daemon.status()["taps"])
    return [
        {
            "guests": GUESTS,
            "requests": total,
            "seconds": round(load.seconds, 1),
            "rate": round(load.rate),
            "p50_ms": load.p50_ms,
            "p99_ms": load.p99_ms,
            "max_ms": load.max_ms,
            "failures": load.failures,
            "stuck": load.stuck,
            "dropped_frames": drops,
        }
    ]
