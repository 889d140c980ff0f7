"""The names by which a guest may call this service.

A browser in a guest takes its user to a page whose name, a moment later, resolves to 169.254.169.254 (DNS rebinding):
then the page's scripts read what is answered here, since to the browser it comes from the page's own server. But the
browser sends the name of the server that it believes to ask, in Host; so a request that names another host than the
configured ones is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import AddressValueError, IPv6Address

from eve_meta.values.addresses import SERVICE_IPV4, SERVICE_IPV6

IPV4 = SERVICE_IPV4.encode("ascii")
IPV6 = frozenset(map(IPv6Address, SERVICE_IPV6))

# RFC 9112 section 3.2: a host, and a port, which may be empty (RFC 3986 section 3.2.3). No other port leads here.
_HOST = re.compile(rb"(?:\[(?P<ipv6>[0-9A-Fa-f:]+)(?:%[^\]]*)?\]|(?P<name>[^:\[\]]*))(?::(?:80)?)?")


class Hosts:
    """The addresses of the service, and the further *names* that the configuration allows."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = {IPV4, *(name.lower().encode("ascii") for name in names)}

    def known(self, host: bytes | None) -> bool:
        """Return whether *host*, a Host field or the authority of a request target, names this service.

        None, of HTTP/1.0, and the empty host of a target without an authority (RFC 9112 section 3.2) name nobody and so
        no attacker; no browser sends them. An IPv6 address may have any spelling and a zone, written "%25eth0" (RFC
        6874) or "%eth0": clients that are given ``http://[fe80::a9fe:a9fe%25eth0]/`` send either.
        """
        # Nearly all clients send this, and it need not be parsed.
        if not host or host == IPV4:
            return True
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        if match["ipv6"] is None:
            return match["name"].lower() in self._names
        try:
            return IPv6Address(match["ipv6"].decode("ascii")) in IPV6
        except AddressValueError:
            return False
