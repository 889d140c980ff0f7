"""What EVE-OS's agents publish about applications and networks, as values.

They are frozen and refuse bad input when they are made, as those of :mod:`eve_meta.values.domain` do. The structs are
those of ``pkg/pillar/types`` of lf-edge/eve; :mod:`eve_meta.reader.eve_published` reads them.
"""

from __future__ import annotations

import enum
from uuid import UUID

from attrs import field, frozen

from eve_meta.values.checks import BadValue, check, is_whole_number, optional
from eve_meta.values.domain import MAX_NAME, MAX_NICS, MAX_USER_DATA
from eve_meta.values.nic import MAC_ADDRESS, Address, Network, is_device_name
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


_TAPS = check("network devices' names", lambda v: all(map(is_device_name, v)))
_MTU = check("an MTU of 68..65535 bytes", lambda v: is_whole_number(v, 68, 65535))


@frozen(kw_only=True)
class AssignedAddress:
    """An address of an adapter.

    :ivar assigned_by: its source, an :class:`AssignedBy` or a number that EVE has added since.
    """

    address: Address
    assigned_by: int


@frozen(kw_only=True)
class AdapterStatus:
    """An adapter of an application (``AppNetAdapterStatus``).

    :ivar taps: ``Vif`` and, where it differs, ``VifUsed``.
    """

    taps: tuple[str, ...] = field(validator=_TAPS)
    network: UUID | None
    mac: str | None = field(validator=optional(MAC_ADDRESS))
    mtu: int | None = field(validator=optional(_MTU))
    addresses: tuple[AssignedAddress, ...]
    may_discover: bool


@frozen(kw_only=True)
class AppStatus:
    """The state of an application (``AppNetworkStatus``).

    :ivar name: ``DisplayName``, None where it cannot be a domain's name.
    :ivar activated: whether the application has its taps at present.
    """

    uuid: UUID
    name: str | None = field(
        validator=optional(check(f"1..{MAX_NAME} printable characters", lambda v: is_printable(v, MAX_NAME)))
    )
    activated: bool
    adapters: tuple[AdapterStatus, ...] = field(
        validator=check(f"at most {MAX_NICS} adapters", lambda v: len(v) <= MAX_NICS)
    )

    def __attrs_post_init__(self) -> None:
        taps = [tap for adapter in self.adapters for tap in adapter.taps]
        if len(set(taps)) < len(taps):
            raise BadValue("expected each tap once, got one twice", "adapters")


@frozen(kw_only=True)
class AppConfig:
    """The configuration of an application (``AppNetworkConfig`` or ``DomainConfig``).

    :ivar user_data: as the guest reads them, None for none.
    """

    meta_data_type: int
    user_data: bytes | None = field(
        repr=False,
        validator=optional(check(f"at most {MAX_USER_DATA} bytes", lambda v: len(v) <= MAX_USER_DATA)),
    )
    encrypted: bool


@frozen(kw_only=True)
class NetworkStatus:
    """The state of a network instance (``NetworkInstanceStatus``).

    :ivar search: the domain of its host names (``DomainName``), None where it has none that a guest could use.
    :ivar ports: the logical labels of the node's ports that it uses.
    """

    type: int
    subnet: Network | None
    gateway: Address | None
    dns: tuple[Address, ...]
    search: str | None
    mtu: int | None = field(validator=optional(_MTU))
    ports: tuple[str, ...]
