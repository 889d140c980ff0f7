"""What a tap answers to its guest's DHCP (RFC 2131), and whether its guest may answer other guests'."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

from attrs import field, frozen

from eve_meta.values.addresses import SERVICE_IPV4
from eve_meta.values.checks import BadValue, check, is_whole_number

SERVER_ID = IPv4Address(SERVICE_IPV4)
"""The server identifier (option 54) of every answer. It is the service's address: the tap answers ARP for it already,
so that a guest can renew its lease by unicast."""

MAX_OPTIONS = 240
"""The most bytes of a template's options. With those that the tap itself adds, and a client identifier of 38 bytes, an
answer then fits into 576 bytes of IP, the most that every client accepts (RFC 2131 section 2)."""

PAD, END = 0, 255
"""The options without a length (RFC 2132 section 3)."""

ADDED = frozenset({51, 52, 53, 54, 58, 59, 61, 82})
"""The options that no template has: those that the tap adds to an answer (lease time, message type, server identifier,
T1, T2, client identifier), overload, and a relay's."""

MIN_LEASE_TIME, MAX_LEASE_TIME = 60, 0xFFFFFFFF
"""Seconds. Most clients renew no more often than once a minute; the longest stands for infinity (RFC 2131 section 3.3).
"""


def _is_for_a_guest(value: Any) -> bool:
    return (
        isinstance(value, IPv4Address)
        and value != SERVER_ID
        and value.packed[0] not in (0, 127)
        and value.packed[0] < 224
    )


@frozen
class DhcpTemplate:
    """The lease that a tap offers to its guest, whichever client behind the tap asks.

    :ivar lease_time: in seconds (option 51). The guest renews after half of it (T1, option 58), and asks any server
        after seven eighths (T2, option 59), as RFC 2131 section 4.4.5 proposes.
    :ivar options: the other options, each as type, length and value (RFC 2132 section 2), without pad and end.
    :raises BadValue: when no guest could use the address, or *options* are not well-formed, too long, or have an option
        that the tap itself adds.
    """

    address: IPv4Address = field(validator=check("an IPv4 address that a guest can have", _is_for_a_guest))
    lease_time: int = field(
        validator=check(
            f"{MIN_LEASE_TIME}..{MAX_LEASE_TIME} seconds",
            lambda v: is_whole_number(v, MIN_LEASE_TIME, MAX_LEASE_TIME),
        )
    )
    options: bytes = field(
        validator=check(f"at most {MAX_OPTIONS} bytes", lambda v: isinstance(v, bytes) and len(v) <= MAX_OPTIONS)
    )

    @property
    def renewal_time(self) -> int:
        """T1 in seconds; infinite where the lease is."""
        return MAX_LEASE_TIME if self.lease_time == MAX_LEASE_TIME else self.lease_time // 2

    @property
    def rebinding_time(self) -> int:
        """T2 in seconds; infinite where the lease is."""
        return MAX_LEASE_TIME if self.lease_time == MAX_LEASE_TIME else self.lease_time * 7 // 8

    def __attrs_post_init__(self) -> None:
        at, codes = 0, set()
        while at < len(self.options):
            code, *length = self.options[at : at + 2]
            if code in (PAD, END) or code in ADDED:
                raise BadValue(f"expected options of a template, got option {code}", "options")
            if code in codes:
                raise BadValue(f"expected each option once, got option {code} twice", "options")
            if not length or at + 2 + length[0] > len(self.options):
                raise BadValue(f"expected whole options, got a part of option {code}", "options")
            codes.add(code)
            at += 2 + length[0]
