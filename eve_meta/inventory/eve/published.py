"""The values that EVE-OS's agents publish, as far as eve-meta needs them: each function makes a value of one file.

The structs are those of ``pkg/pillar/types`` of lf-edge/eve: ``zedroutertypes.go``, ``domainmgrtypes.go``, ``dns.go``,
``edgenodetypes.go``, ``wwan.go``. Where they have changed, both forms are read: addresses of an adapter before and
since September 2024 (``AllocatedIPv4Addr`` and ``AllocatedIPv6List``, ``AssignedAddresses``), ports of a network
instance (``SelectedUplinkLogicalLabel``, ``Ports``), the cipher block nested in AppNetworkConfig and flattened into
DomainConfig, the modems' fields with a tag for JSON or without.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Any
from uuid import UUID

from attrs import field, frozen

from eve_meta.inventory.eve.pubsub import Fields, Unfit
from eve_meta.values.checks import is_whole_number
from eve_meta.values.domain import MAX_NAME
from eve_meta.values.eve_node import Device
from eve_meta.values.nic import Address, Network, is_device_name
from eve_meta.values.text import is_printable

GLOBAL = "global"
"""The key of a topic that has one value."""

OPENSTACK = 2
"""``MetaDataOpenStack`` of ``MetaDataType``. The other types are drives, or no metadata at all."""


class AssignedBy(enum.IntEnum):
    """The source of an adapter's address (``AddressSource``)."""

    UNDEFINED = 0
    EVE = 2
    INTERNAL_DHCP = 4
    EXTERNAL_DHCP = 8
    SLAAC = 16
    STATIC = 32


class NetworkType(enum.IntEnum):
    """The kind of a network instance (``NetworkInstanceType``): those that EVE makes today."""

    SWITCH = 1
    LOCAL = 2


@frozen(kw_only=True)
class AdapterStatus:
    """An adapter of an application (``AppNetAdapterStatus``).

    :ivar taps: ``Vif`` and, where it differs, ``VifUsed``.
    :ivar addresses: each address with its source, an :class:`AssignedBy` or a number that EVE has added since.
    """

    taps: tuple[str, ...]
    network: UUID | None
    mac: str | None
    mtu: int | None
    addresses: tuple[tuple[Address, int], ...]
    may_discover: bool


@frozen(kw_only=True)
class AppStatus:
    """The state of an application (``AppNetworkStatus``).

    :ivar name: ``DisplayName``, None where it cannot be a domain's name.
    :ivar activated: whether the application has its taps at present.
    """

    uuid: UUID
    name: str | None
    activated: bool
    adapters: tuple[AdapterStatus, ...]


@frozen(kw_only=True)
class AppConfig:
    """The configuration of an application (``AppNetworkConfig`` or ``DomainConfig``).

    :ivar user_data: as the guest reads them, None for none.
    """

    meta_data_type: int
    user_data: bytes | None = field(repr=False)
    encrypted: bool


@frozen(kw_only=True)
class NetworkStatus:
    """The state of a network instance (``NetworkInstanceStatus``).

    :ivar ports: the logical labels of the node's ports that it uses.
    """

    type: int
    subnet: Network | None
    gateway: Address | None
    dns: tuple[Address, ...]
    mtu: int | None
    ports: frozenset[str]


def app_status(key: str, plain: Any) -> AppStatus:
    """Read ``/run/zedrouter/AppNetworkStatus/<application>.json``."""
    fields = Fields(plain)
    name = fields.text("DisplayName")
    adapters = tuple(_adapter(adapter) for adapter in fields.structs("AppNetAdapterList"))
    taps = [tap for adapter in adapters for tap in adapter.taps]
    if len(set(taps)) < len(taps):
        raise Unfit("AppNetAdapterList", "expected each Vif once, got one twice")
    return AppStatus(
        uuid=_uuid(key, fields),
        name=name if is_printable(name, MAX_NAME) else None,
        activated=fields.flag("Activated"),
        adapters=adapters,
    )


def app_config(key: str, plain: Any) -> AppConfig:
    """Read ``/run/zedmanager/AppNetworkConfig/<application>.json``, or zedagent's, or zedmanager's ``DomainConfig``."""
    fields = Fields(plain)
    _uuid(key, fields)
    cipher = fields.struct("CipherBlockStatus") if fields.has("CipherBlockStatus") else fields
    encrypted = cipher.flag("IsCipher")
    return AppConfig(
        meta_data_type=fields.number("MetaDataType"),
        # Decoded once. What the bytes are, a script, gzip or MIME, is for the guest to find out.
        user_data=(fields.data("pubsub-large-CloudInitUserData") or None) if not encrypted else None,
        encrypted=encrypted,
    )


def network_status(key: str, plain: Any) -> NetworkStatus:
    """Read ``/run/zedrouter/NetworkInstanceStatus/<network instance>.json``."""
    fields = Fields(plain)
    if str(fields.uuid("UUID")) != key:
        raise fields.wrong("UUID", f"the uuid {key} of the file's name")
    ports = [label for label in fields.items("Ports") if isinstance(label, str)]
    return NetworkStatus(
        type=fields.number("Type"),
        subnet=fields.network("Subnet"),
        gateway=fields.address("Gateway"),
        dns=fields.addresses("DnsServers"),
        mtu=_mtu(fields),
        ports=frozenset(filter(None, [*ports, fields.text("SelectedUplinkLogicalLabel")])),
    )


def device(_key: str, plain: Any) -> Device:
    """Read ``/run/zedagent/EdgeNodeInfo/global.json``, which was below ``/persist/status`` before April 2026."""
    fields = Fields(plain)
    return Device(
        name=fields.text("DeviceName"),
        id=fields.text("DeviceID"),
        project_name=fields.text("ProjectName"),
        project_id=fields.text("ProjectID"),
        enterprise_name=fields.text("EnterpriseName"),
        enterprise_id=fields.text("EnterpriseID"),
    )


def device_ports(_key: str, plain: Any) -> Mapping[str, tuple[IPv4Address, ...]]:
    """Read ``/run/nim/DeviceNetworkStatus/global.json``: the IPv4 addresses of the node's ports, by logical label."""
    addresses_of: dict[str, tuple[IPv4Address, ...]] = {}
    for port in Fields(plain).structs("Ports"):
        addresses = (info.address("Addr") for info in port.structs("AddrInfoList"))
        # As EVE's getExternalIPsForApp(): an address that only neighbours reach is not an external address.
        usable = (each for each in addresses if isinstance(each, IPv4Address) and not each.is_link_local)
        addresses_of[port.text("Logicallabel")] = tuple(usable)
    return addresses_of


def as_published(_key: str, plain: Any) -> bytes:
    """Return what guests read unchanged: ``WwanLocationInfo`` and ``WwanMetrics``."""
    Fields(plain)
    return json.dumps(plain, separators=(",", ":")).encode("ascii")


def wwan_status(key: str, plain: Any) -> bytes:
    """Return ``WwanStatus`` without the names that EVE gives to modems and SIM cards, as EVE's own handler does."""
    for networks, module, cards, name in (
        ("Networks", "Module", "SimCards", "Name"),
        ("networks", "cellular-module", "sim-cards", "name"),
    ):
        for network in Fields(plain).structs(networks):
            for part in (network.struct(module), *network.structs(cards)):
                part.drop(name)
    Fields(plain).drop("config-checksum")
    return as_published(key, plain)


def _uuid(key: str, fields: Fields) -> UUID:
    within = fields.struct("UUIDandVersion")
    uuid = within.uuid("UUID")
    if uuid is None or str(uuid) != key:
        raise within.wrong("UUID", f"the uuid {key} of the file's name")
    return uuid


def _adapter(fields: Fields) -> AdapterStatus:
    taps = tuple(dict.fromkeys(tap for tap in (fields.text("Vif"), fields.text("VifUsed")) if tap))
    for tap in taps:
        if not is_device_name(tap):
            raise fields.wrong("Vif", "network devices' names in Vif and VifUsed")
    if fields.has("AssignedAddresses"):
        assigned = fields.struct("AssignedAddresses")
        structs = [*assigned.structs("IPv4Addrs"), *assigned.structs("IPv6Addrs")]
        addresses = [(each.address("Address"), each.number("AssignedBy")) for each in structs]
    else:
        before = (fields.address("AllocatedIPv4Addr"), *fields.addresses("AllocatedIPv6List"))
        addresses = [(address, int(AssignedBy.UNDEFINED)) for address in before]
    return AdapterStatus(
        taps=taps,
        network=fields.uuid("Network"),
        mac=fields.mac("Mac"),
        mtu=_mtu(fields),
        addresses=tuple((address, by) for address, by in addresses if address is not None),
        may_discover=fields.flag("AllowToDiscover"),
    )


def _mtu(fields: Fields) -> int | None:
    mtu = fields.number("MTU")
    if mtu and not is_whole_number(mtu, 68, 65535):
        raise fields.wrong("MTU", "an MTU of 68..65535 bytes")
    return mtu or None
