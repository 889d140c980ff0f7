"""A decoder of DHCP options that shares no code with what makes them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

ON_LINK = IPv4Address("0.0.0.0")


def options(data: bytes) -> dict[int, bytes]:
    """Return the values of the options by code; each may occur once."""
    found: dict[int, bytes] = {}
    while data:
        code, length = data[0], data[1]
        value, data = data[2 : 2 + length], data[2 + length :]
        assert len(value) == length > 0, f"option {code} ends early"
        assert code not in found, f"option {code} occurs twice"
        found[code] = value
    return found


def addresses(value: bytes) -> list[IPv4Address]:
    assert len(value) % 4 == 0
    return [IPv4Address(value[at : at + 4]) for at in range(0, len(value), 4)]


def routes(value: bytes) -> list[tuple[IPv4Network, IPv4Address]]:
    """Return the networks and routers of option 121 (RFC 3442)."""
    found = []
    while value:
        width = value[0]
        size = -(-width // 8)
        network = int.from_bytes(value[1 : 1 + size].ljust(4, b"\0"), "big")
        router = value[1 + size : 5 + size]
        assert len(router) == 4
        found.append((IPv4Network((network, width)), IPv4Address(router)))
        value = value[5 + size :]
    return found


def names(value: bytes) -> list[str]:
    """Return the domain names of option 119 (RFC 3397); a pointer leads back to a name that began earlier."""
    found, at = [], 0
    while at < len(value):
        name, at = _name(value, at)
        found.append(name)
    return found


def _name(value: bytes, at: int) -> tuple[str, int]:
    labels: list[str] = []
    while (length := value[at]) != 0:
        if length >= 0xC0:
            place = (length - 0xC0) * 256 + value[at + 1]
            assert place < at, "a pointer leads forward"
            return ".".join([*labels, _name(value, place)[0]]), at + 2
        assert length < 64
        labels.append(value[at + 1 : at + 1 + length].decode("ascii"))
        at += 1 + length
    return ".".join(labels), at + 1
