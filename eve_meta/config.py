"""The configuration: ``/etc/eve-meta/eve-meta.toml``.

Every key has a default, so that an empty file and no file work; an unknown key is an error that names it.
"""

from __future__ import annotations

import re
import sys
from fnmatch import fnmatchcase
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen
from cattrs.errors import BaseValidationError

from eve_meta.values.checks import check, is_whole_number, quote
from eve_meta.values.domain import TokenPolicy, is_hostname
from eve_meta.values.nic import IFNAMSIZ
from eve_meta.values.plain import faults, make_converter
from eve_meta.values.problem import Problem

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]  # mypy may run on a later Python

DEFAULT_PATH = Path("/etc/eve-meta/eve-meta.toml")
"""The configuration that is read when none is named. It may be missing."""

MAX_SOCKET_PATH = 107
"""Bytes of a unix socket's path (``sun_path`` of ``linux/un.h`` has 108, with its final NUL)."""

MAX_WORKERS = 64
"""Workers. One serves thousands of guests; more than this many is a slip of the key. The service manager keeps two
sockets for each (``FileDescriptorStoreMax=`` of the unit)."""

_NAMESPACE = re.compile(rf"[A-Za-z0-9_.-]{{1,{IFNAMSIZ - 1}}}\Z")

_ABSOLUTE = check("an absolute path", lambda v: v.is_absolute() and "\0" not in str(v))
_SOCKET = check(
    f"an absolute path of at most {MAX_SOCKET_PATH} bytes",
    lambda v: v.is_absolute() and "\0" not in str(v) and len(bytes(v)) <= MAX_SOCKET_PATH,
)


def _whole(what: str, low: int, high: int) -> Any:
    return check(f"{what} of {low}..{high}", lambda v: is_whole_number(v, low, high))


def _is_local_uri(text: str) -> bool:
    parts = urlsplit(text)
    return bool(parts.scheme) and not parts.netloc and parts.path.startswith("/") and text.isprintable()


def split_address(text: str) -> tuple[str, int] | None:
    """The IP address and TCP port that *text* names, as in 127.0.0.1:9169 or [::1]:9169, None where it names none."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not colon or bracketed is not (":" in host) or not port.isascii() or not port.isdigit() or len(port) > 5:
        return None
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return (host, int(port)) if 0 < int(port) < 2**16 and not (address.is_unspecified or address.is_multicast) else None


@frozen(kw_only=True)
class InventoryConfig:
    """Where domains come from.

    *libvirt* is the URI of this host's libvirt, "" for none. *eve* is where EVE-OS's agents publish, ``/run`` on its
    nodes; *eve_all* is whether its applications get a domain's documents whatever their ``MetaDataType`` says.
    """

    directory: Path = field(default=Path("/etc/eve-meta/domains.d"), validator=_ABSOLUTE)
    libvirt: str = field(
        default="",
        # With a host in it, it would be that host's libvirt, whose taps are not ours.
        validator=check("the URI of this host's libvirt such as qemu:///system", lambda v: not v or _is_local_uri(v)),
    )
    eve: str = field(
        default="", validator=check("an absolute path", lambda v: v == "" or (v.startswith("/") and "\0" not in v))
    )
    eve_all: bool = False
    process: bool = True


@frozen(kw_only=True)
class SteeringConfig:
    """Which links are taps (shell patterns of their names), and the private namespace."""

    taps: tuple[str, ...] = field(
        default=("vnet*", "tap*", "nbu*", "vif*"),
        validator=check("at least one pattern, and none empty", lambda v: len(v) > 0 and all(v)),
    )
    namespace: str = field(
        default="eve-meta",
        validator=check(
            # The host's end of the namespace's veth has this name and a "0".
            f"a name of 1..{IFNAMSIZ - 1} characters of A-Z a-z 0-9 _ . -",
            lambda v: bool(_NAMESPACE.match(v)) and v not in (".", ".."),
        ),
    )

    def matches(self, name: str) -> bool:
        """Return whether the name of a link, *name*, matches one of the patterns of taps."""
        return any(fnmatchcase(name, pattern) for pattern in self.taps)


@frozen(kw_only=True)
class WebConfig:
    """What guests get.

    *workers* is the number of processes, 0 for one a core, up to :data:`MAX_WORKERS`; *tokens* holds where a domain
    says nothing; *hop_limit* is the IP TTL and IPv6 hop limit of answers to who wants a token; *domain_wait* is how
    long, in seconds, a tap whose domain is unknown is told to come back; *hosts* are names by which guests may call us,
    beside our addresses.
    """

    workers: int = field(default=1, validator=_whole("a number of workers", 0, MAX_WORKERS))
    tokens: TokenPolicy = TokenPolicy.OPTIONAL
    hop_limit: int = field(default=1, validator=_whole("a number of hops", 1, 64))
    domain_wait: int = field(default=60, validator=_whole("a number of seconds", 0, 3600))
    hosts: tuple[str, ...] = field(
        default=(),
        validator=check("host names such as metadata.example.org", lambda v: all(is_hostname(name) for name in v)),
    )


@frozen(kw_only=True)
class AdminConfig:
    """How the host's side asks: a unix socket for root, and metrics on an address:port ("" is off).

    *audit* is the file of which domain read what, "log" for our log, "" for neither.
    """

    socket: Path = field(default=Path("/run/eve-meta/admin.sock"), validator=_SOCKET)
    metrics: str = field(
        default="",
        # Not 0.0.0.0: guests would read them at the address of their bridge.
        validator=check(
            'one IP address of the host and a port, such as "127.0.0.1:9169", or "" for no metrics',
            lambda v: v == "" or split_address(v) is not None,
        ),
    )
    audit: str = field(
        default="",
        validator=check(
            '"", "log" or an absolute path',
            lambda v: v in ("", "log") or (v.startswith("/") and not v.endswith("/") and "\0" not in v),
        ),
    )


@frozen(kw_only=True)
class PathsConfig:
    """Where the daemon keeps what ends with a boot (*run*) and what does not (*state*)."""

    run: Path = field(default=Path("/run/eve-meta"), validator=_ABSOLUTE)
    state: Path = field(default=Path("/var/lib/eve-meta"), validator=_ABSOLUTE)


@frozen(kw_only=True)
class Config:
    """The whole configuration."""

    inventory: InventoryConfig = InventoryConfig()
    steering: SteeringConfig = SteeringConfig()
    web: WebConfig = WebConfig()
    admin: AdminConfig = AdminConfig()
    paths: PathsConfig = PathsConfig()


def load_config(path: Path | None) -> Config:
    """The configuration in the file at *path*, or, where that is None, at :data:`DEFAULT_PATH` if it exists.

    :raises Problem: when it cannot be read; for everything that is wrong in it, a line that names the file and the key.
    """
    named = path or DEFAULT_PATH
    try:
        data = tomllib.loads(named.read_bytes().decode())
    except FileNotFoundError:
        if path is None:
            return Config()
        raise Problem(f"{named}: no such file") from None
    except OSError as error:
        raise Problem(f"{named}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Problem(f"{named}: expected text in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise Problem(f"{named}: not TOML: {error}") from None
    try:
        return _CONVERTER.structure(data, Config)
    except BaseValidationError as error:
        raise Problem("\n".join(f"{named}: {fault.field}: {fault.message}" for fault in faults(error))) from None


def _path(value: Any, _kind: Any) -> Path:
    if not isinstance(value, str):
        raise ValueError(f"expected a path, got {quote(value)}")
    return Path(value)


_CONVERTER = make_converter()
_CONVERTER.register_structure_hook(Path, _path)
