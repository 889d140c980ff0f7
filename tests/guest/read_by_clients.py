"""Run within a guest: print as JSON what a client that others wrote reads from 169.254.169.254.

Each run imports the one client that it needs: importing all of them takes seconds.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import socket
import sys
import tempfile
from collections.abc import Callable
from functools import cached_property
from typing import Any


def cloud_init(platform: str) -> dict[str, Any]:
    """Run cloud-init's Ec2 datasource on *platform*.

    On "aws" it insists on a token; elsewhere it asks for none. On "zstack" SMBIOS is that of ``eve-meta smbios``.
    """
    from eve_meta.machine.smbios_xml import LOOKALIKE
    from harness.guest_cloud_init import AWS, datasource, hostname

    smbios = {"aws": AWS, "zstack": {"chassis-asset-tag": LOOKALIKE}, "unknown": {}}[platform]
    with tempfile.TemporaryDirectory() as folder:
        source = datasource("Ec2", folder, smbios, max_wait=5)
        if not source.get_data():
            return {"platform": source.cloud_name, "found": False}
        return {
            "platform": source.cloud_name,
            "found": True,
            "instance_id": source.get_instance_id(),
            "hostname": hostname(source),
            "public_keys": source.get_public_ssh_keys(),
            "user_data": source.get_userdata_raw().decode(),
            "availability_zone": source.availability_zone,
            "region": source.region,
            "launch_index": source.launch_index,
            "ebs0": source.device_name_to_device("ebs0"),
            "network_config": source.network_config,
            "meta_data": source.metadata,
            "identity": source.identity,
        }


def botocore(needs_token: str) -> dict[str, Any]:
    """Run botocore's two fetchers. With *needs_token* "yes" they refuse to go on without a token."""
    from botocore.exceptions import MetadataRetrievalError
    from botocore.utils import InstanceMetadataFetcher, InstanceMetadataRegionFetcher

    options = {"timeout": 5, "num_attempts": 1, "env": {}, "config": {"ec2_metadata_v1_disabled": needs_token == "yes"}}
    try:
        return {
            "credentials": InstanceMetadataFetcher(**options).retrieve_iam_role_credentials(),
            "region": InstanceMetadataRegionFetcher(**options).retrieve_region(),
        }
    except MetadataRetrievalError as error:
        return {"error": str(error)}


def ec2_metadata() -> dict[str, Any]:
    """Read all properties of the package ec2-metadata."""
    from ec2_metadata import EC2Metadata, InstanceTags, NetworkInterface, PublicKey
    from urllib3.exceptions import HTTPError

    def properties(thing: object) -> dict[str, Any]:
        found: dict[str, Any] = {"unknown": []}
        for name in dir(type(thing)):
            if isinstance(getattr(type(thing), name), (property, cached_property)):
                try:
                    found[name] = plain(getattr(thing, name))
                except HTTPError:  # what it takes for granted and eve-meta does not serve
                    found["unknown"].append(name)
        return found

    def plain(value: Any) -> Any:
        match value:
            case bytes():
                return value.decode()
            case PublicKey():
                return value.openssh_key
            case NetworkInterface():
                return properties(value)
            case dict() | InstanceTags():
                return {name: plain(inner) for name, inner in value.items()}
            case _:
                return value

    return properties(EC2Metadata())


def cloudbase_init(password: str) -> dict[str, Any]:
    """Run cloudbase-init's OpenStack service over HTTP: it posts *password* as its plugin does, and then another."""
    from cloudbaseinit.conf import CONF
    from cloudbaseinit.metadata.services.httpservice import HttpService
    from requests import HTTPError

    CONF([])
    # The first would call Windows; the second would retry a refused request for 20 s.
    CONF.set_override("add_metadata_private_ip_route", False, group="openstack")
    CONF.set_override("retry_count", 0)
    service = HttpService()
    if not service.load():
        return {"found": False}
    network = service.get_network_details_v2()
    found = {
        "found": True,
        "instance_id": service.get_instance_id(),
        "hostname": service.get_host_name(),
        "public_keys": sorted(service.get_public_keys()),
        "user_data": service.get_decoded_user_data().decode(),
        "admin_username": service.get_admin_username(),
        "admin_password": service.get_admin_password(),
        "links": [(link.type, link.mac_address, link.mtu) for link in network.links],
        "networks": [
            (each.address_cidr, each.dns_nameservers, [(route.network_cidr, route.gateway) for route in each.routes])
            for each in network.networks
        ],
        "is_linked": {each.link for each in network.networks} == {link.id for link in network.links},
        "can_post_password": service.can_post_password,
        "password_set_before": service.is_password_set,
        "posted": service.post_password(password),
        "password_set_after": service.is_password_set,
    }
    try:
        found["posted_again"] = service.post_password("another")
    except HTTPError as error:  # the service expects urllib's, which requests does not raise
        found["posted_again"] = None if error.response is None else error.response.status_code
    return found


def imdsd(address: str) -> dict[str, Any]:
    """Replay systemd-imdsd's requests to *address*, an IPv4 or an IPv6 address, as systemd 261 makes them by curl.

    Each request is a connection of its own, from a port below 1024 and with a firewall mark.
    """
    ports = iter(range(1, 1024))

    def ask(request: str, *headers: str) -> tuple[int, str]:
        host = f"[{address}]" if ":" in address else address
        text = "\r\n".join((f"{request} HTTP/1.1", f"Host: {host}", "Accept: */*", *headers, "", ""))
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as connection:
            connection.settimeout(10)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, IMDS_MARK)
            while True:
                with contextlib.suppress(OSError):  # the port is in use
                    connection.bind(("", next(ports)))
                    break
            connection.connect((address, 80))
            connection.sendall(text.encode())
            answer = http.client.HTTPResponse(connection, method=request.partition(" ")[0])
            answer.begin()
            return answer.status, answer.read().decode()

    status, token = ask("PUT /latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 900")
    found: dict[str, Any] = {"token": status, "printable": token.isprintable()}
    for key, path in IMDS_KEYS.items():
        status, value = ask(f"GET /latest{path}", f"X-aws-ec2-metadata-token: {token}")
        found[key] = value if status == 200 else status
    return found


IMDS_MARK = 0x7FFF0815

IMDS_KEYS = {
    "hostname": "/meta-data/hostname",
    "region": "/meta-data/placement/region",
    "zone": "/meta-data/placement/availability-zone",
    "ipv4_public": "/meta-data/public-ipv4",
    "ipv6_public": "/meta-data/ipv6",
    "ssh_key": "/meta-data/public-keys/0/openssh-key",
    "userdata": "/user-data",
}
"""The keys of EC2 in systemd's hwdb (40-imds.hwdb)."""

CLIENTS: dict[str, Callable[..., dict[str, Any]]] = {
    client.__name__: client for client in (cloud_init, botocore, ec2_metadata, cloudbase_init, imdsd)
}


def main() -> None:
    """Print what the client named on the command line read, when called with the arguments that follow."""
    logging.basicConfig(level=logging.WARNING)
    json.dump(CLIENTS[sys.argv[1]](*sys.argv[2:]), sys.stdout)


if __name__ == "__main__":
    main()
