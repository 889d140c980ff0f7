"""The values: a domain and what belongs to it.

A domain is a VM as its hypervisor knows it. Every value here is frozen and refuses bad input where it is made, with a
:class:`BadValue` that says what was expected and quotes what it got, so that whoever holds a :class:`Domain` holds a
good one. Nothing here reads a file, a socket or a clock.

``None``, empty tuples and empty mappings mean "not said", which lets one source of the inventory complete another.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid5

from attrs import Attribute, field, frozen

from eve_meta.values.checks import BadValue, check, optional, printable, quote, quote_where_text_belongs, whole
from eve_meta.values.eve_node import Application

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

NAMESPACE = UUID("5c3f2d3e-8f0e-5b0a-9a55-169254169254")
"""The uuid5 namespace of domains that have only a name: the same name gives the same uuid on every host and day."""

MAX_USER_DATA = 16 * 1024 * 1024
"""Bytes of user data. Guests must get 1 MiB at least; nova stores 64 KiB, EVE 1 MiB, AWS 16 KiB."""

MAX_NAME = 255
"""Characters of a name: what libvirt and nova's ``instances.display_name`` hold."""

IFNAMSIZ = 15
"""Bytes of a network device's name (``linux/if.h``, without its final NUL)."""

_HOSTNAME_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)\Z")
_BLOCK_DEVICE = re.compile(r"[A-Za-z][A-Za-z0-9_-]*\Z")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")


OF_A_SOURCE: Mapping[str, bool] = MappingProxyType({"of_a_source": True})
"""The ``metadata`` of a field that a source of the inventory fills in, and nobody may write."""


class TokenPolicy(str, enum.Enum):
    """Whether a guest's requests need a session token (AWS's ``HttpTokens``)."""

    OPTIONAL = "optional"
    REQUIRED = "required"
    OFF = "off"


class SubnetType(str, enum.Enum):
    """How a guest gets its address: the ``type`` of a network in nova's ``network_data.json``."""

    IPV4 = "ipv4"
    IPV4_DHCP = "ipv4_dhcp"
    IPV6 = "ipv6"
    IPV6_DHCP = "ipv6_dhcp"
    IPV6_SLAAC = "ipv6_slaac"
    IPV6_DHCPV6_STATEFUL = "ipv6_dhcpv6-stateful"
    IPV6_DHCPV6_STATELESS = "ipv6_dhcpv6-stateless"

    @property
    def version(self) -> int:
        """4 or 6."""
        return 4 if self.value.startswith("ipv4") else 6

    @property
    def static(self) -> bool:
        """Whether the guest has no other way to learn its address than from us."""
        return self in (SubnetType.IPV4, SubnetType.IPV6)


# -- validators: each raises BadValue("expected …, got …") --


_NAME = check(f"1..{MAX_NAME} printable characters", lambda v: printable(v, MAX_NAME))
_TEXT = check("a line of printable characters", lambda v: printable(v, 1024))
_TAGS = check(
    "tags of printable characters without a comma",
    lambda v: all(printable(tag, 60) and "," not in tag for tag in v),
)
_GROUPS = check("names of printable characters", lambda v: all(printable(group, MAX_NAME) for group in v))
_MTU = check("an MTU of 68..65535 bytes", lambda v: whole(v, 68, 65535))
_VLAN = check("a VLAN id of 1..4094", lambda v: whole(v, 1, 4094))


def is_hostname(text: str) -> bool:
    """Whether *text* is a host name of at most 253 characters: RFC 1123 labels, and underscores for Windows guests."""
    return len(text) <= 253 and all(_HOSTNAME_LABEL.match(label) for label in text.split("."))


def is_device_name(text: str) -> bool:
    """Whether *text* can be a network device's name (``dev_valid_name()`` in the kernel's ``net/core/dev.c``)."""
    return (
        0 < len(text.encode()) <= IFNAMSIZ
        and text not in (".", "..")
        and not any(c in "/:" or c.isspace() for c in text)
        and text.isprintable()
    )


_DEVICE = check(f"a network device's name, at most {IFNAMSIZ} bytes without '/', ':' or space", is_device_name)


def _json_mapping(_instance: Any, attribute: Attribute[Any], value: Any) -> None:
    if not isinstance(value, Mapping):
        raise BadValue(f"expected a mapping, got {quote(value)}", attribute.name)
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BadValue(f"expected values that JSON can hold, but {error}", attribute.name) from None
    _string_keys(value, attribute.name)


def _string_keys(value: Any, name: str) -> None:
    # json.dumps turns the keys 1, true and null into strings without a word; what the guest reads would not be what
    # was written.
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise BadValue(f"expected keys that are strings, got {quote_where_text_belongs(key)}", name)
            _string_keys(inner, name)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _string_keys(inner, name)


def _text_mapping(_instance: Any, attribute: Attribute[Any], value: Mapping[Any, Any]) -> None:
    for key, text in value.items():
        if not isinstance(key, str) or not printable(key, MAX_NAME):
            got = quote_where_text_belongs(key)
            raise BadValue(f"expected keys of 1..{MAX_NAME} printable characters, got {got}", attribute.name)
        if not isinstance(text, str):
            raise BadValue(f"expected a string for {key!r}, got {quote_where_text_belongs(text)}", attribute.name)
        if any("\ud800" <= character <= "\udfff" for character in text):
            # JSON can carry half a character; the bytes that guests read cannot.
            raise BadValue(f"expected whole characters for {key!r}, got {quote(text)}", attribute.name)


def _key_mapping(instance: Any, attribute: Attribute[Any], value: Mapping[Any, Any]) -> None:
    _text_mapping(instance, attribute, value)
    for name, key in value.items():
        # Afterburn and CirrOS split each line "0=name" of public-keys at "=" and want exactly one.
        if "=" in name:
            raise BadValue(f"expected a key name without '=', got {name!r}: guests cannot read one", attribute.name)
        # cloud-init takes a line that ends in "/" for a directory.
        if name.rstrip().endswith("/"):
            raise BadValue(f"expected a key name without '/' at its end, got {name!r}", attribute.name)
        if not key.strip() or "\0" in key:
            raise BadValue(f"expected a public key for {name!r}, got {quote(key)}", attribute.name)


def _user_data(_instance: Any, attribute: Attribute[Any], value: bytes) -> None:
    # Not quoted: it holds secrets.
    if len(value) > MAX_USER_DATA:
        raise BadValue(f"expected at most {MAX_USER_DATA} bytes of user data, got {len(value)}", attribute.name)


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _sorted_once(cpus: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(set(cpus)))


_MAC_ADDRESS = check("a MAC address such as fa:16:3e:00:00:01", lambda v: isinstance(v, str) and bool(_MAC.match(v)))


# -- values --


@frozen(kw_only=True)
class Route:
    """A route that a guest is told: to the network *to*, through the router *via*."""

    to: Network
    via: Address

    def __attrs_post_init__(self) -> None:
        if self.to.version != self.via.version:
            raise BadValue(f"expected 'via' of IP version {self.to.version} as in 'to', got {str(self.via)!r}", "via")


@frozen(kw_only=True)
class Subnet:
    """One way by which a NIC gets an address, and what belongs to it.

    A static type needs an *address*; for the others it is what the guest is known to get (EC2's ``local-ipv4``).
    *floating* are addresses of other networks that lead here (EC2's ``public-ipv4``).
    """

    type: SubnetType
    address: Interface | None = None
    gateway: Address | None = None
    dns: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    floating: tuple[Address, ...] = ()

    def __attrs_post_init__(self) -> None:
        version = self.type.version
        if self.type.static and self.address is None:
            raise BadValue(
                f"expected an 'address' such as 10.1.2.10/24 for type {self.type.value!r}, got none", "address"
            )
        for name, value in (("address", self.address), ("gateway", self.gateway)):
            if value is not None and value.version != version:
                raise BadValue(f"expected {name!r} of IP version {version}, got {str(value)!r}", name)
        for route in self.routes:
            if route.to.version != version:
                raise BadValue(f"expected 'routes' of IP version {version}, got {str(route.to)!r}", "routes")


@frozen(kw_only=True)
class Nic:
    """A domain's network interface. *tap* is the host's end of it; *link* its id in ``network_data.json``.

    Guests are told the *type* "tap" where none is said.
    """

    tap: str | None = field(default=None, validator=optional(_DEVICE))
    mac: str | None = field(default=None, converter=_lower, validator=optional(_MAC_ADDRESS))
    id: UUID | None = None
    network_id: UUID | None = None
    type: str | None = field(default=None, validator=optional(_TEXT))
    link: str | None = field(default=None, validator=optional(_TEXT))
    mtu: int | None = field(default=None, validator=optional(_MTU))
    vlan: int | None = field(default=None, validator=optional(_VLAN))
    trusted: bool | None = None
    bus: str | None = field(default=None, validator=optional(_TEXT))
    address: str | None = field(default=None, validator=optional(_TEXT))
    tags: tuple[str, ...] = field(default=(), validator=_TAGS)
    subnets: tuple[Subnet, ...] = ()


@frozen(kw_only=True)
class Disk:
    """A domain's disk, as ``devices`` of ``meta_data.json`` shows it."""

    bus: str | None = field(default=None, validator=optional(_TEXT))
    address: str | None = field(default=None, validator=optional(_TEXT))
    serial: str | None = field(default=None, validator=optional(_TEXT))
    path: str | None = field(default=None, validator=optional(_TEXT))
    tags: tuple[str, ...] = field(default=(), validator=_TAGS)


@frozen(kw_only=True)
class Share:
    """A file share that is mounted into a domain (nova's ``share`` devices)."""

    share_id: UUID
    tag: str = field(validator=_TEXT)


@frozen(kw_only=True)
class File:
    """A file that the guest is to write: *path* there, *content* byte for byte."""

    path: str = field(validator=check("an absolute path", lambda v: printable(v, 4096) and v.startswith("/")))
    content: bytes = b""


@frozen(kw_only=True)
class Ec2:
    """What only the EC2-compatible tree shows. Where *instance_id* is None one is made from the uuid."""

    instance_id: str | None = field(
        default=None,
        # CirrOS asks until the id begins with "i-".
        validator=optional(check('an id that begins with "i-"', lambda v: printable(v, 255) and v.startswith("i-"))),
    )
    ami_id: str | None = field(default=None, validator=optional(_TEXT))
    kernel_id: str | None = field(default=None, validator=optional(_TEXT))
    ramdisk_id: str | None = field(default=None, validator=optional(_TEXT))
    reservation_id: str | None = field(default=None, validator=optional(_TEXT))
    instance_type: str | None = field(default=None, validator=optional(_TEXT))
    security_groups: tuple[str, ...] = field(default=(), validator=_GROUPS)
    public_ipv4: IPv4Address | None = None
    block_device_mapping: Mapping[str, str] = field(factory=dict, validator=_text_mapping)
    region: str | None = field(default=None, validator=optional(_TEXT))

    def __attrs_post_init__(self) -> None:
        for name in self.block_device_mapping:
            # A name becomes a line of a listing and a segment of a path; cloud-init takes "0=x" for a public key.
            if not _BLOCK_DEVICE.match(name):
                raise BadValue(
                    f"expected names such as ami, root, ebs0 or swap, got {quote(name)}", "block_device_mapping"
                )


@frozen(kw_only=True)
class Domain:
    """A VM and everything that it is told. At least one of *uuid* and *name* is given.

    Guests are told the *launch_index* 0 where none is said. *eve* is what it has beside that as an application of an
    EVE-OS node.
    """

    uuid: UUID | None = None
    name: str | None = field(default=None, validator=optional(_NAME))
    hostname: str | None = field(
        default=None,
        validator=optional(
            check("a host name such as web1.example.org", lambda v: isinstance(v, str) and is_hostname(v))
        ),
    )
    project_id: str | None = field(default=None, validator=optional(_TEXT))
    availability_zone: str | None = field(default=None, validator=optional(_TEXT))
    launch_index: int | None = field(
        default=None, validator=optional(check("a whole number from 0", lambda v: whole(v, 0, 2**31 - 1)))
    )
    ec2: Ec2 = field(factory=Ec2)
    meta: Mapping[str, str] = field(factory=dict, validator=_text_mapping)
    public_keys: Mapping[str, str] = field(factory=dict, validator=_key_mapping)
    user_data: bytes | None = field(
        default=None,
        repr=False,  # secrets do not belong into a log
        validator=optional(_user_data),
    )
    vendor_data: Mapping[str, Any] = field(factory=dict, repr=False, validator=_json_mapping)
    vendor_data2: Mapping[str, Any] = field(factory=dict, repr=False, validator=_json_mapping)
    files: tuple[File, ...] = field(default=(), repr=False)
    tokens: TokenPolicy | None = None
    nics: tuple[Nic, ...] = ()
    disks: tuple[Disk, ...] = ()
    shares: tuple[Share, ...] = ()
    dedicated_cpus: tuple[int, ...] = field(
        default=(),
        converter=_sorted_once,
        validator=check("CPU numbers from 0", lambda v: all(whole(cpu, 0, 2**20) for cpu in v)),
    )
    eve: Application | None = field(default=None, metadata=OF_A_SOURCE)

    def __attrs_post_init__(self) -> None:
        if self.uuid is None and self.name is None:
            raise BadValue("expected a 'uuid' or a 'name', got neither")
        taps = self.taps
        for tap in taps:
            if taps.count(tap) > 1:
                raise BadValue(f"expected each tap once in 'nics', got {tap!r} twice", "nics")

    @property
    def taps(self) -> tuple[str, ...]:
        """The taps of its NICs, of those that say one."""
        return tuple(nic.tap for nic in self.nics if nic.tap is not None)

    @property
    def instance_uuid(self) -> UUID:
        """The uuid that guests are told: *uuid*, else one made from the name."""
        return self.uuid if self.uuid is not None else uuid5(NAMESPACE, str(self.name))

    @property
    def display_name(self) -> str:
        """The name for people and for the ``name`` key: *name*, else the uuid."""
        return self.name if self.name is not None else str(self.uuid)

    @property
    def guest_hostname(self) -> str:
        """The host name that guests are told: *hostname*, else one made from the name.

        As nova's ``utils.sanitize_hostname``: spaces and underscores become "-", other foreign characters vanish.
        """
        if self.hostname is not None:
            return self.hostname
        name = re.sub(r"[ _]", "-", self.display_name).lower()
        name = re.sub(r"[^a-z0-9.-]+", "", name)
        labels = [label.strip("-")[:63].strip("-") for label in name.split(".")]
        made = ".".join(label for label in labels if label)[:253].rstrip(".-")
        return made or f"server-{self.instance_uuid}"
