"""DHCP options as bytes: each is a code, the length of its value, and the value (RFC 2132 section 2)."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

_POINTER = 0xC000
"""What two bytes begin with that stand for the rest of a domain name (RFC 1035 section 4.1.4)."""


class Code(enum.IntEnum):
    """The options that a lease can have."""

    SUBNET_MASK = 1
    ROUTER = 3
    DNS_SERVERS = 6
    HOST_NAME = 12
    DOMAIN_NAME = 15
    MTU = 26
    DOMAIN_SEARCH = 119
    CLASSLESS_ROUTES = 121
    WINDOWS_ROUTES = 249
    """Microsoft's number for the same as 121, which Windows asked for first ([MS-DHCPE] section 2.2.8)."""


def option(code: Code, value: bytes) -> bytes:
    """Return an option whose *value* has 1 to 255 bytes."""
    return bytes((code, len(value))) + value


def addresses(values: Iterable[IPv4Address]) -> bytes:
    """Return the value of an option that has addresses."""
    return b"".join(value.packed for value in values)


def routes(values: Iterable[tuple[IPv4Network, IPv4Address]]) -> bytes:
    """Return the value of an option that has networks, each with its router: RFC 3442.

    Of a network, it has the prefix length, and no more bytes than that covers.
    """
    value = bytearray()
    for network, router in values:
        significant = (network.prefixlen + 7) // 8
        value += bytes((network.prefixlen,)) + network.network_address.packed[:significant] + router.packed
    return bytes(value)


def search_list(names: Iterable[str]) -> bytes:
    """Return the value of an option that has domain names: RFC 3397, with the compression of RFC 1035.

    A pointer counts from the value's first byte.
    """
    value = bytearray()
    places: dict[tuple[str, ...], int] = {}
    for name in names:
        labels = tuple(name.split("."))
        for index, label in enumerate(labels):
            place = places.get(labels[index:])
            if place is not None:
                value += (_POINTER | place).to_bytes(2, "big")
                break
            if len(value) < _POINTER ^ 0xFFFF:
                places[labels[index:]] = len(value)
            value += bytes((len(label),)) + label.encode("ascii")
        else:
            value.append(0)
    return bytes(value)
