"""Writes a tree of files as EVE-OS's agents publish it: under another name first, then renamed.

The values are invented; the structs are those of lf-edge/eve, in the forms before and since September 2024.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from uuid import UUID

LOCAL, SWITCH = 2, 1

DEVICE = {
    "DeviceName": "test-system",
    "DeviceID": "6c6c3a1f-7b0e-4d0a-8a39-0d6f1f0f9b52",
    "ProjectName": "test-project",
    "ProjectID": "4d12b9a5-33c2-4b1c-8c55-94a7b9c1f0aa",
    "EnterpriseName": "testing",
    "EnterpriseID": "AAFlY2hv",
}

LOCATION = {"LogicalLabel": "wwan0", "Latitude": 49.84, "Longitude": 24.03, "UTCTimestamp": 1657706220000}


def uuid(number: int) -> str:
    """Return the uuid of application *number*."""
    return str(UUID(int=0xAFA43E5156B74021A5FA000000000000 + number))


def network_uuid(number: int) -> str:
    """Return the uuid of network instance *number*."""
    return str(UUID(int=0x5A4F2A2E8D7C4C8E9B9C000000000000 + number))


def mac(number: int) -> str:
    """Return the MAC address of application *number*, as text."""
    return f"02:16:3e:5a:00:{number:02x}"


def encoded(data: bytes) -> str:
    """Return Go's encoding of a ``[]byte``."""
    return base64.b64encode(data).decode()


def version(number: int) -> dict[str, Any]:
    """Return a ``UUIDandVersion`` of application *number*."""
    return {"UUID": uuid(number), "Version": "3"}


def ip_net(network: str | None) -> dict[str, Any]:
    """Return Go's encoding of a ``net.IPNet``."""
    if network is None:
        return {"IP": "", "Mask": None}
    parsed = ip_network(network)
    return {"IP": str(parsed.network_address), "Mask": encoded(parsed.netmask.packed)}


def adapter(number: int, vif: str, *, network: int = 1, old: bool = False, **more: Any) -> dict[str, Any]:
    """Return an ``AppNetAdapterStatus``.

    :param old: whether it has the form that EVE used before September 2024.
    """
    address = f"10.1.0.{number + 1}"
    addresses: dict[str, Any] = {"AssignedAddresses": {"IPv4Addrs": [{"Address": address, "AssignedBy": 4}]}}
    if old:
        addresses = {"AllocatedIPv4Addr": address, "AllocatedIPv6List": None}
    else:
        addresses["AssignedAddresses"]["IPv6Addrs"] = None
    return {
        "Name": "eth0",
        "AppMacAddr": None,
        "AppIPAddr": "",
        "Network": network_uuid(network),
        "ACLs": [{"Matches": [{"Type": "ip", "Value": "0.0.0.0/0"}], "RuleID": 1}],
        "AllowToDiscover": False,
        "Bridge": f"bn{network}",
        "Vif": vif,
        "Mac": encoded(bytes.fromhex(mac(number).replace(":", ""))),
        "MTU": 1500,
        "VifUsed": vif,
        "BridgeIPAddr": "10.1.0.1",
        "HostName": uuid(number),
        **addresses,
        **more,
    }


class Tree:
    """EVE's ``/run``, below *root*."""

    def __init__(self, root: Path) -> None:
        self.run = root / "run"
        self.run.mkdir()

    def put(self, topic: str, key: str, plain: Any) -> Path:
        """Publish *plain* as EVE's ``writeRename`` does; return the file's path."""
        directory = self.run / topic
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = directory / f"tmp{key[-6:]}"
        temporary.write_text(plain if isinstance(plain, str) else json.dumps(plain, separators=(",", ":")))
        path = directory / f"{key}.json"
        temporary.rename(path)
        return path

    def take(self, topic: str, key: str) -> None:
        """Unpublish *key*."""
        (self.run / topic / f"{key}.json").unlink()

    def status(self, number: int, *adapters: Mapping[str, Any], **more: Any) -> Path:
        """Publish the ``AppNetworkStatus`` of application *number*."""
        plain = {
            "UUIDandVersion": version(number),
            "AppNum": number,
            "Activated": True,
            "DisplayName": f"app{number}",
            "AppPod": {"Name": "", "NetNsPath": ""},
            "GetStatsIPAddr": "",
            "AppNetAdapterList": list(adapters),
            "Error": "",
            "ErrorTime": "0001-01-01T00:00:00Z",
        }
        return self.put("zedrouter/AppNetworkStatus", uuid(number), {**plain, **more})

    def config(self, number: int, user_data: bytes | None = None, *, agent: str = "zedmanager", **more: Any) -> Path:
        """Publish an ``AppNetworkConfig``, with the cipher block nested."""
        cipher = {"CipherBlockID": "", "InitialValue": None, "pubsub-large-CipherData": None, "IsCipher": False}
        plain = {
            "UUIDandVersion": version(number),
            "DisplayName": f"app{number}",
            "Activate": True,
            "AppNetAdapterList": [],
            "pubsub-large-CloudInitUserData": None if user_data is None else encoded(user_data),
            "CipherBlockStatus": cipher,
            "MetaDataType": 2,
        }
        return self.put(f"{agent}/AppNetworkConfig", uuid(number), {**plain, **more})

    def domain_config(self, number: int, user_data: bytes, **more: Any) -> Path:
        """Publish a ``DomainConfig``, with the cipher block flattened."""
        plain = {
            "UUIDandVersion": version(number),
            "VifList": [{"Bridge": "bn1", "Vif": f"nbu1x{number}"}],
            "pubsub-large-CloudInitUserData": encoded(user_data),
            "IsCipher": False,
            "pubsub-large-CipherData": None,
            "CipherContext": None,
            "MetaDataType": 2,
            "CloudInitVersion": 2,
        }
        return self.put("zedmanager/DomainConfig", uuid(number), {**plain, **more})

    def network(self, number: int = 1, *, kind: int = LOCAL, subnet: str | None = "10.1.0.0/16", **more: Any) -> Path:
        """Publish a ``NetworkInstanceStatus``, with the uuid flattened."""
        plain = {
            "UUID": network_uuid(number),
            "Version": "1",
            "DisplayName": f"network{number}",
            "Type": kind,
            "IpType": 1 if subnet else 0,
            "Subnet": ip_net(subnet),
            "Gateway": "10.1.0.1" if subnet else "",
            "DnsServers": None,
            "MTU": 1500,
            "Ports": ["ethernet0"],
            "BridgeName": f"bn{number}",
            "BridgeIPAddr": "10.1.0.1",
            "IPAssignments": {},
            "Vifs": None,
        }
        return self.put("zedrouter/NetworkInstanceStatus", network_uuid(number), {**plain, **more})

    def ports(self, ports: Mapping[str, Iterable[str]]) -> Path:
        """Publish the ``DeviceNetworkStatus``.

        :param ports: the addresses of each port, by logical label.
        """
        plain = [
            {"IfName": f"eth{index}", "Logicallabel": label, "AddrInfoList": [{"Addr": each} for each in addresses]}
            for index, (label, addresses) in enumerate(ports.items())
        ]
        return self.put("nim/DeviceNetworkStatus", "global", {"DPCKey": "zedagent", "Ports": plain})

    def node(self) -> None:
        """Publish the node: its identity and the addresses of its ports."""
        self.put("zedagent/EdgeNodeInfo", "global", DEVICE)
        self.ports({"ethernet0": ["192.0.2.10", "169.254.7.7", "fe80::1"], "ethernet1": ["198.51.100.7"]})

    def app(self, number: int, user_data: bytes | None = None, *, vif: str = "") -> None:
        """Publish a whole application with one adapter, in network instance 1."""
        self.status(number, adapter(number, vif or f"nbu1x{number}"))
        self.config(number, user_data)
