"""Hypothesis strategies of the project's values: any domain that :class:`~eve_meta.values.domain.Domain` accepts."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from typing import Any, Literal

from attrs import evolve
from hypothesis import strategies as st

from eve_meta.values import eve_node as eve
from eve_meta.values.domain import Disk, Domain, Ec2, File, Share, TokenPolicy, is_hostname
from eve_meta.values.nic import (
    Bond,
    BondHash,
    BondMode,
    DhcpPolicy,
    DhcpServerPolicy,
    Nic,
    Route,
    Subnet,
    SubnetType,
    Vlan,
)
from eve_meta.values.written import refused

# str.isprintable() refuses these categories (controls and the like, separators) except for the ASCII space.
PRINTABLE = st.characters(exclude_categories=("C", "Z"), include_characters=" ")


def words(limit: int = 20) -> st.SearchStrategy[str]:
    """Lines of 1..*limit* printable characters."""
    return st.text(PRINTABLE, min_size=1, max_size=limit)


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Values of *strategy*, or None for "not given"."""
    return st.none() | strategy


def identifiers(alphabet: str, limit: int) -> st.SearchStrategy[str]:
    """Words of 1..*limit* characters of *alphabet*."""
    return st.text(alphabet, min_size=1, max_size=limit)


LOWER = "abcdefghijklmnopqrstuvwxyz0123456789"

taps = identifiers(LOWER, 15)
macs = st.binary(min_size=6, max_size=6).map(lambda mac: mac.hex(":"))
hostnames = st.lists(identifiers(LOWER, 63), min_size=1, max_size=3).map(".".join)
key_names = words().filter(lambda name: "=" not in name and not name.rstrip().endswith("/"))
keys = st.text(min_size=1).filter(lambda key: bool(key.strip()) and "\0" not in key and key.strip()[0] not in "/~.")
zones = st.sampled_from(["nova", "eu-west-1a", "rack7b"]) | words()
meta_keys = st.sampled_from(["role", "Name", "0=x", "..", "a/b", "x/", "_index", "aws:x"]) | words()
block_devices = st.sampled_from(["ami", "root", "ebs0", "ebs10", "ephemeral0", "swap"])

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
json_mappings = st.dictionaries(st.text(), json_values, max_size=3)


@st.composite
def interfaces(draw: st.DrawFn, version: Literal[4, 6]) -> IPv4Interface | IPv6Interface:
    """An address with its prefix length."""
    address = draw(st.ip_addresses(v=version))
    if version == 4:
        return IPv4Interface((int(address), draw(st.integers(0, 32))))
    return IPv6Interface((int(address), draw(st.integers(0, 128))))


@st.composite
def networks(draw: st.DrawFn, version: Literal[4, 6]) -> IPv4Network | IPv6Network:
    """A network with no bit set beyond its prefix."""
    return draw(interfaces(version)).network


@st.composite
def subnets(draw: st.DrawFn) -> Subnet:
    """A subnet of any type."""
    kind = draw(st.sampled_from(SubnetType))
    version: Literal[4, 6] = 4 if kind.version == 4 else 6
    own_address = interfaces(version)
    own_addresses = st.ip_addresses(v=version)
    route = st.builds(Route, to=networks(version), via=own_addresses)
    return Subnet(
        type=kind,
        address=draw(own_address if kind.static else optional(own_address)),
        gateway=draw(optional(own_addresses)),
        dns=tuple(draw(st.lists(st.ip_addresses(), max_size=3))),
        routes=tuple(draw(st.lists(route, max_size=3))),
        floating=tuple(draw(st.lists(st.ip_addresses(), max_size=2))),
    )


tags = st.lists(words().filter(lambda tag: "," not in tag), max_size=2).map(tuple)

nics = st.builds(
    Nic,
    tap=optional(taps),
    mac=optional(macs),
    id=optional(st.uuids()),
    network_id=optional(st.uuids()),
    type=st.sampled_from(["tap", "ovs", "bridge", "hw_veb", "phy", "ethernet", "macvtap", "vlan", "bond"]) | words(),
    link=optional(words() | st.sampled_from(["interface0", "interface1", "eth0", "eth0.7"])),
    mtu=optional(st.integers(68, 65535)),
    vlan=optional(st.integers(1, 4094)),
    trusted=optional(st.booleans()),
    bus=optional(words()),
    address=optional(words()),
    tags=tags,
    subnets=st.lists(subnets(), max_size=3).map(tuple),
    dhcp=optional(st.sampled_from(DhcpPolicy)),
    dhcp_server=optional(st.sampled_from(DhcpServerPolicy)),
)

vlans = st.builds(
    Vlan,
    id=st.integers(1, 4094),
    network_id=optional(st.uuids()),
    mtu=optional(st.integers(68, 65535)),
    subnets=st.lists(subnets(), max_size=2).map(tuple),
)


@st.composite
def bonds(draw: st.DrawFn, members: tuple[str, ...]) -> Bond:
    """A bond of some of the NICs whose taps or MAC addresses are *members*, or of others."""
    mode = draw(st.sampled_from(BondMode))
    return Bond(
        nics=tuple(draw(st.lists(st.sampled_from(members) | taps, min_size=1, max_size=3, unique=True))),
        mode=mode,
        xmit_hash_policy=draw(optional(st.sampled_from(BondHash))) if mode.hashes else None,
        miimon=draw(optional(st.integers(1, 60_000))),
        mac=draw(optional(macs)),
        id=draw(optional(st.uuids())),
        network_id=draw(optional(st.uuids())),
        mtu=draw(optional(st.integers(68, 65535))),
        subnets=tuple(draw(st.lists(subnets(), max_size=2))),
        vlans=tuple(draw(st.lists(vlans, max_size=2, unique_by=lambda vlan: vlan.id))),
    )


disks = st.builds(
    Disk, bus=optional(words()), address=optional(words()), serial=optional(words()), path=optional(words()), tags=tags
)
shares = st.builds(Share, share_id=st.uuids(), tag=words())
files = st.builds(File, path=words().map("/{}".format), content=st.binary(max_size=64))

ec2 = st.builds(
    Ec2,
    instance_id=optional(words().map("i-{}".format)),
    ami_id=optional(words()),
    kernel_id=optional(words()),
    ramdisk_id=optional(words()),
    reservation_id=optional(words()),
    instance_type=optional(words()),
    security_groups=st.lists(words(), max_size=3).map(tuple),
    public_ipv4=optional(st.ip_addresses(v=4)),
    block_device_mapping=st.dictionaries(block_devices, st.text(), max_size=3),
    region=optional(words()),
)


adapters = st.builds(
    eve.Adapter,
    taps=st.lists(taps, max_size=2).map(tuple),
    external_ipv4=optional(st.lists(st.ip_addresses(v=4), max_size=2).map(tuple)),
    may_discover=st.booleans(),
)
devices = st.builds(eve.Device, name=st.text(), project_name=st.text(), enterprise_id=st.text())
ports = st.builds(eve.Port, name=taps, address=st.ip_addresses())
applications = st.builds(
    eve.Application,
    openstack=st.booleans(),
    adapters=st.lists(adapters, max_size=2).map(tuple),
    device=optional(devices),
    others=st.dictionaries(st.uuids().map(str), st.lists(ports, max_size=2).map(tuple), max_size=2),
)


@st.composite
def domains(draw: st.DrawFn) -> Domain:
    """Any domain."""
    uuid = draw(optional(st.uuids()))
    its_nics = tuple(draw(st.lists(nics, max_size=4, unique_by=lambda nic: nic.tap or object())))
    members = tuple(dict.fromkeys(name for nic in its_nics for name in (nic.tap, nic.mac) if name))
    return Domain(
        uuid=uuid,
        name=draw(words() if uuid is None else optional(words())),
        hostname=draw(optional(hostnames)),
        project_id=draw(optional(words())),
        availability_zone=draw(optional(zones)),
        launch_index=draw(optional(st.integers(0, 2**31 - 1))),
        ec2=draw(ec2),
        meta=draw(st.dictionaries(meta_keys, st.text(), max_size=3)),
        public_keys=draw(st.dictionaries(key_names, keys, max_size=12)),
        user_data=draw(optional(st.binary(max_size=64))),
        vendor_data=draw(json_mappings),
        vendor_data2=draw(json_mappings),
        files=tuple(draw(st.lists(files, max_size=3))),
        tokens=draw(optional(st.sampled_from(TokenPolicy))),
        dhcp=draw(optional(st.sampled_from(DhcpPolicy))),
        dhcp_server=draw(optional(st.sampled_from(DhcpServerPolicy))),
        nics=its_nics,
        bonds=tuple(draw(st.lists(bonds(members), max_size=1))) if members else (),
        search=tuple(draw(st.lists(hostnames.filter(is_hostname), max_size=2, unique=True))),
        disks=tuple(draw(st.lists(disks, max_size=2))),
        shares=tuple(draw(st.lists(shares, max_size=2))),
        dedicated_cpus=tuple(draw(st.lists(st.integers(0, 2**20), max_size=4))),
    )


def written_domains() -> st.SearchStrategy[Domain]:
    """Any domain that a person may write."""
    # Most bonds are refused, as their NICs have subnets or are none of the domain's.
    fit = domains().map(lambda domain: evolve(domain, bonds=()) if any(refused(domain)) else domain)
    return fit.filter(lambda domain: not any(refused(domain)))
