"""The addresses of the metadata service, as guests ask for it; ``bpf/addresses.h`` has them for the BPF programs."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

SERVICE_IPV4 = "169.254.169.254"
"""The address that OpenStack and EC2 share."""

SERVICE_IPV6 = ("fe80::a9fe:a9fe", "fd00:ec2::254")
"""OpenStack's address, which is link-local, and EC2's."""


def plain_address(text: str) -> IPv4Address | IPv6Address:
    """Return the IP address *text*, which has no zone (RFC 4007 section 11).

    A zone means something on one machine only, and :mod:`ipaddress` takes any text for one, also commas and line feeds.

    :raises ValueError: when *text* is no such address.
    """
    if "%" in text:
        raise ValueError("a zone")
    return ip_address(text)
