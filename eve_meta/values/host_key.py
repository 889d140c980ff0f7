"""The public key of an SSH server, as a line of ``known_hosts`` has it (sshd(8), RFC 4253 section 6.6, RFC 5656).

Guests send it. So a key is of one of a few types, has the length that its type demands, and is written in one way only:
no text beside it reaches a line.
"""

from __future__ import annotations

import struct
from base64 import b64decode, b64encode
from collections.abc import Mapping
from types import MappingProxyType

from attrs import frozen

from eve_meta.values.checks import BadValue, quote

MAX_DATA = 1024
"""The most characters of a key in base64: an RSA key of 4,096 bits has 716."""

_CURVES: Mapping[str, tuple[bytes, int]] = MappingProxyType(
    {
        "ecdsa-sha2-nistp256": (b"nistp256", 65),
        "ecdsa-sha2-nistp384": (b"nistp384", 97),
        "ecdsa-sha2-nistp521": (b"nistp521", 133),
    }
)
"""The types of ECDSA keys, each with its curve and the bytes of a point that is not compressed."""

_RSA_BITS = range(1024, 4097)
"""Of shorter keys OpenSSH itself takes none; longer ones do not fit a report of phone_home."""

_LENGTH = struct.Struct(">I")


@frozen
class HostKey:
    """A key; whoever holds one holds a good one.

    :ivar type: ``ssh-ed25519``, ``ssh-rsa`` or one of ``ecdsa-sha2-nistp…``.
    :ivar data: the key in base64.
    """

    type: str
    data: str

    def __attrs_post_init__(self) -> None:
        if not _is_key(self.type, self.data):
            raise BadValue(f"expected an SSH host key, got {quote(f'{self.type} {self.data}')}")

    def __str__(self) -> str:
        return f"{self.type} {self.data}"


def read_host_key(line: str) -> HostKey:
    """Read a key from *line*, that of an ``ssh_host_*_key.pub`` file; its comment is dropped.

    :raises ValueError: when *line* has none.
    """
    kind, data, *_ = [*line.split(" ", 2), ""]
    return HostKey(kind, data)


def _is_key(kind: str, data: str) -> bool:
    if len(data) > MAX_DATA:
        return False
    try:
        blob = b64decode(data, validate=True)
        name, *parts = _strings(blob)
    except ValueError:
        return False
    # Several texts decode to the same bytes, and one of them is enough.
    if b64encode(blob).decode() != data or name != kind.encode():
        return False
    match kind, parts:
        case "ssh-ed25519", [point]:
            return len(point) == 32
        case "ssh-rsa", [exponent, modulus]:
            # A first bit would make the number negative.
            bits = int.from_bytes(modulus, "big").bit_length()
            return bool(exponent) and modulus[:1] < b"\x80" and bits in _RSA_BITS
        case _, [curve, point] if kind in _CURVES:
            return (curve, len(point)) == _CURVES[kind] and point[:1] == b"\x04"
    return False


def _strings(blob: bytes) -> list[bytes]:
    """Return the strings that *blob* consists of, each after its length.

    :raises ValueError: when it consists of anything else, or of none.
    """
    strings = []
    while blob:
        if len(blob) < _LENGTH.size:
            raise ValueError("a length is cut off")
        end = _LENGTH.size + _LENGTH.unpack_from(blob)[0]
        if end > len(blob):
            raise ValueError("a string is cut off")
        strings.append(blob[_LENGTH.size : end])
        blob = blob[end:]
    if not strings:
        raise ValueError("expected strings, got none")
    return strings
