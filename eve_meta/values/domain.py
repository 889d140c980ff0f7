"""A domain and its parts, as values.

A domain is a VM as its hypervisor knows it. Each value is frozen and refuses bad input when it is made, by raising a
:class:`~eve_meta.values.checks.BadValue` that names what was expected and quotes what it got. So whoever holds a
:class:`Domain` holds a good one.

``None``, an empty tuple and an empty mapping mean "not given", so that one source of the inventory can complete
another.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterable, Mapping
from copy import copy
from ipaddress import IPv4Address
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid5

from attrs import Attribute, converters, field, fields_dict, frozen

from eve_meta.values.checks import (
    DEVICE_TAGS,
    SECRET,
    TEXT_LINE,
    BadValue,
    check,
    is_secret,
    is_whole_number,
    name_type,
    optional,
    quote,
    quote_where_text_belongs,
    secret,
)
from eve_meta.values.content import EMPTY, Content, content_of
from eve_meta.values.eve_node import Application
from eve_meta.values.nic import Bond, DhcpPolicy, DhcpServerPolicy, Nic, Subnet, Vlan
from eve_meta.values.public_key import mistaken
from eve_meta.values.text import is_printable

NAMESPACE = UUID("5c3f2d3e-8f0e-5b0a-9a55-169254169254")
"""The uuid5 namespace of domains that have only a name: the same name gives the same uuid on every host and day."""

METADATA_NAMESPACE = "urn:eve-meta:domain:1"
"""The XML namespace of eve-meta's element in the ``<metadata>`` of a libvirt domain. It is no URL: there is nothing to
fetch."""

MAX_USER_DATA = 16 * 1024 * 1024
"""The most bytes of user data. Guests must get 1 MiB at least; nova stores 64 KiB, EVE 1 MiB, AWS 16 KiB."""

MAX_MAPPING = 256 * 1024
"""The most bytes of each of ``vendor_data``, ``vendor_data2``, ``meta``, ``public_keys`` and ``block_device_mapping``,
as JSON. Unlike user data they are decoded, not only passed on, when a guest asks after a while, and all guests wait for
that. Real ones have some KiB; nova's limit for its metadata is 128 values of 255 characters."""

MAX_NAME = 255
"""The most characters of a name: as many as libvirt and nova's ``instances.display_name`` hold."""

MAX_PROFILES = 32
"""The most profiles that one place names for a domain. Each time that one of them changes, all are merged again."""

OF_ONE_DOMAIN = frozenset(
    (
        *("uuid", "name", "hostname", "launch_index", "profiles", "nics", "disks", "dedicated_cpus"),
        *("ec2.instance_id", "ec2.public_ipv4", "ec2.reservation_id"),
    )
)
"""The fields that no two domains have in common, so that no profile may have them."""

_HOSTNAME_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)\Z")
HOSTNAME_PATTERN = r"^{0}(\.{0})*$".format("[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
"""A regular expression, as of ECMAScript, that matches host names, but for their length."""

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_BLOCK_DEVICE = re.compile(r"[A-Za-z][A-Za-z0-9_-]*\Z")


OF_A_SOURCE: Mapping[str, bool] = MappingProxyType({"of_a_source": True})
"""The ``metadata`` of a field that only a source of the inventory fills in: no person may write it."""


class TokenPolicy(str, enum.Enum):
    """Whether a guest's requests need a session token (AWS's ``HttpTokens``)."""

    OPTIONAL = "optional"
    REQUIRED = "required"
    OFF = "off"


# -- validators: each raises BadValue("expected …, got …") --


MAX_NICS = 256
"""The most NICs of a domain that one place may describe, far above what a machine has slots for. Merging the lists of
two places costs their product."""

MAX_DISKS = 1024
"""The most disks of a domain that one place may describe. A virtio-scsi controller takes 16,383, of which people use
hundreds at the most."""

MAX_SEARCH = 32
"""The most search domains. glibc took six before version 2.26; beyond some, a guest asks for each name too often."""

_NAME = check(
    f"1..{MAX_NAME} printable characters", lambda v: is_printable(v, MAX_NAME), minLength=1, maxLength=MAX_NAME
)
_GROUPS = check(
    "names of printable characters",
    lambda v: all(is_printable(group, MAX_NAME) for group in v),
    items={"minLength": 1, "maxLength": MAX_NAME},
)


def is_profile_name(name: Any) -> bool:
    """Return whether *name* can be that of a profile, whose file is called so."""
    return is_printable(name, MAX_NAME) and "/" not in name and not name.startswith(".")


def is_hostname(text: str) -> bool:
    """Return whether *text* is a host name: RFC 1123's labels, of 253 characters at most.

    Underscores are accepted, too, which Windows guests have in their names.
    """
    return len(text) <= 253 and all(_HOSTNAME_LABEL.match(label) for label in text.split("."))


_PROFILES = check(
    f"at most {MAX_PROFILES} names of profiles, each once",
    lambda v: len(v) <= MAX_PROFILES and all(map(is_profile_name, v)) and len(set(v)) == len(v),
    maxItems=MAX_PROFILES,
    uniqueItems=True,
    items={"minLength": 1, "maxLength": MAX_NAME, "pattern": "^[^./][^/]*$"},
)


def _json_mapping(_instance: Any, attribute: Attribute[Any], value: Any) -> None:
    if not isinstance(value, Mapping):
        raise BadValue(f"expected a mapping, got {name_type(value)}", attribute.name)
    _string_keys(value, attribute.name, ())
    try:
        size = len(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        # Python's own error is not passed on: it may quote the value, which may be a secret.
        raise BadValue(
            "expected values that JSON can hold, got others, such as a date or .nan", attribute.name
        ) from None
    _limit(size, attribute)


def _limit(size: int, attribute: Attribute[Any]) -> None:
    if size > MAX_MAPPING:
        raise BadValue(f"expected at most {MAX_MAPPING} bytes as JSON, got {size}", attribute.name)


def _string_keys(value: Any, name: str, steps: tuple[Any, ...]) -> None:
    # json.dumps silently turns the keys 1, true and null into strings: the guest would read other keys than those that
    # somebody wrote.
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                got = quote_where_text_belongs(key, hidden=True)
                raise BadValue(f"expected keys that are strings, got {got}", name, (*steps, key))
            if not isinstance(inner, str):  # of most values this saves a call
                _string_keys(inner, name, (*steps, key))
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            if not isinstance(inner, str):
                _string_keys(inner, name, (*steps, index))


def _text_mapping(_instance: Any, attribute: Attribute[Any], value: Mapping[Any, Any]) -> None:
    hidden = is_secret(attribute)
    for key, text in value.items():
        if not isinstance(key, str) or not is_printable(key, MAX_NAME):
            got = quote_where_text_belongs(key, hidden=hidden)
            raise BadValue(f"expected keys of 1..{MAX_NAME} printable characters, got {got}", attribute.name, (key,))
        if not isinstance(text, str):
            got = quote_where_text_belongs(text, hidden=hidden)
            raise BadValue(f"expected a string, got {got}", attribute.name, (key,))
        if _HALF_CHARACTER.search(text):
            # JSON can carry half a character (a lone surrogate); UTF-8, which guests read, cannot.
            raise BadValue("expected whole characters, got half of one", attribute.name, (key,))
    _limit(len(json.dumps(value if isinstance(value, dict) else dict(value))), attribute)


def _key_mapping(instance: Any, attribute: Attribute[Any], value: Mapping[Any, Any]) -> None:
    _text_mapping(instance, attribute, value)
    for name, key in value.items():
        # Afterburn and CirrOS split each line "0=name" of public-keys at "=" and want exactly one "=".
        if "=" in name:
            raise BadValue("expected a key name without '=', which guests cannot read", attribute.name, (name,))
        # cloud-init takes a line that ends in "/" for a directory.
        if name.rstrip().endswith("/"):
            raise BadValue("expected a key name without '/' at its end", attribute.name, (name,))
        if (what := mistaken(key)) is not None:
            raise BadValue(what, attribute.name, (name,))


def _user_data(_instance: Any, attribute: Attribute[Any], value: Content) -> None:
    if len(value) > MAX_USER_DATA:
        raise BadValue(f"expected at most {MAX_USER_DATA} bytes of user data, got {len(value)}", attribute.name)


def _sorted_once(cpus: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(set(cpus)))


# -- values --


@frozen(kw_only=True)
class Disk:
    """A disk of a domain, as the ``devices`` of ``meta_data.json`` describe it.

    :ivar bus: the bus on which the guest finds the disk, such as ``scsi``.
    :ivar address: the disk's address on that bus.
    :ivar serial: the disk's serial number.
    :ivar path: the disk's device file.
    :ivar tags: the owner's tags of the disk.
    """

    bus: str | None = field(default=None, validator=optional(TEXT_LINE))
    address: str | None = field(default=None, validator=optional(TEXT_LINE))
    serial: str | None = field(default=None, validator=optional(TEXT_LINE))
    path: str | None = field(default=None, validator=optional(TEXT_LINE))
    tags: tuple[str, ...] = field(default=(), validator=DEVICE_TAGS)


@frozen(kw_only=True)
class Share:
    """A file share that a domain can mount (a ``share`` among nova's ``devices``).

    :ivar share_id: the share's id.
    :ivar tag: the tag by which the guest mounts the share.
    """

    share_id: UUID
    tag: str = field(validator=TEXT_LINE)


@frozen(kw_only=True)
class File:
    """A file that the guest is to write: *content*, byte for byte, to *path*.

    :ivar path: where the guest writes the file.
    :ivar content: what the file has, as text.
    """

    path: str = field(
        validator=check(
            "an absolute path", lambda v: is_printable(v, 4096) and v.startswith("/"), maxLength=4096, pattern="^/"
        )
    )
    content: Content = field(default=EMPTY, converter=content_of, repr=False, metadata=SECRET)


@frozen(kw_only=True)
class Ec2:
    """Values that only the EC2-compatible tree has.

    :ivar instance_id: ``instance-id``; one is made from the uuid where it is missing.
    :ivar ami_id: ``ami-id``.
    :ivar kernel_id: ``kernel-id``.
    :ivar ramdisk_id: ``ramdisk-id``.
    :ivar reservation_id: ``reservation-id``.
    :ivar instance_type: ``instance-type``.
    :ivar security_groups: ``security-groups``.
    :ivar public_ipv4: ``public-ipv4``.
    :ivar block_device_mapping: ``block-device-mapping/``: devices by names such as ``ami``, ``root`` and ``ebs0``.
    :ivar region: ``placement/region``.
    """

    instance_id: str | None = field(
        default=None,
        # CirrOS repeats its request until the id begins with "i-".
        validator=optional(
            check(
                'an id that begins with "i-"',
                lambda v: is_printable(v, 255) and v.startswith("i-"),
                maxLength=255,
                pattern="^i-",
            )
        ),
    )
    ami_id: str | None = field(default=None, validator=optional(TEXT_LINE))
    kernel_id: str | None = field(default=None, validator=optional(TEXT_LINE))
    ramdisk_id: str | None = field(default=None, validator=optional(TEXT_LINE))
    reservation_id: str | None = field(default=None, validator=optional(TEXT_LINE))
    instance_type: str | None = field(default=None, validator=optional(TEXT_LINE))
    security_groups: tuple[str, ...] = field(default=(), validator=_GROUPS)
    public_ipv4: IPv4Address | None = None
    block_device_mapping: Mapping[str, str] = field(factory=dict, validator=_text_mapping)
    region: str | None = field(default=None, validator=optional(TEXT_LINE))

    def __attrs_post_init__(self) -> None:
        for name in self.block_device_mapping:
            # A name becomes a line of a listing and a segment of a path; cloud-init takes "0=x" for a public key.
            if not _BLOCK_DEVICE.match(name):
                raise BadValue(
                    f"expected names such as ami, root, ebs0 or swap, got {quote(name)}", "block_device_mapping"
                )


@frozen(kw_only=True)
class Domain:
    """A VM and the metadata for its guest. At least one of *uuid* and *name* is given.

    *eve* has the rest of a domain that is an application of an EVE-OS node; ``eve-meta rerun`` gives the *instance_id*.

    :ivar uuid: the domain's uuid, as its hypervisor knows it: libvirt's, or QEMU's ``-uuid``. The guest reads it, too.
    :ivar name: the domain's name, as its hypervisor knows it: libvirt's, or QEMU's ``-name``.
    :ivar hostname: the guest's host name; one is made from the name where it is missing.
    :ivar project_id: the project that the domain belongs to, ``project_id`` in ``meta_data.json``.
    :ivar availability_zone: the availability zone; EC2's tree makes a region of it where ``ec2`` has none.
    :ivar launch_index: the domain's number among those that were started together; 0 where it is missing.
    :ivar profiles: the names of the profiles that complete it, the most important last.
    :ivar ec2: values for the EC2-compatible tree alone.
    :ivar meta: text of your own by names, ``meta`` in ``meta_data.json``.
    :ivar public_keys: SSH public keys by names, each as the line of a ``.pub`` file; a certificate in PEM for Windows
        guests.
    :ivar user_data: user data as text: cloud-config, a script, or Ignition's JSON.
    :ivar vendor_data: ``vendor_data.json``. cloud-init reads its key ``cloud-init``, as user data of the host's owner.
    :ivar vendor_data2: ``vendor_data2.json``, which cloud-init reads as ``vendor_data``, with priority over that.
    :ivar files: files that the guest writes when it first boots.
    :ivar tokens: whether requests need a session token: ``required`` refuses those without one, ``off`` gives out none.
    :ivar dhcp: whether taps answer the guest's DHCP, for NICs without a ``dhcp`` of their own: ``on`` or ``off``.
    :ivar dhcp_server: whether the guest may be a DHCP server to its neighbours, for NICs without a ``dhcp_server`` of
        their own: ``deny``, ``allow``, or ``auto``, which denies it where ``dhcp`` is ``on``.
    :ivar nics: the network interfaces.
    :ivar bonds: devices in which the guest joins NICs.
    :ivar search: the domains in which the guest looks up host names without a dot (DNS search domains).
    :ivar disks: the disks, in the ``devices`` of ``meta_data.json``.
    :ivar shares: file shares that the guest can mount, in the ``devices`` of ``meta_data.json``.
    :ivar dedicated_cpus: the numbers of the guest's CPUs that have a CPU of the host each.
    """

    uuid: UUID | None = None
    name: str | None = field(default=None, validator=optional(_NAME))
    hostname: str | None = field(
        default=None,
        validator=optional(
            check(
                "a host name such as web1.example.org",
                lambda v: isinstance(v, str) and is_hostname(v),
                maxLength=253,
                pattern=HOSTNAME_PATTERN,
            )
        ),
    )
    project_id: str | None = field(default=None, validator=optional(TEXT_LINE))
    availability_zone: str | None = field(default=None, validator=optional(TEXT_LINE))
    launch_index: int | None = field(
        default=None,
        validator=optional(
            check("a whole number from 0", lambda v: is_whole_number(v, 0, 2**31 - 1), minimum=0, maximum=2**31 - 1)
        ),
    )
    profiles: tuple[str, ...] = field(default=(), validator=_PROFILES)
    ec2: Ec2 = field(factory=Ec2)
    meta: Mapping[str, str] = secret(factory=dict, validator=_text_mapping)
    # Public, but a private key may stand there by mistake.
    public_keys: Mapping[str, str] = secret(factory=dict, validator=_key_mapping)
    user_data: Content | None = field(
        default=None,
        converter=converters.optional(content_of),
        validator=optional(_user_data),
        repr=False,
        metadata=SECRET,
    )
    vendor_data: Mapping[str, Any] = secret(factory=dict, validator=_json_mapping)
    vendor_data2: Mapping[str, Any] = secret(factory=dict, validator=_json_mapping)
    files: tuple[File, ...] = secret(default=())
    tokens: TokenPolicy | None = None
    dhcp: DhcpPolicy | None = None
    dhcp_server: DhcpServerPolicy | None = None
    nics: tuple[Nic, ...] = ()
    bonds: tuple[Bond, ...] = ()
    search: tuple[str, ...] = field(
        default=(),
        validator=check(
            f"at most {MAX_SEARCH} domains such as example.org, none twice",
            lambda v: len(v) == len(set(v)) <= MAX_SEARCH and all(map(is_hostname, v)),
            maxItems=MAX_SEARCH,
            uniqueItems=True,
            items={"maxLength": 253, "pattern": HOSTNAME_PATTERN},
        ),
    )
    disks: tuple[Disk, ...] = ()
    shares: tuple[Share, ...] = ()
    dedicated_cpus: tuple[int, ...] = field(
        default=(),
        converter=_sorted_once,
        validator=check(
            "CPU numbers from 0",
            lambda v: all(is_whole_number(cpu, 0, 2**20) for cpu in v),
            items={"minimum": 0, "maximum": 2**20},
        ),
    )
    eve: Application | None = field(default=None, metadata=OF_A_SOURCE)
    instance_id: UUID | None = field(default=None, metadata=OF_A_SOURCE)

    def __attrs_post_init__(self) -> None:
        if self.uuid is None and self.name is None:
            raise BadValue("expected a 'uuid' or a 'name', got neither")
        taps: set[str] = set()
        for tap in self.taps:
            if tap in taps:
                raise BadValue(f"expected each tap once in 'nics', got {tap!r} twice", "nics")
            taps.add(tap)

    @property
    def taps(self) -> tuple[str, ...]:
        """The taps of the NICs whose tap is given."""
        return tuple(nic.tap for nic in self.nics if nic.tap is not None)

    @property
    def subnets(self) -> tuple[Subnet, ...]:
        """The subnets of all NICs, of bonds and of VLANs on them."""
        vlans = [vlan for bond in self.bonds for vlan in bond.vlans]
        places: tuple[Nic | Bond | Vlan, ...] = (*self.nics, *self.bonds, *vlans)
        return tuple(subnet for place in places for subnet in place.subnets)

    @property
    def contents(self) -> tuple[Content, ...]:
        """All contents that the domain holds."""
        user_data = () if self.user_data is None else (self.user_data,)
        return (*user_data, *(file.content for file in self.files))

    def token_policy(self, default: TokenPolicy) -> TokenPolicy:
        """Return the policy in force: the domain's own *tokens*, else *default*, which the configuration gives."""
        return default if self.tokens is None else self.tokens

    def dhcp_policy(self, nic: Nic | None, default: DhcpPolicy) -> DhcpPolicy:
        """Return whether the tap of *nic* answers DHCP.

        :param nic: None where it is unknown which of the domain's NICs the tap is.
        :param default: ``[steering] dhcp``.
        """
        own = None if nic is None else nic.dhcp
        return own or self.dhcp or default

    def dhcp_server_policy(self, nic: Nic | None, default: DhcpServerPolicy) -> DhcpServerPolicy:
        """Return whether the guest behind the tap of *nic* may be a DHCP server; as :meth:`dhcp_policy`."""
        own = None if nic is None else nic.dhcp_server
        return own or self.dhcp_server or default

    @property
    def instance_uuid(self) -> UUID:
        """The uuid by which the domain is known: *uuid*, else one made from the name."""
        return self.uuid if self.uuid is not None else uuid5(NAMESPACE, str(self.name))

    @property
    def guest_uuid(self) -> UUID:
        """The uuid that the guest reads, by which it knows whether it is a new instance."""
        return self.instance_uuid if self.instance_id is None else self.instance_id

    @property
    def display_name(self) -> str:
        """The name for people and for the key ``name``: *name*, else the uuid."""
        return self.name if self.name is not None else str(self.uuid)

    @property
    def guest_hostname(self) -> str:
        """The host name that the guest reads: *hostname*, else one made from the name.

        The rules are those of nova's ``utils.sanitize_hostname``: spaces and underscores become "-", other characters
        that a host name cannot hold are left out.
        """
        if self.hostname is not None:
            return self.hostname
        name = re.sub(r"[ _]", "-", self.display_name).lower()
        name = re.sub(r"[^a-z0-9.-]+", "", name)
        labels = [label.strip("-")[:63].strip("-") for label in name.split(".")]
        made = ".".join(label for label in labels if label)[:253].rstrip(".-")
        return made or f"server-{self.instance_uuid}"


_FIELDS = fields_dict(Domain)


def with_values(domain: Domain, values: Mapping[str, Any]) -> Domain:
    """Return *domain* with other *values* of fields, of which these alone are validated.

    :func:`attrs.evolve` would validate all, which takes ten times as long.

    :param values: each by its field's name, in the field's own type. NICs are not among them, nor do they take both
        uuid and name away: these are what :class:`Domain` validates beside the fields.
    :raises BadValue: where a field cannot have its value.
    """
    new = copy(domain)
    for name, value in values.items():
        attribute = _FIELDS[name]
        if attribute.validator is not None:
            attribute.validator(new, attribute, value)
        object.__setattr__(new, name, value)
    return new
