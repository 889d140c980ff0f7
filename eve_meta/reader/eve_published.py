"""Reads what EVE-OS's agents publish, as far as eve-meta needs it: each function makes a value of one file.

The files are Go's encoding of structs: fields by their names, embedded structs flattened, ``net.IP`` as text and "" for
none, ``net.HardwareAddr`` and other bytes in base64, a nil slice as null. :class:`Fields` reads that, and ignores all
other fields: EVE's structs grow.

The structs are those of ``pkg/pillar/types`` of lf-edge/eve: ``zedroutertypes.go``, ``domainmgrtypes.go``, ``dns.go``,
``edgenodetypes.go``, ``wwan.go``. Where they have changed, both forms are read: addresses of an adapter before and
since September 2024 (``AllocatedIPv4Addr`` and ``AllocatedIPv6List``, ``AssignedAddresses``), ports of a network
instance (``SelectedUplinkLogicalLabel``, ``Ports``), the cipher block nested in AppNetworkConfig and flattened into
DomainConfig, the modems' fields with a tag for JSON or without.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, ip_network
from typing import Any, TypeVar
from uuid import UUID

from eve_meta.values.addresses import plain_address
from eve_meta.values.checks import is_whole_number, name_type, quote
from eve_meta.values.domain import MAX_NAME, MAX_NICS, is_hostname
from eve_meta.values.eve_node import Device
from eve_meta.values.eve_published import (
    AdapterStatus,
    AppConfig,
    AppStatus,
    AssignedAddress,
    AssignedBy,
    NetworkStatus,
)
from eve_meta.values.nic import Address, Network, is_device_name
from eve_meta.values.plain import make_converter
from eve_meta.values.text import is_printable
from eve_meta.wire.reading import MAX_FIELD, MAX_MESSAGE, EveAnswer

T = TypeVar("T")

SECRETS = frozenset(("pubsub-large-CloudInitUserData",))
"""Fields that may hold a secret: no error quotes their values."""

_NIL = UUID(int=0)
_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}\Z")


class Unfit(Exception):
    """A file that is not of the form that EVE publishes.

    :ivar field: the path to the field that is wrong, "" for the file as a whole.
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.field = name


class Fields:
    """A struct of Go in JSON. Each method returns a field of one type, or Go's zero value where the field is missing.

    :raises Unfit: when the JSON is no object. The methods raise it when a field has another type.
    """

    def __init__(self, plain: Any, where: str = "") -> None:
        if not isinstance(plain, dict):
            raise Unfit(where, f"expected an object, got {name_type(plain)}")
        self._plain = plain
        self._where = where

    def path(self, name: str) -> str:
        """Return the path to the field *name*."""
        return f"{self._where}.{name}" if self._where else name

    def wrong(self, name: str, expected: str) -> Unfit:
        """Return the error for a field *name* that is not what is *expected*."""
        value = self._plain.get(name)
        return Unfit(
            self.path(name), f"expected {expected}, got {name_type(value) if name in SECRETS else _kind(value)}"
        )

    def drop(self, name: str) -> None:
        """Remove the field *name* from the JSON."""
        self._plain.pop(name, None)

    def has(self, name: str) -> bool:
        """Return whether there is a field *name* that is not null."""
        return self._plain.get(name) is not None

    def text(self, name: str) -> str:
        """Return a string."""
        return self._scalar(name, str, "a string") or ""

    def flag(self, name: str) -> bool:
        """Return a bool."""
        return self._scalar(name, bool, "true or false") or False

    def number(self, name: str) -> int:
        """Return an int."""
        return self._scalar(name, int, "a whole number") or 0

    def _scalar(self, name: str, kind: type[T], expected: str) -> T | None:
        value = self._plain.get(name)
        # type(), not isinstance(): to Python, True is an int.
        if value is not None and type(value) is not kind:
            raise self.wrong(name, expected)
        return value

    def items(self, name: str) -> list[Any]:
        """Return a list, whatever its items are."""
        value = self._plain.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.wrong(name, "a list")
        return value

    def struct(self, name: str) -> Fields:
        """Return a struct, an empty one where it is missing."""
        value = self._plain.get(name)
        return Fields({} if value is None else value, self.path(name))

    def structs(self, name: str) -> list[Fields]:
        """Return a list of structs."""
        return [Fields(item, f"{self.path(name)}[{index}]") for index, item in enumerate(self.items(name))]

    def uuid(self, name: str) -> UUID | None:
        """Return a ``uuid.UUID``, None for the uuid of zeros."""
        if not self.text(name):
            return None
        try:
            uuid = UUID(self.text(name))
        except ValueError:
            raise self.wrong(name, "a uuid") from None
        return None if uuid == _NIL else uuid

    def address(self, name: str) -> Address | None:
        """Return a ``net.IP``, None for none."""
        return self._address(name, self.text(name))

    def addresses(self, name: str) -> tuple[Address, ...]:
        """Return a ``[]net.IP``."""
        addresses = (self._address(name, item) for item in self.items(name))
        return tuple(address for address in addresses if address is not None)

    def _address(self, name: str, text: Any) -> Address | None:
        if text in ("", None):
            return None
        try:
            if isinstance(text, str):
                return plain_address(text)
        except ValueError:
            pass
        raise Unfit(self.path(name), f"expected an IP address, got {_kind(text)}")

    def network(self, name: str) -> Network | None:
        """Return a ``net.IPNet``, which Go writes as an address and a mask's bytes; None where it has no address."""
        fields = self.struct(name)
        address, mask = fields.address("IP"), fields.data("Mask")
        if address is None:
            return None
        try:
            # Go keeps an IPv4 network's mask in 4 or in 16 bytes.
            bits = "".join(f"{byte:08b}" for byte in mask[-address.max_prefixlen // 8 :])
            prefix = len(bits.rstrip("0"))
            if len(bits) != address.max_prefixlen or "0" in bits[:prefix]:
                raise ValueError
            return ip_network(f"{address}/{prefix}", strict=False)
        except ValueError:
            raise self.wrong(name, "an IP network") from None

    def mac(self, name: str) -> str | None:
        """Return a ``net.HardwareAddr``, or the text that EVE had in its place before 2021; None for none."""
        text = self.text(name)
        if _MAC.match(text):
            return text.lower()
        octets = self.data(name)
        if len(octets) not in (0, 6):
            raise self.wrong(name, "a MAC address")
        return octets.hex(":") or None

    def data(self, name: str) -> bytes:
        """Return a ``[]byte``."""
        try:
            return base64.b64decode(self.text(name), validate=True)
        except ValueError:
            # Not quoted: it may be a secret.
            raise Unfit(self.path(name), "expected base64") from None


def _kind(value: Any) -> str:
    # Never the content of an object or a list: it may be a secret, and is not what is wrong.
    return {dict: "an object", list: "a list", type(None): "null"}.get(type(value)) or quote(value)


def parse(content: bytes) -> Any:
    """Parse the JSON text *content*.

    :raises Unfit: when it is not JSON. NaN and the infinities, which Python accepts, are not JSON.
    """
    try:
        return json.loads(content, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise Unfit("", "expected JSON, which is text in UTF-8") from None
    except json.JSONDecodeError as error:
        raise Unfit("", f"expected JSON, but {error.msg} at character {error.pos}") from None
    except (ValueError, RecursionError):
        raise Unfit("", "expected JSON that EVE would write") from None


def _no_constant(text: str) -> None:
    raise ValueError(text)


def app_status(key: str, plain: Any) -> AppStatus:
    """Read ``/run/zedrouter/AppNetworkStatus/<application>.json``."""
    fields = Fields(plain)
    name = fields.text("DisplayName")
    adapters = tuple(_adapter(adapter) for adapter in fields.structs("AppNetAdapterList"))
    taps = [tap for adapter in adapters for tap in adapter.taps]
    if len(set(taps)) < len(taps):
        raise Unfit("AppNetAdapterList", "expected each Vif once, got one twice")
    if len(adapters) > MAX_NICS:
        raise Unfit("AppNetAdapterList", f"expected at most {MAX_NICS} adapters, got {len(adapters)}")
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
    search = fields.text("DomainName").rstrip(".")
    ports = [label for label in fields.items("Ports") if isinstance(label, str)]
    return NetworkStatus(
        type=fields.number("Type"),
        subnet=fields.network("Subnet"),
        gateway=fields.address("Gateway"),
        dns=fields.addresses("DnsServers"),
        search=search if is_hostname(search) else None,
        mtu=_mtu(fields),
        ports=tuple(dict.fromkeys(filter(None, [*ports, fields.text("SelectedUplinkLogicalLabel")]))),
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
        addresses=tuple(
            AssignedAddress(address=address, assigned_by=by) for address, by in addresses if address is not None
        ),
        may_discover=fields.flag("AllowToDiscover"),
    )


def _mtu(fields: Fields) -> int | None:
    mtu = fields.number("MTU")
    if mtu and not is_whole_number(mtu, 68, 65535):
        raise fields.wrong("MTU", "an MTU of 68..65535 bytes")
    return mtu or None


READ: Mapping[str, Callable[[str, Any], Any]] = {
    "app_status": app_status,
    "app_config": app_config,
    "network_status": network_status,
    "device": device,
    "device_ports": device_ports,
    "as_published": as_published,
    "wwan_status": wwan_status,
}
"""The function that reads a file, by the name that root gives to the files of its kind."""

_CONVERTER = make_converter()


def read_published(content: bytes, kind: str, key: str) -> EveAnswer:
    """Read *content*, the content of the file of *key* whose kind is *kind*, a key of :data:`READ`."""
    try:
        return EveAnswer(value=_CONVERTER.unstructure(READ[kind](key, parse(content))))
    except Unfit as error:
        return EveAnswer(path=error.field[:MAX_FIELD], message=str(error)[:MAX_MESSAGE])
