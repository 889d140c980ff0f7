"""The configuration: ``/etc/eve-meta/eve-meta.toml``.

Every key has a default, so that an empty file and no file work. An unknown key is an error that names the key.
"""

from __future__ import annotations

import pwd
import re
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen
from cattrs.errors import BaseValidationError

from eve_meta.values.checks import BadValue, check, is_whole_number, quote
from eve_meta.values.domain import TokenPolicy, is_hostname, is_profile_name
from eve_meta.values.nic import IFNAMSIZ, DhcpPolicy, DhcpServerPolicy
from eve_meta.values.plain import faults, field_of, make_converter
from eve_meta.values.problem import Problem
from eve_meta.values.text import is_printable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]  # mypy may run on a later Python

DEFAULT_PATH = Path("/etc/eve-meta/eve-meta.toml")
"""The configuration that is read when none is named. It may be missing."""

AUTO = "auto"
"""The value of ``[inventory] libvirt`` that means the libvirt of this host, where there is one."""

OPERATORS_GROUP = "eve-meta-admin"
"""The group of the operators where the configuration names no other. The package makes it; a checkout does without."""

READ_ONLY = "-ro"
"""What the name of the operators' socket has more than that of root's: ``admin-ro.sock`` is beside ``admin.sock``."""

MAX_SOCKET_PATH = 107 - len(READ_ONLY)
"""The most bytes of a unix socket's path (``sun_path`` of ``linux/un.h`` has 108, the final NUL included), so that the
operators' socket can be beside it."""

MAX_WORKERS = 64
"""The most workers. One worker serves thousands of guests; a larger number is a typo. The service manager stores
two sockets for each worker (``FileDescriptorStoreMax=`` of the unit)."""

_NAMESPACE = re.compile(rf"[A-Za-z0-9_.-]{{1,{IFNAMSIZ - 1}}}\Z")

_ABSOLUTE = check("an absolute path", lambda v: v.is_absolute() and "\0" not in str(v))
_SOCKET = check(
    f"an absolute path of at most {MAX_SOCKET_PATH} bytes",
    lambda v: v.is_absolute() and "\0" not in str(v) and len(bytes(v)) <= MAX_SOCKET_PATH,
)


def _number(what: str, low: int, high: int) -> Any:
    return check(f"{what} of {low}..{high}", lambda v: is_whole_number(v, low, high), minimum=low, maximum=high)


def _is_local_uri(text: str) -> bool:
    parts = urlsplit(text)
    return bool(parts.scheme) and not parts.netloc and parts.path.startswith("/") and text.isprintable()


def _is_group_name(text: str) -> bool:
    return text == "" or is_printable(text, 255)


def read_only_socket(path: Path) -> Path:
    """Return the operators' socket, which is beside root's, *path*."""
    return path.with_name(f"{path.stem}{READ_ONLY}{path.suffix}")


def split_address(text: str) -> tuple[str, int] | None:
    """Split *text*, such as 127.0.0.1:9169 or [::1]:9169, into IP address and port; None where it is no such text."""
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
    """The sources of domains.

    :ivar directory: the directory of domain files; that of their profiles, ``profiles.d``, is beside it.
    :ivar profiles: the profiles that all domains have, the most important last: ``base`` is ``profiles.d/base.yaml``.
    :ivar libvirt: the URI of this host's libvirt; "auto" for qemu:///system where it is there, "" for none.
    :ivar eve: the directory to which EVE-OS's agents publish, ``/run`` on its nodes; "" for none.
    :ivar eve_all: whether EVE-OS's applications get a domain's documents whatever their ``MetaDataType`` is.
    :ivar process: whether the VMM process that holds a tap (QEMU's, for example) identifies the tap's domain.
    :ivar process_users: users whose VMMs are believed, beside root and libvirt's own user.
    """

    directory: Path = field(default=Path("/etc/eve-meta/domains.d"), validator=_ABSOLUTE)
    profiles: tuple[str, ...] = field(
        default=(),
        validator=check("names of profiles", lambda v: all(map(is_profile_name, v)), items={"pattern": "^[^./][^/]*$"}),
    )
    libvirt: str = field(
        default=AUTO,
        # A URI with a host in it is that of another host's libvirt, whose taps are not on this host.
        validator=check(
            '"auto", "" or the URI of this host\'s libvirt such as qemu:///system',
            lambda v: v in ("", AUTO) or _is_local_uri(v),
        ),
    )
    eve: str = field(
        default="", validator=check("an absolute path", lambda v: v == "" or (v.startswith("/") and "\0" not in v))
    )
    eve_all: bool = False
    process: bool = True
    process_users: tuple[str, ...] = field(
        default=(), validator=check("names of users", lambda v: all(is_printable(name, 255) for name in v))
    )


@frozen(kw_only=True)
class SteeringConfig:
    """The path from the taps to the service.

    :ivar taps: the links that are taps, by shell patterns of their names.
    :ivar namespace: the name of the network namespace in which guests are answered.
    :ivar dhcp: whether taps answer their guests' DHCP, for domains and NICs that have no ``dhcp`` of their own.
    :ivar dhcp_server: whether guests may be DHCP servers to their neighbours, for domains and NICs that have no
        ``dhcp_server`` of their own: ``deny``, ``allow``, or ``auto``, which denies it where ``dhcp`` is ``on``.
    """

    taps: tuple[str, ...] = field(
        default=("vnet*", "tap*", "nbu*", "vif*"),
        validator=check("at least one pattern, and none empty", lambda v: len(v) > 0 and all(v)),
    )
    namespace: str = field(
        default="eve-meta",
        validator=check(
            # The host's end of the namespace's veth has this name with "0" appended.
            f"a name of 1..{IFNAMSIZ - 1} characters of A-Z a-z 0-9 _ . -",
            lambda v: bool(_NAMESPACE.match(v)) and v not in (".", ".."),
        ),
    )
    dhcp: DhcpPolicy = DhcpPolicy.OFF
    dhcp_server: DhcpServerPolicy = DhcpServerPolicy.AUTO

    def matches(self, name: str) -> bool:
        """Return whether the name of a link, *name*, matches one of the patterns of taps."""
        return any(fnmatchcase(name, pattern) for pattern in self.taps)


@frozen(kw_only=True)
class WebConfig:
    """The service for guests.

    :ivar workers: the number of worker processes; 0 for one a core, up to :data:`MAX_WORKERS`.
    :ivar tokens: the token policy of domains that have none of their own.
    :ivar hop_limit: the IP TTL and IPv6 hop limit of answers to requests for a token.
    :ivar domain_wait: the seconds during which guests of an unknown domain are asked to try again.
    :ivar hosts: names that guests may use for the service, beside its addresses.
    """

    workers: int = field(default=1, validator=_number("a number of workers", 0, MAX_WORKERS))
    tokens: TokenPolicy = TokenPolicy.OPTIONAL
    hop_limit: int = field(default=1, validator=_number("a number of hops", 1, 64))
    domain_wait: int = field(default=60, validator=_number("a number of seconds", 0, 3600))
    hosts: tuple[str, ...] = field(
        default=(),
        validator=check("host names such as metadata.example.org", lambda v: all(is_hostname(name) for name in v)),
    )


@frozen(kw_only=True)
class AdminConfig:
    """The interfaces for the host's administrators.

    :ivar socket: the unix socket on which root asks the daemon; that of the operators is beside it
        (:func:`read_only_socket`).
    :ivar operators: the group whose members may ask what neither shows a secret nor changes anything; "" for none. The
        default's group need not exist.
    :ivar metrics: the address and port of the metrics, "" for none.
    :ivar audit: the file that records which domain read what; "log" for the daemon's log, "" for no record.
    """

    socket: Path = field(default=Path("/run/eve-meta/admin.sock"), validator=_SOCKET)
    operators: str = field(
        default=OPERATORS_GROUP, validator=check('the name of a group, or "" for none', _is_group_name)
    )
    metrics: str = field(
        default="",
        # Not 0.0.0.0: guests could read the metrics at the address of their bridge.
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
    """The daemon's directories.

    :ivar run: for what lasts until the next boot.
    :ivar state: for what outlives it: passwords and host keys that guests posted, and the key of session tokens.
    """

    run: Path = field(default=Path("/run/eve-meta"), validator=_ABSOLUTE)
    state: Path = field(default=Path("/var/lib/eve-meta"), validator=_ABSOLUTE)

    def __attrs_post_init__(self) -> None:
        if self.run == self.state:
            # The daemon holds each of them, and would meet itself.
            raise BadValue(f"expected another directory than 'run', got {str(self.state)!r}", "state")


@frozen(kw_only=True)
class Config:
    """The whole configuration.

    :ivar inventory: the sources of domains.
    :ivar steering: the path from the taps to the service.
    :ivar web: the service for guests.
    :ivar admin: the interfaces for the host's administrators.
    :ivar paths: the daemon's directories.
    """

    inventory: InventoryConfig = InventoryConfig()
    steering: SteeringConfig = SteeringConfig()
    web: WebConfig = WebConfig()
    admin: AdminConfig = AdminConfig()
    paths: PathsConfig = PathsConfig()


@frozen(kw_only=True)
class ConfigMistake:
    """One thing that is wrong with the configuration.

    :ivar message: what was expected, and what was got.
    :ivar field: the key, such as ``web.workers``; "" for the file as a whole.
    :ivar line: counted from 1; None where it is not known.
    :ivar column: counted from 1; None where the line as a whole is wrong.
    """

    message: str
    field: str = ""
    line: int | None = None
    column: int | None = None


class ConfigProblem(Problem):
    """A configuration that cannot be used.

    :ivar mistakes: everything that is wrong with it.
    """

    def __init__(self, path: Path, *mistakes: ConfigMistake) -> None:
        self.mistakes = mistakes
        lines = []
        for each in mistakes:
            where = ":".join(str(part) for part in (path, each.line, each.column) if part is not None)
            lines.append(": ".join(part for part in (where, each.field, each.message) if part))
        super().__init__("\n".join(lines))


def load_config(path: Path | None) -> Config:
    """Load the configuration from the file *path*, or, where that is None, from :data:`DEFAULT_PATH` if that exists.

    :raises ConfigProblem: when the file cannot be read, or with each mistake in it.
    """
    named = path or DEFAULT_PATH
    try:
        text = named.read_bytes().decode()
        data = tomllib.loads(text)
    except FileNotFoundError:
        if path is None:
            return Config()
        raise ConfigProblem(named, ConfigMistake(message="no such file")) from None
    except OSError as error:
        raise ConfigProblem(named, ConfigMistake(message=error.strerror or str(error))) from None
    except UnicodeDecodeError:
        raise ConfigProblem(named, ConfigMistake(message="expected text in UTF-8")) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigProblem(named, _not_toml(str(error))) from None
    try:
        config = _CONVERTER.structure(data, Config)
    except BaseValidationError as error:
        wrong = [(field_of(Config, fault.path), fault.message) for fault in faults(error)]
        mistakes = [ConfigMistake(message=message, field=key, line=line_of(text, key)) for key, message in wrong]
        raise ConfigProblem(named, *sorted(mistakes, key=lambda each: each.line or 0)) from None
    if unknown := list(_unknown_users(text, config.inventory.process_users)):
        raise ConfigProblem(named, *unknown)
    return config


def _not_toml(message: str) -> ConfigMistake:
    """Return *message* of tomllib, which ends with the place, as a mistake."""
    place = re.search(r" \(at line (\d+), column (\d+)\)\Z", message)
    if place is None:
        return ConfigMistake(message=f"not TOML: {message}")
    return ConfigMistake(message=f"not TOML: {message[: place.start()]}", line=int(place[1]), column=int(place[2]))


def line_of(text: str, key: str) -> int | None:
    """Return the line of *key*, such as ``web.workers``, in the TOML *text*; None where its form is a rare one."""
    table, _, name = key.partition(".")
    name = re.split(r"[.\[]", name)[0]
    here = ""
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\s*([\w-]+)\s*\]", line)
        here = header[1] if header else here
        if here == table and (re.match(rf"""\s*["']?{re.escape(name)}["']?\s*=""", line) if name else header):
            return number
        if here == "" and re.match(rf"\s*{re.escape(table)}\s*(=|\.\s*{re.escape(name)}\s*=)", line):
            return number
    return None


def _unknown_users(text: str, names: tuple[str, ...]) -> Iterator[ConfigMistake]:
    key = "inventory.process_users"
    for name in names:
        try:
            pwd.getpwnam(name)
        except KeyError:
            message = f"expected users of this host, got {name!r}, which is none"
            lines = (
                number
                for number, line in enumerate(text.splitlines(), 1)
                if re.search(f"[\"']{re.escape(name)}[\"']", line)
            )
            yield ConfigMistake(message=message, field=key, line=next(lines, line_of(text, key)))


def _path(value: Any, _kind: Any) -> Path:
    if not isinstance(value, str):
        raise ValueError(f"expected a path, got {quote(value)}")
    return Path(value)


_CONVERTER = make_converter()
_CONVERTER.register_structure_hook(Path, _path)
