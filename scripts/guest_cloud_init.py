"""Run within a guest: cloud-init's own OpenStack datasource against 169.254.169.254, and what it found as JSON.

cloud-init's code is in .venv, where scripts/bootstrap unpacked it. This machine's own cloud-init, if there is one, is
neither read nor written.
"""

import argparse
import hashlib
import json
import logging
import tempfile
from typing import Any

from cloudinit import distros, dmi, helpers
from cloudinit.sources.DataSourceOpenStack import DMI_PRODUCT_NOVA, DataSourceOpenStack


def find(folder: str, max_wait: int) -> dict[str, Any]:
    """What the datasource finds; *folder* stands for the guest's /var/lib/cloud and /run/cloud-init."""
    # The datasource looks only where SMBIOS says "OpenStack Nova". A VM gets that from its hypervisor; a guest that is
    # only a namespace sees the SMBIOS of the machine.
    dmi.read_dmi_data = lambda key: DMI_PRODUCT_NOVA if key == "system-product-name" else None

    paths = helpers.Paths({"cloud_dir": f"{folder}/cloud", "run_dir": f"{folder}/run"})
    settings = {
        "datasource_list": ["OpenStack"],
        "datasource": {"OpenStack": {"max_wait": max_wait, "timeout": 5}},
    }
    # DataSourceOpenStack, not its "Local" sibling, which brings the NIC up by DHCP first: the guest's is configured.
    source = DataSourceOpenStack(settings, distros.fetch("debian")("debian", {}, paths), paths)
    if not source.get_data():
        return {"datasource": None}
    hostname = source.get_hostname(fqdn=True)
    return {
        "datasource": source.dsname,
        "instance_id": source.get_instance_id(),
        # A tuple of the name and whether it is a default since cloud-init 23.1.
        "hostname": hostname if isinstance(hostname, str) else hostname.hostname,
        "public_keys": source.get_public_ssh_keys(),
        "user_data_sha256": hashlib.sha256(source.get_userdata_raw() or b"").hexdigest(),
        "network_config": source.network_config,
        "ec2_metadata": source.ec2_metadata,
    }


def main() -> None:
    """Print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max-wait", type=int, default=20, help="seconds to wait for the service")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(find(folder, arguments.max_wait)))


if __name__ == "__main__":
    main()
