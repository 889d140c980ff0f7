"""The bytes that a domain holds, such as its user data: each content once, however many domains have it.

A content never changes. Its users need not know where its bytes lie: at first in an object of Python, and after
:meth:`Content.move_to` in a storage that several processes read (:class:`eve_meta.runtime.sealed.SealedMemory`). Equal
contents are one object (:func:`content_of`) for as long as anything holds it, whichever domain and source it came from:
1,000 domains with the same 1 MiB take 1 MiB.
"""

from __future__ import annotations

import hashlib
from typing import Protocol, final
from weakref import WeakValueDictionary

SMALL = 64 * 1024
"""Bytes up to which a content stays an object of Python in each process that holds it. A larger one lies in memory that
the processes share: sharing costs each of them a descriptor, which is dear for a few bytes."""


class Storage(Protocol):
    """A place that has the bytes of a content."""

    def read(self, offset: int, length: int) -> bytes:
        """Return *length* bytes from *offset* on; fewer at the end."""


@final
class Content:
    """Immutable bytes, read slice by slice: ``content[from:to]`` and ``len(content)`` work as for bytes.

    Make one by :func:`content_of`, unless its bytes lie in a storage already.

    :ivar digest: the SHA-256 of the bytes, in hexadecimal digits.
    :ivar storage: where the bytes lie now.
    """

    __slots__ = ("__weakref__", "_size", "digest", "storage")

    def __init__(self, size: int, digest: str, storage: bytes | Storage) -> None:
        self._size = size
        self.digest = digest
        self.storage = storage

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        begin, end, _ = part.indices(self._size)
        if isinstance(self.storage, bytes):
            return self.storage[begin:end]  # a slice of all bytes is the object itself
        return self.storage.read(begin, max(0, end - begin))

    def __bytes__(self) -> bytes:
        return self[:]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Content) and (self is other or self.digest == other.digest)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<Content of {self._size} bytes>"  # neither bytes nor digest: they may be a secret

    def move_to(self, storage: Storage) -> None:
        """Read the bytes from *storage*, which holds the same bytes, from now on."""
        self.storage = storage


_KNOWN: WeakValueDictionary[str, Content] = WeakValueDictionary()


def content_of(data: bytes | Content) -> Content:
    """Return the content with the bytes *data*: the same object each time, as long as something refers to it."""
    if isinstance(data, Content):
        return data
    digest = hashlib.sha256(data).hexdigest()
    # Two threads that do this at the same time may make two objects. They are equal all the same.
    return _KNOWN.setdefault(digest, Content(len(data), digest, data))


EMPTY = content_of(b"")
"""No bytes."""
