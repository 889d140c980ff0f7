"""Run as a program: print what a cloud-init makes of network configurations.

A process of its own, because a process holds one version of cloud-init only. Standard input has, as JSON, a list of
guests: ``network_data`` and ``network_config``, each as a document has it, and ``macs``, the names of the guest's NICs
by MAC address. Standard output has, for each guest, by "openstack" and "nocloud" the files of each renderer.

:param folder: the first argument: the folder that has the package ``cloudinit``; "" for the installed one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

if sys.argv[1]:
    sys.path.insert(0, sys.argv[1])

import yaml
from cloudinit.net import eni, netplan, network_state, networkd
from cloudinit.sources.helpers import openstack


def render(config: Any) -> dict[str, Any]:
    """Return the configuration that each renderer writes for *config*."""

    # Each renderer gets its own state, as one changes what it reads. A broken configuration raises.
    def state() -> Any:
        return network_state.parse_net_config_data(json.loads(json.dumps(config)), skip_broken=False)

    return {
        "eni": eni.Renderer()._render_interfaces(state()),
        "netplan": yaml.safe_load(netplan.Renderer()._render_content(state()))["network"],
        "networkd": dict(_files(networkd.Renderer({})._render_content(state()))),
    }


def _files(rendered: Mapping[str, Any]) -> Any:
    for name, content in rendered.items():
        if isinstance(content, str):
            yield f"{name}.network", content
        elif content:  # newer versions: "bond_netdev" and "vlan_netdev"
            yield from ((f"{device}.netdev", text) for device, text in content.items())


def main() -> None:
    """Render each guest of standard input."""
    found = []
    for guest in json.load(sys.stdin):
        macs = guest["macs"]
        network_state.get_interfaces_by_mac = lambda macs=macs: macs
        network_state.find_interface_name_from_mac = macs.get
        found.append(
            {
                "openstack": render(openstack.convert_net_json(guest["network_data"], known_macs=macs)),
                "nocloud": render(guest["network_config"]),
            }
        )
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
