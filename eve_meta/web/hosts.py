"""Which names a guest may call us by.

A browser in a guest takes its user to a page whose name, a moment later, resolves to 169.254.169.254 (DNS rebinding):
then the page's scripts read what we answer, since to the browser it is the page's own server. But the browser says
whom it believes to ask, in Host; so whoever calls us by a name that nobody gave us is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import AddressValueError, IPv6Address

from eve_meta.values.addresses import SERVICE_IPV4, SERVICE_IPV6

IPV4 = SERVICE_IPV4.encode("ascii")
IPV6 = frozenset(map(IPv6Address, SERVICE_IPV6))

# RFC 9112 section 3.2: a host, and a port, which may be empty (RFC 3986 section 3.2.3). No other port leads to us.
_HOST = re.compile(rb"(?:\[(?P<ipv6>[0-9A-Fa-f:]+)(?:%[^\]]*)?\]|(?P<name>[^:\[\]]*))(?::(?:80)?)?")


class Hosts:
    """Knows our addresses, and the further *names* that the configuration allows."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = {IPV4, *(name.lower().encode("ascii") for name in names)}

    def known(self, host: bytes | None) -> bool:
        """Whether *host*, a Host field or the authority of a request target, means us.

        None, of HTTP/1.0, and an empty one, which a target without an authority has (RFC 9112 section 3.2), name nobody
        and so no attacker; no browser sends them. An IPv6 address may be spelled in any way and have a zone, written
        "%25eth0" (RFC 6874) or "%eth0": clients that are told ``http://[fe80::a9fe:a9fe%25eth0]/`` send either.
        """
        # Nearly all send this, and it need not be taken apart.
        if not host or host == IPV4:
            return True
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        if found["ipv6"] is None:
            return found["name"].lower() in self._names
        try:
            return IPv6Address(found["ipv6"].decode("ascii")) in IPV6
        except AddressValueError:
            return False
