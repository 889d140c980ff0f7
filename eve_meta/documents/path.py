"""The one normalisation of a path: whatever a guest writes names a place below the root of its own tree, or nothing.

In this order, each step once: the query is cut off, the path is split at "/", each segment is percent-decoded, then
empty segments and "." vanish and ".." removes the segment before it, if there is one. No second reader can take the
result for another path: no segment is empty, is "." or "..", or holds "/" or NUL.

nova normalises alike, but for "%2F", which to nova is a "/".
"""

from __future__ import annotations

import re

_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")


class BadPath(ValueError):
    """A path that no document can have and no known client sends: the answer is 400."""


def normalise(path: bytes) -> tuple[str, ...]:
    """Return the segments that *path*, the path and query of a request target, names; ``()`` is the root.

    :raises BadPath: when a "%" is not followed by two hexadecimal digits (RFC 3986 section 2.1), when a decoded segment
        is not UTF-8, or when it holds a NUL or a "/": a second reader might take such a segment for two.
    """
    path = path.partition(b"?")[0]
    segments: list[str] = []
    for segment in _decoded(path):
        if segment == "..":
            # "%2e" is "." (RFC 3986 section 6.2.2.2), so dots are looked at after the decoding.
            del segments[-1:]
        elif segment not in ("", "."):
            segments.append(segment)
    return tuple(segments)


def _decoded(path: bytes) -> list[str]:
    try:
        # No path that a known client asks for has anything to decode.
        segments = [_unescape(raw).decode() for raw in path.split(b"/")] if b"%" in path else path.decode().split("/")
    except UnicodeDecodeError:
        raise BadPath("not UTF-8") from None
    if "\0" in "".join(segments):
        raise BadPath("a NUL")
    return segments


def _unescape(raw: bytes) -> bytes:
    raw = _ESCAPE.sub(_byte, raw)
    if b"/" in raw:
        raise BadPath("an encoded '/'")
    return raw


def _byte(escape: re.Match[bytes]) -> bytes:
    digits = escape[1]
    if digits is None:
        raise BadPath("a '%' without two hexadecimal digits")
    return bytes.fromhex(digits.decode())
