"""Run within a guest: print as JSON what a client that others wrote reads from 169.254.169.254.

Each run imports the one client that it needs: importing all of them takes seconds.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from collections.abc import Callable
from functools import cached_property
from typing import Any


def cloud_init(platform: str) -> dict[str, Any]:
    """Run cloud-init's Ec2 datasource. On *platform* "aws" it insists on a token; elsewhere it asks for none."""
    from harness.guest_cloud_init import AWS, datasource, hostname

    with tempfile.TemporaryDirectory() as folder:
        source = datasource("Ec2", folder, AWS if platform == "aws" else {}, max_wait=5)
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


CLIENTS: dict[str, Callable[..., dict[str, Any]]] = {
    client.__name__: client for client in (cloud_init, botocore, ec2_metadata, cloudbase_init)
}


def main() -> None:
    """Print what the client named on the command line read, when called with the arguments that follow."""
    logging.basicConfig(level=logging.WARNING)
    json.dump(CLIENTS[sys.argv[1]](*sys.argv[2:]), sys.stdout)


if __name__ == "__main__":
    main()
