"""Helpers to read documents by the paths that guests write, and a domain that has everything."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any
from uuid import UUID

from eve_meta.documents.document import Document
from eve_meta.documents.tree import Tree
from eve_meta.values.domain import Disk, Domain, Ec2, File, Share
from eve_meta.values.nic import Nic, Route, Subnet, SubnetType

TODAY = datetime.date(2026, 1, 1)

SEED = bytes(range(256)) * 2

FULL = Domain(
    uuid=UUID("1a831fa7-c50b-4693-a16e-fb8171f1b69e"),
    name="web 1 ü",
    hostname="web1.example.org",
    project_id="6f70656e737461636b",
    availability_zone="nova",
    launch_index=3,
    ec2=Ec2(
        instance_id="i-0000002a",
        ami_id="ami-00000001",
        kernel_id="aki-00000002",
        ramdisk_id="ari-00000003",
        reservation_id="r-abcdefgh",
        instance_type="m1.small",
        security_groups=("default", "web"),
        block_device_mapping={
            "ami": "vda",
            "root": "/dev/vda",
            "ebs0": "/dev/vdb",
            "ephemeral0": "/dev/vdc",
            "swap": "/dev/vdd",
        },
    ),
    meta={"role": "web"},
    public_keys={"alice": "ssh-ed25519 AAAA alice@example\n"},
    user_data=b"#cloud-config\n",
    vendor_data={"cloud-init": "#cloud-config\n{}"},
    vendor_data2={"cloud-init": "#cloud-config\n{}", "static": {}},
    files=(File(path="/etc/motd", content=b"hello"), File(path="/etc/blob", content=b"\x1f\x8b\xff\0")),
    nics=(
        Nic(
            tap="vnet0",
            mac="fa:16:3e:00:00:01",
            id=UUID("b0000000-0000-4000-8000-000000000000"),
            network_id=UUID("a0000000-0000-4000-8000-000000000000"),
            type="ovs",
            mtu=1450,
            bus="pci",
            address="0000:00:03.0",
            tags=("public",),
            subnets=(
                Subnet(
                    type=SubnetType.IPV4,
                    address=ip_interface("10.1.2.10/24"),
                    gateway=ip_address("10.1.2.1"),
                    dns=(ip_address("10.1.2.2"),),
                    routes=(Route(to=ip_network("192.168.50.0/24"), via=ip_address("10.1.2.254")),),
                    floating=(ip_address("203.0.113.7"),),
                ),
            ),
        ),
    ),
    disks=(Disk(bus="scsi", address="0:0:1:0", serial="vol-1", path="/dev/sda", tags=("data",)),),
    shares=(Share(share_id=UUID("ca3c176e-fd5a-438b-b595-e18a358f6909"), tag="home"),),
    dedicated_cpus=(3, 2),
)

BARE = Domain(uuid=UUID("1a831fa7-c50b-4693-a16e-fb8171f1b69e"))


def find(
    source: Domain | Tree, path: str, *, peer: str = "198.51.100.9", today: datetime.date = TODAY
) -> Document | None:
    """Return the document at *path*, which is normalised as a worker does it."""
    tree = source if isinstance(source, Tree) else Tree(source)
    return tree.find(tuple(segment for segment in path.split("/") if segment), peer=peer, today=today)


def read(source: Domain | Tree, path: str, *, peer: str = "198.51.100.9", today: datetime.date = TODAY) -> str | None:
    """Return the body at *path* as text, None for a 404."""
    document = find(source, path, peer=peer, today=today)
    return None if document is None else bytes(document.render(SEED)).decode()


def crawl(tree: Tree, path: str) -> Iterator[str]:
    """Yield the leaves below the directory *path*, found by listings, as a guest finds them."""
    listing = read(tree, path)
    assert listing is not None, path
    for line in listing.splitlines():
        number, equals, _ = line.partition("=")
        if line.endswith("/"):
            yield from crawl(tree, f"{path}/{line.rstrip('/')}")
        elif path.endswith("/public-keys") and equals:
            yield from crawl(tree, f"{path}/{number}")
        else:
            yield f"{path}/{line}"


def load(source: Domain | Tree, path: str) -> Any:
    """Return the JSON at *path*."""
    text = read(source, path)
    assert text is not None
    return json.loads(text)


def network_data_of(*nics: Nic) -> Any:
    """Return the ``network_data.json`` of a domain with *nics*."""
    return load(Domain(name="vm", nics=nics), "/openstack/latest/network_data.json")


def static(address: str, **more: Any) -> Subnet:
    """Make a static subnet of the IP version of *address*."""
    interface = ip_interface(address)
    kind = SubnetType.IPV4 if interface.version == 4 else SubnetType.IPV6
    return Subnet(type=kind, address=interface, **more)


def nic(*subnets: Subnet, **more: Any) -> Nic:
    """Make a NIC with a tap and a MAC address."""
    return Nic(**{"tap": "vnet0", "mac": "fa:16:3e:00:00:01", "subnets": subnets, **more})


def routes(pairs: Iterable[tuple[str, str]]) -> tuple[Route, ...]:
    """Make routes from pairs of texts, (network, router)."""
    return tuple(Route(to=ip_network(to), via=ip_address(via)) for to, via in pairs)
