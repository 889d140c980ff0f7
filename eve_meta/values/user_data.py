"""User data of several places, joined into what cloud-init and cloudbase-init read as one: a MIME message of parts.

cloud-init also has ``#cloud-config-archive``. MIME is used because cloudbase-init reads it, too, and because cloud-init
follows an ``#include`` and unpacks gzip in a part, but not in an archive. Each part names its type: cloudbase-init,
unlike cloud-init, does not find it out. A part that is itself a MIME message becomes a part with parts.

cloud-init handles the parts in their order; where two of cloud-config have one key, the later one replaces it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence

from eve_meta.values.content import Content

EXAMINED = 4096
"""Bytes at the beginning in which cloud-init looks for the header of a MIME message (``user_data.convert_string``)."""

MAX_LINE = 998
"""The most bytes of a line in an unencoded part (RFC 5322, section 2.1.1)."""

_TYPES: Sequence[tuple[bytes, str]] = (
    # cloud-init's (handlers.INCLUSION_TYPES_MAP), each before those that begin it.
    (b"#include-once", "text/x-include-once-url"),
    (b"#include", "text/x-include-url"),
    (b"#cloud-config-archive", "text/cloud-config-archive"),
    (b"#cloud-config-jsonp", "text/cloud-config-jsonp"),
    (b"#cloud-config", "text/cloud-config"),
    (b"#cloud-boothook", "text/cloud-boothook"),
    (b"#part-handler", "text/part-handler"),
    (b"## template: jinja", "text/jinja2"),
    (b"#!", "text/x-shellscript"),
    # cloudbase-init's scripts (plugins.common.userdatautils), which finds out itself what runs them.
    (b"#ps1", "text/x-shellscript"),
    (b"rem cmd", "text/x-shellscript"),
    (b"<powershell>", "text/x-shellscript"),
    (b"<script>", "text/x-shellscript"),
)
"""The beginning of user data, in lower case, and the type of a part that begins so."""

_GZIP = b"\x1f\x8b"
_HEADER = re.compile(rb"(From |[A-Za-z][A-Za-z0-9-]*:)")


class CannotJoin(ValueError):
    """User data are of no kind that can be a part beside others.

    :ivar index: which of them.
    """

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


def joined(contents: Sequence[Content]) -> bytes:
    """Return *contents* as one MIME message.

    :raises CannotJoin: where cloud-init would not read one of them as a part; the message does not quote it.
    """
    parts = [_part(index, content) for index, content in enumerate(contents)]
    # Derived from the contents, so that equal ones make equal messages, which are held once.
    digest = hashlib.sha256(b"".join(bytes.fromhex(content.digest) for content in contents)).hexdigest()
    boundary = f"eve-meta-{digest[:32]}"
    head = f'Content-Type: multipart/mixed; boundary="{boundary}"\nMIME-Version: 1.0\n\n'
    between = f"--{boundary}\n".encode()
    return b"".join((head.encode(), *(between + part + b"\n" for part in parts), f"--{boundary}--\n".encode()))


def _part(index: int, content: Content) -> bytes:
    begin = content[:EXAMINED]
    if begin.startswith(_GZIP):
        return _encoded(index, "application/gzip", bytes(content))
    if b"mime-version:" in begin.lower() and _HEADER.match(begin):
        return _message(index, bytes(content))
    lowered = begin.lstrip().lower()
    kind = next((kind for prefix, kind in _TYPES if lowered.startswith(prefix)), None)
    if kind is None:
        got = "JSON, such as Ignition's" if lowered.startswith(b"{") else "another first line"
        raise CannotJoin(
            index, f"expected what cloud-init joins with others, such as '#cloud-config' or '#!', got {got}"
        )
    return _encoded(index, f'{kind}; charset="utf-8"', bytes(content))


def _message(index: int, message: bytes) -> bytes:
    try:
        message.decode()
    except UnicodeDecodeError:
        # cloud-init decodes a message as a whole, so that this one would take the others with it.
        raise CannotJoin(index, "expected a MIME message in UTF-8, got other bytes") from None
    return message


def _encoded(index: int, kind: str, part: bytes) -> bytes:
    plain = part.isascii() and b"\r" not in part and b"\0" not in part and max(map(len, part.split(b"\n"))) <= MAX_LINE
    head = (
        f"Content-Type: {kind}\n"
        # cloud-init runs scripts in the order of these names; cloudbase-init runs none without a name.
        f'Content-Disposition: attachment; filename="part-{index + 1:03}"\n'
        f"Content-Transfer-Encoding: {'7bit' if plain else 'base64'}\n\n"
    )
    return head.encode() + (part if plain else base64.encodebytes(part))
