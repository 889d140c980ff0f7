"""Reads the files of EVE-OS's pubsub: a directory for each topic, and in it a JSON file for each key.

An agent of EVE publishes below ``/run/<agent>/<Topic>/<key>.json`` (``pubsub/socketdriver/driver.go`` of lf-edge/eve):
it writes a file of another name, beginning with "tmp", and renames it. The directory holds the latest value of each
key, and appears when the agent first publishes. Files not named ``.json`` are no keys: temporary files, the socket's
lock, and ``restarted``, which means that the agent has published all that it had to publish when it started.

The files are Go's encoding of structs: fields by their names, embedded structs flattened, ``net.IP`` as text and "" for
none, ``net.HardwareAddr`` and other bytes in base64, a nil slice as null. :class:`Fields` reads that, and ignores all
other fields: EVE's structs grow.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Generic, TypeVar
from uuid import UUID

from attrs import frozen

from eve_meta.inventory.files.reading import DEBOUNCE, Stamp, read, stamp
from eve_meta.inventory.source import InventoryProblem
from eve_meta.values.checks import name_type, quote
from eve_meta.values.nic import Address, Network

T = TypeVar("T")

MAX_FILE = 8 * 1024 * 1024
"""The most bytes of a file. EVE limits each large field, of which no struct has more than two, to 1 MiB
(``maxLargeLen`` in ``pubsub/large.go``)."""

SUFFIX = ".json"

SECRETS = frozenset(("pubsub-large-CloudInitUserData",))
"""Fields that may hold a secret: no error quotes their values."""

_NIL = UUID(int=0)
_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}\Z")


class Unfit(Exception):
    """A file that is not of the form that EVE publishes.

    :ivar field: the path to the field that is wrong, "" for the file as a whole.
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.field = name


class Fields:
    """A struct of Go in JSON. Each method returns a field of one type, or Go's zero value where the field is missing.

    :raises Unfit: when the JSON is no object. The methods raise it when a field has another type.
    """

    def __init__(self, plain: Any, where: str = "") -> None:
        if not isinstance(plain, dict):
            raise Unfit(where, f"expected an object, got {name_type(plain)}")
        self._plain = plain
        self._where = where

    def path(self, name: str) -> str:
        """Return the path to the field *name*."""
        return f"{self._where}.{name}" if self._where else name

    def wrong(self, name: str, expected: str) -> Unfit:
        """Return the error for a field *name* that is not what is *expected*."""
        value = self._plain.get(name)
        return Unfit(
            self.path(name), f"expected {expected}, got {name_type(value) if name in SECRETS else _kind(value)}"
        )

    def drop(self, name: str) -> None:
        """Remove the field *name* from the JSON."""
        self._plain.pop(name, None)

    def has(self, name: str) -> bool:
        """Return whether there is a field *name* that is not null."""
        return self._plain.get(name) is not None

    def text(self, name: str) -> str:
        """Return a string."""
        return self._scalar(name, str, "a string") or ""

    def flag(self, name: str) -> bool:
        """Return a bool."""
        return self._scalar(name, bool, "true or false") or False

    def number(self, name: str) -> int:
        """Return an int."""
        return self._scalar(name, int, "a whole number") or 0

    def _scalar(self, name: str, kind: type[T], expected: str) -> T | None:
        value = self._plain.get(name)
        # type(), not isinstance(): to Python, True is an int.
        if value is not None and type(value) is not kind:
            raise self.wrong(name, expected)
        return value

    def items(self, name: str) -> list[Any]:
        """Return a list, whatever its items are."""
        value = self._plain.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.wrong(name, "a list")
        return value

    def struct(self, name: str) -> Fields:
        """Return a struct, an empty one where it is missing."""
        value = self._plain.get(name)
        return Fields({} if value is None else value, self.path(name))

    def structs(self, name: str) -> list[Fields]:
        """Return a list of structs."""
        return [Fields(item, f"{self.path(name)}[{index}]") for index, item in enumerate(self.items(name))]

    def uuid(self, name: str) -> UUID | None:
        """Return a ``uuid.UUID``, None for the uuid of zeros."""
        if not self.text(name):
            return None
        try:
            uuid = UUID(self.text(name))
        except ValueError:
            raise self.wrong(name, "a uuid") from None
        return None if uuid == _NIL else uuid

    def address(self, name: str) -> Address | None:
        """Return a ``net.IP``, None for none."""
        return self._address(name, self.text(name))

    def addresses(self, name: str) -> tuple[Address, ...]:
        """Return a ``[]net.IP``."""
        addresses = (self._address(name, item) for item in self.items(name))
        return tuple(address for address in addresses if address is not None)

    def _address(self, name: str, text: Any) -> Address | None:
        if text in ("", None):
            return None
        try:
            if isinstance(text, str):
                return ip_address(text)
        except ValueError:
            pass
        raise Unfit(self.path(name), f"expected an IP address, got {_kind(text)}")

    def network(self, name: str) -> Network | None:
        """Return a ``net.IPNet``, which Go writes as an address and a mask's bytes; None where it has no address."""
        fields = self.struct(name)
        address, mask = fields.address("IP"), fields.data("Mask")
        if address is None:
            return None
        try:
            # Go keeps an IPv4 network's mask in 4 or in 16 bytes.
            bits = "".join(f"{byte:08b}" for byte in mask[-address.max_prefixlen // 8 :])
            prefix = len(bits.rstrip("0"))
            if len(bits) != address.max_prefixlen or "0" in bits[:prefix]:
                raise ValueError
            return ip_network(f"{address}/{prefix}", strict=False)
        except ValueError:
            raise self.wrong(name, "an IP network") from None

    def mac(self, name: str) -> str | None:
        """Return a ``net.HardwareAddr``, or the text that EVE had in its place before 2021; None for none."""
        text = self.text(name)
        if _MAC.match(text):
            return text.lower()
        octets = self.data(name)
        if len(octets) not in (0, 6):
            raise self.wrong(name, "a MAC address")
        return octets.hex(":") or None

    def data(self, name: str) -> bytes:
        """Return a ``[]byte``."""
        try:
            return base64.b64decode(self.text(name), validate=True)
        except ValueError:
            # Not quoted: it may be a secret.
            raise Unfit(self.path(name), "expected base64") from None


def _kind(value: Any) -> str:
    # Never the content of an object or a list: it may be a secret, and is not what is wrong.
    return {dict: "an object", list: "a list", type(None): "null"}.get(type(value)) or quote(value)


def parse(content: bytes) -> Any:
    """Parse the JSON text *content*.

    :raises Unfit: when it is not JSON. NaN and the infinities, which Python accepts, are not JSON.
    """
    try:
        return json.loads(content, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise Unfit("", "expected JSON, which is text in UTF-8") from None
    except json.JSONDecodeError as error:
        raise Unfit("", f"expected JSON, but {error.msg} at character {error.pos}") from None
    except (ValueError, RecursionError):
        raise Unfit("", "expected JSON that EVE would write") from None


def _no_constant(text: str) -> None:
    raise ValueError(text)


@frozen
class _File(Generic[T]):
    stamp: Stamp
    value: T | None
    problem: InventoryProblem | None


class Topic(Generic[T]):
    """The files of one topic as they were at the last :meth:`scan`.

    A broken file keeps its last good value; a file that is gone has none.

    :param path: the directory; it may be missing.
    :param make: makes a value of a file's key and JSON, or raises :class:`Unfit`.
    :param delay: seconds for which a change may wait.

    :ivar values: the values of the files, by key.
    """

    def __init__(self, path: Path, make: Callable[[str, Any], T], delay: float = DEBOUNCE) -> None:
        self.path = path
        self.delay = delay
        self._make = make
        self._files: dict[str, _File[T]] = {}
        self._unreadable: InventoryProblem | None = None
        self.values: Mapping[str, T] = {}

    def file(self, key: str) -> str:
        """Return the path of the file of *key*."""
        return str(self.path / f"{key}{SUFFIX}")

    @property
    def readable(self) -> bool:
        """Whether the last scan could read the directory. One that is missing counts as empty."""
        return self._unreadable is None

    @property
    def problems(self) -> list[InventoryProblem]:
        """What is wrong with the files."""
        of_files = [file.problem for file in self._files.values() if file.problem is not None]
        return of_files if self._unreadable is None else [self._unreadable, *of_files]

    def scan(self) -> Iterator[None]:
        """Read what has changed, a file at each step; at the last step, put the result in place."""
        self._unreadable = None
        try:
            names = sorted(name for name in os.listdir(self.path) if name.endswith(SUFFIX) and name != SUFFIX)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                names = []  # its agent has published nothing yet
            else:
                message = f"cannot read this directory: {error.strerror}"
                self._unreadable = InventoryProblem(file=str(self.path), message=message)
                return
        files: dict[str, _File[T]] = {}
        for name in names:
            key = name.removesuffix(SUFFIX)
            known = self._files.get(key)
            unchanged = known is not None and known.stamp is not None and known.stamp == stamp(self.file(key))
            file = known if known is not None and unchanged else self._read(key, known)
            if os.path.lexists(self.file(key)):
                files[key] = file
            yield
        self._files = files
        self.values = {key: file.value for key, file in files.items() if file.value is not None}

    def _read(self, key: str, known: _File[T] | None) -> _File[T]:
        path = self.file(key)
        file = read(path, MAX_FILE)
        try:
            if file.content is None:
                raise Unfit("", file.why)
            return _File(file.stamp, self._make(key, parse(file.content)), None)
        except Unfit as error:
            kept = None if known is None else known.value
            rest = "" if kept is None else "; its last good version holds"
            return _File(file.stamp, kept, InventoryProblem(file=path, field=error.field, message=f"{error}{rest}"))
