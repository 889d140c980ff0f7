"""Run within a guest: let one of cloud-init's datasources ask the service, and print what it found as JSON.

cloud-init's code is in .venv, where scripts/bootstrap unpacked it. A cloud-init that is installed on this machine is
neither read nor written. The modules that cloud-init imports are the distribution's, as in a guest that has the
distribution's package.
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

import cloudinit  # while .venv comes first: the package's other modules then come from there, too

# After that the distribution's modules come first: .venv has a newer Requests than any distribution, for example.
VENV = sysconfig.get_path("purelib")
sys.path.remove(VENV)
sys.path.append(VENV)

from cloudinit import distros, dmi, helpers
from cloudinit.sources.DataSourceEc2 import DataSourceEc2
from cloudinit.sources.DataSourceOpenStack import DMI_PRODUCT_NOVA, DataSourceOpenStack

AWS_UUID = "ec2e1916-9099-7caf-fd21-012345abcdef"

OPENSTACK: Mapping[str, str] = {"system-product-name": DMI_PRODUCT_NOVA}
"""The SMBIOS of an OpenStack VM: without it the OpenStack datasource asks for nothing."""

AWS: Mapping[str, str] = {"system-uuid": AWS_UUID, "system-serial-number": AWS_UUID}
"""The SMBIOS of an AWS VM: with it the Ec2 datasource insists on a session token, without it the datasource asks for
none."""

# Not their "Local" siblings, which bring the NIC up by DHCP first: the guest's NIC is configured already.
DATASOURCES = {"OpenStack": (DataSourceOpenStack, OPENSTACK), "Ec2": (DataSourceEc2, AWS)}


def datasource(kind: str, folder: str, smbios: Mapping[str, str] | None = None, **settings: Any) -> Any:
    """Return cloud-init's datasource *kind*, which has not asked for anything yet.

    :param folder: the folder that stands for the guest's /var/lib/cloud and /run/cloud-init.
    :param smbios: the guest's SMBIOS values by cloud-init's names; None for those that make the datasource ask.
    :param settings: the datasource's section of cloud-init's configuration, beside a time limit for each request.
    """
    source, usual = DATASOURCES[kind]
    # A hypervisor gives a VM its SMBIOS; a guest that is only a namespace would read the machine's.
    dmi.read_dmi_data = (usual if smbios is None else smbios).get
    paths = helpers.Paths({"cloud_dir": f"{folder}/cloud", "run_dir": f"{folder}/run"})
    config = {"datasource_list": [kind], "datasource": {kind: {"timeout": 5, **settings}}}
    return source(config, distros.fetch("debian")("debian", {}, paths), paths)


def link_local_urls(nic: str) -> list[str]:
    """Return the service's URLs on the link of *nic*, for cloud-init's setting ``metadata_urls``, tried in order.

    The first names the NIC, as people write it; the second has the NIC's index, because requests 2.32 quotes the "%"
    before a name a second time and then looks for a NIC called "25eth0" (psf/requests#6735).
    """
    return [f"http://[fe80::a9fe:a9fe%{zone}]" for zone in (nic, socket.if_nametoindex(nic))]


def hostname(source: Any) -> str:
    """Return the host name that *source* found."""
    name = source.get_hostname(fqdn=True)
    # Since cloud-init 23.1 it is a tuple of the name and whether the name is a default.
    return name if isinstance(name, str) else str(name.hostname)


def find(source: Any) -> dict[str, Any]:
    """Let *source* ask the service, and return what it found."""
    if not source.get_data():
        return {"datasource": None}
    return {
        "datasource": source.dsname,
        "metadata_address": source.metadata_address,
        # The Ec2 datasource keeps its token here; no public attribute shows whether it has one.
        "token": getattr(source, "_api_token", None) is not None,
        "instance_id": source.get_instance_id(),
        "hostname": hostname(source),
        "public_keys": source.get_public_ssh_keys(),
        "user_data_sha256": hashlib.sha256(source.get_userdata_raw() or b"").hexdigest(),
        "network_config": source.network_config,
        "ec2_metadata": getattr(source, "ec2_metadata", None),
    }


def main() -> None:
    """Print what the datasource found."""
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
