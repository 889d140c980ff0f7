"""The network interfaces of a domain, bonds and VLANs of them, their subnets and routes, as values.

Each is frozen and refuses bad input when it is made, as those of :mod:`eve_meta.values.domain` do.
"""

from __future__ import annotations

import enum
import re
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any
from uuid import UUID

from attrs import field, frozen

from eve_meta.values.checks import DEVICE_TAGS, TEXT_LINE, BadValue, check, is_whole_number, optional

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

IFNAMSIZ = 15
"""The most bytes of a network device's name (``linux/if.h``, without the final NUL)."""

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")


class SubnetType(str, enum.Enum):
    """The method by which a guest gets its address: the ``type`` of a network in nova's ``network_data.json``."""

    IPV4 = "ipv4"
    IPV4_DHCP = "ipv4_dhcp"
    IPV6 = "ipv6"
    IPV6_DHCP = "ipv6_dhcp"
    IPV6_SLAAC = "ipv6_slaac"
    IPV6_DHCPV6_STATEFUL = "ipv6_dhcpv6-stateful"
    IPV6_DHCPV6_STATELESS = "ipv6_dhcpv6-stateless"

    @property
    def version(self) -> int:
        """The IP version, 4 or 6."""
        return 4 if self.value.startswith("ipv4") else 6

    @property
    def static(self) -> bool:
        """Whether the guest can learn its address from the metadata service alone."""
        return self in (SubnetType.IPV4, SubnetType.IPV6)


class DhcpPolicy(str, enum.Enum):
    """Whether a NIC's tap answers its guest's DHCP, instead of a server on the network."""

    OFF = "off"
    ON = "on"


class DhcpServerPolicy(str, enum.Enum):
    """Whether a NIC's tap drops what its guest sends as a DHCP server: ``auto`` where the tap answers DHCP itself."""

    AUTO = "auto"
    DENY = "deny"
    ALLOW = "allow"


class BondMode(str, enum.Enum):
    """How a bond shares its frames among its NICs: the ``bond_mode`` of nova's ``network_data.json``."""

    BALANCE_RR = "balance-rr"
    ACTIVE_BACKUP = "active-backup"
    BALANCE_XOR = "balance-xor"
    BROADCAST = "broadcast"
    LACP = "802.3ad"
    BALANCE_TLB = "balance-tlb"
    BALANCE_ALB = "balance-alb"

    @property
    def hashes(self) -> bool:
        """Whether a hash of each frame chooses its NIC (``xmit_hash_policy`` of the kernel's bonding driver)."""
        return self in (BondMode.BALANCE_XOR, BondMode.LACP, BondMode.BALANCE_TLB)


class BondHash(str, enum.Enum):
    """What of a frame chooses the NIC that sends it: the ``bond_xmit_hash_policy`` of ``network_data.json``."""

    LAYER2 = "layer2"
    LAYER2_3 = "layer2+3"
    LAYER3_4 = "layer3+4"
    ENCAP2_3 = "encap2+3"
    ENCAP3_4 = "encap3+4"


_MTU = check("an MTU of 68..65535 bytes", lambda v: is_whole_number(v, 68, 65535), minimum=68, maximum=65535)
_VLAN = check("a VLAN id of 1..4094", lambda v: is_whole_number(v, 1, 4094), minimum=1, maximum=4094)


def is_device_name(text: str) -> bool:
    """Return whether *text* can be a network device's name.

    Beyond the kernel's rules (``dev_valid_name()`` of ``net/core/dev.c``), it has to be printable.
    """
    return (
        0 < len(text.encode()) <= IFNAMSIZ
        and text not in (".", "..")
        and not any(c in "/:" or c.isspace() for c in text)
        and text.isprintable()
    )


_DEVICE = check(
    f"a network device's name, at most {IFNAMSIZ} bytes without '/', ':' or space",
    is_device_name,
    maxLength=IFNAMSIZ,
    pattern=r"^[^/:\s]+$",
)


MAC_ADDRESS = check(
    "a MAC address such as fa:16:3e:00:00:01",
    lambda v: isinstance(v, str) and bool(_MAC.match(v)),
    pattern="^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$",
)


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _all_lower_macs(members: Any) -> Any:
    # Taps have upper and lower case; none has a colon.
    return tuple(member.lower() if ":" in member else member for member in members)


def _are_members(members: Any) -> bool:
    return 0 < len(set(members)) == len(members) and all(
        bool(_MAC.match(member)) or is_device_name(member) for member in members
    )


@frozen(kw_only=True)
class Route:
    """A route of a guest.

    :ivar to: the network that the route leads to, such as ``192.168.50.0/24``.
    :ivar via: the router's address.
    """

    to: Network
    via: Address

    def __attrs_post_init__(self) -> None:
        if self.to.version != self.via.version:
            raise BadValue(f"expected 'via' of IP version {self.to.version} as in 'to', got {str(self.via)!r}", "via")


@frozen(kw_only=True)
class Subnet:
    """One address of a NIC, how the guest gets it, and the gateway, DNS servers and routes that come with it.

    :ivar type: how the guest gets its address; a static type is ``ipv4`` or ``ipv6``.
    :ivar address: the address with its prefix length. A static type needs one. For the other types it is the address
        that the guest is known to get (EC2's ``local-ipv4``).
    :ivar gateway: the router of the default route. It may be outside the subnet: then the guest takes it to be on the
        link.
    :ivar dns: addresses of DNS servers.
    :ivar routes: further routes.
    :ivar floating: addresses of other networks that are forwarded to this one (EC2's ``public-ipv4``).
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
    """A network interface of a domain.

    :ivar tap: the NIC's end on the host.
    :ivar mac: the MAC address, by which the guest finds the NIC.
    :ivar id: the NIC's id for the hypervisor's platform (``vif_id`` of ``network_data.json``).
    :ivar network_id: the network's id for the platform.
    :ivar type: the type of the link in ``network_data.json``; without, "tap".
    :ivar link: the NIC's id in ``network_data.json``; without, its tap.
    :ivar mtu: the MTU that the guest is to use.
    :ivar vlan: the id of the VLAN with which the guest is to tag its frames.
    :ivar trusted: whether a virtual function may change its MAC address (``vf_trusted`` of ``meta_data.json``).
    :ivar bus: the bus on which the guest finds the NIC, such as ``pci``.
    :ivar address: the NIC's address on that bus.
    :ivar tags: tags for scripts in the guest, in ``devices`` of ``meta_data.json``.
    :ivar subnets: the addresses; without any, DHCP where another NIC or a bond has some.
    :ivar dhcp: whether the tap answers the guest's DHCP, from the subnets: ``on`` or ``off``; without, as the domain's
        own ``dhcp`` has it, and else ``[steering] dhcp``.
    :ivar dhcp_server: whether the guest may answer the DHCP of its neighbours: ``deny`` drops such frames, ``allow``
        lets them pass, ``auto`` is ``deny`` where ``dhcp`` is ``on``; without, as the domain's own ``dhcp_server`` has
        it, and else ``[steering] dhcp_server``.
    """

    tap: str | None = field(default=None, validator=optional(_DEVICE))
    mac: str | None = field(default=None, converter=_lower, validator=optional(MAC_ADDRESS))
    id: UUID | None = None
    network_id: UUID | None = None
    type: str | None = field(default=None, validator=optional(TEXT_LINE))
    link: str | None = field(default=None, validator=optional(TEXT_LINE))
    mtu: int | None = field(default=None, validator=optional(_MTU))
    vlan: int | None = field(default=None, validator=optional(_VLAN))
    trusted: bool | None = None
    bus: str | None = field(default=None, validator=optional(TEXT_LINE))
    address: str | None = field(default=None, validator=optional(TEXT_LINE))
    tags: tuple[str, ...] = field(default=(), validator=DEVICE_TAGS)
    subnets: tuple[Subnet, ...] = ()
    dhcp: DhcpPolicy | None = None
    dhcp_server: DhcpServerPolicy | None = None

    @property
    def guest_vlan(self) -> int | None:
        """The id of the VLAN with which the guest is to tag its frames, None for no tag.

        For a virtual function (hw_veb) the hardware adds and removes the tag: a guest that also tagged would send
        frames with two tags.
        """
        return None if self.type == "hw_veb" else self.vlan

    def is_called(self, member: str) -> bool:
        """Return whether a bond's *member*, a tap or a MAC address, is this NIC."""
        return member in (self.tap, self.mac)


@frozen(kw_only=True)
class Vlan:
    """A VLAN on a bond: a device of the guest that tags its frames.

    :ivar id: the VLAN's id, 1..4094.
    :ivar network_id: the network's id for the platform.
    :ivar mtu: the MTU that the guest is to use.
    :ivar subnets: the addresses; without any, DHCP.
    """

    id: int = field(validator=_VLAN)
    network_id: UUID | None = None
    mtu: int | None = field(default=None, validator=optional(_MTU))
    subnets: tuple[Subnet, ...] = ()


@frozen(kw_only=True)
class Bond:
    """A device in which the guest joins several NICs.

    :ivar nics: the taps or MAC addresses of the NICs.
    :ivar mode: how the NICs share the frames.
    :ivar xmit_hash_policy: what of a frame chooses its NIC, for ``balance-xor``, ``802.3ad`` and ``balance-tlb``.
    :ivar miimon: the milliseconds between two looks at the NICs' carriers; without, the guest's kernel decides.
    :ivar mac: the MAC address; without, that of the first NIC.
    :ivar id: the bond's id for the hypervisor's platform (``vif_id`` of ``network_data.json``).
    :ivar network_id: the network's id for the platform.
    :ivar mtu: the MTU that the guest is to use.
    :ivar subnets: the addresses; without any, DHCP where the bond has no VLANs either.
    :ivar vlans: the VLANs on the bond.
    """

    nics: tuple[str, ...] = field(
        converter=_all_lower_macs,
        validator=check(
            "the taps or MAC addresses of one NIC or more, none twice", _are_members, minItems=1, uniqueItems=True
        ),
    )
    mode: BondMode
    xmit_hash_policy: BondHash | None = None
    miimon: int | None = field(
        default=None,
        validator=optional(
            check("1..60000 milliseconds", lambda v: is_whole_number(v, 1, 60_000), minimum=1, maximum=60_000)
        ),
    )
    mac: str | None = field(default=None, converter=_lower, validator=optional(MAC_ADDRESS))
    id: UUID | None = None
    network_id: UUID | None = None
    mtu: int | None = field(default=None, validator=optional(_MTU))
    subnets: tuple[Subnet, ...] = ()
    vlans: tuple[Vlan, ...] = ()

    def __attrs_post_init__(self) -> None:
        ids = [vlan.id for vlan in self.vlans]
        twice = next((number for index, number in enumerate(ids) if number in ids[:index]), None)
        if twice is not None:
            raise BadValue(f"expected each VLAN once, got {twice} twice", "vlans")
        if self.xmit_hash_policy is not None and not self.mode.hashes:
            hashing = ", ".join(mode.value for mode in BondMode if mode.hashes)
            raise BadValue(
                f"expected none for mode {self.mode.value!r}, which has no use for it ({hashing} have), got "
                f"{self.xmit_hash_policy.value!r}",
                "xmit_hash_policy",
            )
