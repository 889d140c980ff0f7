"""What root and the reader tell each other: frames of JSON and bytes over a socket pair, one answer for each question.

A question is a document that somebody else wrote, with a head that states its kind; the answers come in the order of
the questions. Bytes that a document contains, such as user data, are no JSON, but follow the head, one *part* after the
other.

The reader has read what tenants wrote, so it may be compromised. Root reads no more of an answer than an honest one
can have (:class:`Frames`, :func:`max_head`, :func:`max_parts`), in time that grows as that does, and makes values of it
that refuse what no honest reader sends.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from attrs import field, frozen

CHANNEL_FD = 3
"""The descriptor that the reader inherits: its end of the socket pair."""

DOCUMENT_TIME = 2.0
"""Seconds that the reader has for one document. A domain file of the usual size takes a millisecond."""

DOCUMENT_MEMORY = 768 * 1024 * 1024
"""Bytes of address space of the reader. The largest domain file, 16 MiB of user data in base64, takes 250 MiB; an empty
Python has some 30."""

OUT_OF_MEMORY = 77
"""The exit status of a reader that found no memory for a document."""

MAX_FAULTS = 20
"""The most mistakes of one document that are reported one by one."""

MAX_MESSAGE = 1000
"""The most characters of a message about a mistake."""

MAX_FIELD = 200
"""The most characters of the path to a field in such a message."""

MAX_PATH = 1024
"""The most characters of the path in ``user_data_file``. A longer one is user data in the wrong field, rather; Linux
takes 4,095 bytes."""

_SIZES = struct.Struct("!II")


def max_head(size: int) -> int:
    """Return the most bytes of the JSON that answers a document of *size* bytes.

    YAML's ``[~,~]`` has two bytes a value, JSON's ``null,`` five, and aliases may double the whole; beside it there are
    :data:`MAX_FAULTS` messages.
    """
    return 8 * size + 64 * 1024


def max_parts(size: int) -> int:
    """Return the most bytes of the parts that answer a document of *size* bytes."""
    return 3 * size + 64 * 1024


def pack(head: Mapping[str, Any], parts: Sequence[bytes]) -> bytes:
    """Return a frame."""
    text = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return b"".join((_SIZES.pack(len(text), sum(map(len, parts))), text, *parts))


READY = pack({}, ())
"""What the reader sends, once, when it is confined."""


class Frames:
    """Takes a stream apart into frames.

    :ivar may_be: called with the sizes of head and parts in bytes before they are read; where it returns False,
        :meth:`feed` raises ValueError.
    """

    def __init__(self, may_be: Callable[[int, int], bool]) -> None:
        self._may_be = may_be
        self._chunks: list[bytes] = []
        self._size = 0
        self._wanted = _SIZES.size
        self._head: int | None = None

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the head and the parts of each frame that *data* completes.

        :raises ValueError: when a frame is larger than it may be.
        """
        self._chunks.append(data)
        self._size += len(data)
        while self._size >= self._wanted:
            whole = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
            piece, rest = whole[: self._wanted], whole[self._wanted :]
            self._chunks, self._size = [rest], len(rest)
            if self._head is None:
                head, parts = _SIZES.unpack(piece)
                if not self._may_be(head, parts):
                    raise ValueError(f"a frame of {head} and {parts} bytes")
                self._head, self._wanted = head, head + parts
            else:
                head, self._head, self._wanted = self._head, None, _SIZES.size
                yield piece[:head], piece[head:]


class Parts:
    """The parts of an answer, which are taken one after the other.

    :param sizes: the bytes of each, as the head has them.
    """

    def __init__(self, content: bytes, sizes: Sequence[int]) -> None:
        if sum(sizes) != len(content) or any(size < 0 for size in sizes):
            raise ValueError("parts of other sizes than the head has")
        self._content = memoryview(content)
        self._sizes = list(sizes)
        self._taken = 0
        self._at = 0

    def take(self, index: int) -> bytes:
        """Return the part with *index*, which must be the next one."""
        if index != self._taken or index >= len(self._sizes):
            raise ValueError("parts in another order")
        begin, self._at = self._at, self._at + self._sizes[index]
        self._taken += 1
        return bytes(self._content[begin : self._at])


@frozen
class FaultAt:
    """A mistake in a document.

    :ivar line: counted from 1, None where it concerns the document as a whole.
    :ivar field: the path to the field, "" for none.
    :ivar column: counted from 1, None where the line as a whole is wrong.
    """

    line: int | None
    field: str
    message: str
    column: int | None = None


@frozen(kw_only=True)
class DomainAnswer:
    """A domain file that has been read.

    :ivar domain: the domain as plain data, None where something is wrong. In place of bytes there is the index of a
        part.
    :ivar beside: the path that ``user_data_file`` has, None for none. The reader cannot open it.
    :ivar beside_line: its line.
    :ivar lines: the lines of the fields that a later problem may name, by the path to each: uuid, name, taps, profiles,
        user data.
    :ivar faults: the first :data:`MAX_FAULTS` mistakes, by their lines.
    :ivar more: the number of mistakes beyond these.
    :ivar parts: the bytes of each part.
    """

    domain: dict[str, Any] | None = field(default=None, repr=False)
    beside: str | None = None
    beside_line: int | None = None
    lines: dict[str, int] = field(factory=dict)
    faults: list[FaultAt] = field(factory=list)
    more: int = 0
    parts: list[int] = field(factory=list)


@frozen(kw_only=True)
class XmlAnswer:
    """libvirt's XML of a domain that has been read.

    :ivar error: why it is no such XML, "" where it is one. Then nothing else is of use.
    :ivar active: whether the domain runs or is paused.
    :ivar nics: as plain data of :class:`~eve_meta.values.nic.Nic`.
    :ivar networks: the libvirt network that each of *nics* is in, None for none.
    :ivar kinds: the kind of each of *nics*: "tap", or a key of :data:`eve_meta.values.bypass.BYPASSES`.
    :ivar disks: as plain data of :class:`~eve_meta.values.domain.Disk`.
    :ivar metadata: eve-meta's own element, None where there is none or an empty one.
    """

    error: str = ""
    uuid: str = ""
    name: str = ""
    active: bool = False
    nics: list[dict[str, Any]] = field(factory=list)
    networks: list[str | None] = field(factory=list)
    kinds: list[str] = field(factory=list)
    disks: list[dict[str, Any]] = field(factory=list)
    metadata: DomainAnswer | None = field(default=None, repr=False)
    parts: list[int] = field(factory=list)


@frozen(kw_only=True)
class EveAnswer:
    """A file of EVE-OS that has been read.

    :ivar value: plain data, None where the file is not of the form that EVE publishes. In place of bytes there is the
        index of a part.
    :ivar path: the path to the field that is wrong, "" for the file as a whole.
    :ivar message: what is wrong.
    """

    value: Any = field(default=None, repr=False)
    path: str = ""
    message: str = ""
    parts: list[int] = field(factory=list)
