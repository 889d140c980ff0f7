"""Run within a guest: one of cloud-init's own datasources against the service, and what it found as JSON.

cloud-init's code is in .venv, where scripts/bootstrap unpacked it. This machine's own cloud-init, if there is one, is
neither read nor written. What cloud-init imports is the distribution's, as in a guest that has its package.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import socket
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from typing import Any

import cloudinit  # while .venv comes first: from here on it is known where the rest of it is

# Requests in .venv, say, is newer than any distribution's.
VENV = sysconfig.get_path("purelib")
sys.path.remove(VENV)
sys.path.append(VENV)

from cloudinit import distros, dmi, helpers
from cloudinit.sources.DataSourceEc2 import DataSourceEc2
from cloudinit.sources.DataSourceOpenStack import DMI_PRODUCT_NOVA, DataSourceOpenStack

AWS_UUID = "ec2e1916-9099-7caf-fd21-012345abcdef"

OPENSTACK: Mapping[str, str] = {"system-product-name": DMI_PRODUCT_NOVA}
"""SMBIOS as OpenStack's: without it the OpenStack datasource does not look."""

AWS: Mapping[str, str] = {"system-uuid": AWS_UUID, "system-serial-number": AWS_UUID}
"""SMBIOS as AWS's: with it the Ec2 datasource insists on a session token, elsewhere it knows of none."""

# These, not their "Local" siblings, which bring the NIC up by DHCP first: the guest's is configured.
DATASOURCES = {"OpenStack": (DataSourceOpenStack, OPENSTACK), "Ec2": (DataSourceEc2, AWS)}


def datasource(kind: str, folder: str, smbios: Mapping[str, str] | None = None, **settings: Any) -> Any:
    """cloud-init's datasource *kind*, which has not looked yet.

    :param folder: stands for the guest's /var/lib/cloud and /run/cloud-init.
    :param smbios: what the guest's says, by cloud-init's names; None for what makes the datasource look.
    :param settings: its section of cloud-init's configuration, beside a time limit for each request.
    """
    source, usual = DATASOURCES[kind]
    # A VM has its SMBIOS from its hypervisor; a guest that is only a namespace sees that of the machine.
    dmi.read_dmi_data = (usual if smbios is None else smbios).get
    paths = helpers.Paths({"cloud_dir": f"{folder}/cloud", "run_dir": f"{folder}/run"})
    config = {"datasource_list": [kind], "datasource": {kind: {"timeout": 5, **settings}}}
    return source(config, distros.fetch("debian")("debian", {}, paths), paths)


def link_local_urls(nic: str) -> list[str]:
    """The service's address on the link of *nic*, for cloud-init's setting ``metadata_urls``, which it tries in order.

    By the NIC's name as people write it; and by its index, because requests 2.32 quotes the "%" before a name once more
    and looks for a NIC called "25eth0" (psf/requests#6735).
    """
    return [f"http://[fe80::a9fe:a9fe%{zone}]" for zone in (nic, socket.if_nametoindex(nic))]


def hostname(source: Any) -> str:
    """The host name that *source* found."""
    found = source.get_hostname(fqdn=True)
    # A tuple of the name and whether it is a default since cloud-init 23.1.
    return found if isinstance(found, str) else str(found.hostname)


def find(source: Any) -> dict[str, Any]:
    """What *source* finds."""
    if not source.get_data():
        return {"datasource": None}
    return {
        "datasource": source.dsname,
        "metadata_address": source.metadata_address,
        # The Ec2 datasource keeps it here, and has no other way to tell whether it has one.
        "token": getattr(source, "_api_token", None) is not None,
        "instance_id": source.get_instance_id(),
        "hostname": hostname(source),
        "public_keys": source.get_public_ssh_keys(),
        "user_data_sha256": hashlib.sha256(source.get_userdata_raw() or b"").hexdigest(),
        "network_config": source.network_config,
        "ec2_metadata": getattr(source, "ec2_metadata", None),
    }


def main() -> None:
    """Print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasource", choices=DATASOURCES, default="OpenStack")
    parser.add_argument("--link-local", metavar="NIC", help="ask by IPv6 on this NIC, not where cloud-init would")
    parser.add_argument("--max-wait", type=int, default=20, help="seconds to wait for the service")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    settings: dict[str, Any] = {"max_wait": arguments.max_wait}
    if arguments.link_local is not None:
        settings["metadata_urls"] = link_local_urls(arguments.link_local)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(find(datasource(arguments.datasource, folder, **settings))))


if __name__ == "__main__":
    main()
