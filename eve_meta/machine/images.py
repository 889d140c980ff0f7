"""Reads a disk image as its guest sees it: a few bytes at a time of a raw image or a qcow2.

The module uses neither qemu-img nor libblkid: the guest controls the content of an image, and this code runs as root.
It reads a few fixed places, with every length bounded, in a language without buffer overflows.

The header of a qcow2 belongs to the host: a guest writes only the data to which the header leads. That holds only where
the host declares the image a qcow2, or QEMU detects it (QEMU then lets no guest write a header). The first bytes of a
raw image belong to the guest and mean nothing. Backing files are never opened.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import Protocol

QCOW2_MAGIC = b"QFI\xfb"
SECTOR = 512

MAX_OFFSET = 2**62
"""No file has bytes beyond this offset, though an image may point there; pread() takes 63 bits."""

# docs/interop/qcow2.txt of QEMU, "Header".
_HEADER = struct.Struct(">4sIQIIQIIQ")
_FEATURES = struct.Struct(">Q")
_FEATURES_AT = 72
_EXTERNAL_DATA, _COMPRESSION_TYPE, _EXTENDED_L2 = 1 << 2, 1 << 3, 1 << 4
_COMPRESSED = 1 << 62
_OFFSET_MASK = 0x00FF_FFFF_FFFF_FE00
_ZERO = 1
_MIN_CLUSTER_BITS, _MAX_CLUSTER_BITS = 9, 21


class Unreadable(Exception):
    """An image whose content cannot be read; the text is the reason."""


class Image(Protocol):
    """The bytes of a disk as its guest sees them."""

    def read(self, offset: int, length: int) -> bytes:
        """Return up to *length* bytes from *offset*; fewer at the end.

        :raises Unreadable: when their content cannot be known.
        :raises OSError: when the file cannot be read.
        """


class Raw:
    """The bytes of a file or block device as they are."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._descriptor, length, offset) if offset < MAX_OFFSET else b""


class Qcow2:
    """The bytes in a qcow2 itself. Those of its backing file read as zeros.

    :raises Unreadable: when the qcow2 is of a kind that is not supported here.
    """

    def __init__(self, file: Raw) -> None:
        self._file = file
        header = file.read(0, _FEATURES_AT + _FEATURES.size)
        if len(header) < _HEADER.size or not header.startswith(QCOW2_MAGIC):
            raise Unreadable("it is no qcow2")
        _, version, _, _, bits, self._size, encrypted, self._l1_size, self._l1 = _HEADER.unpack_from(header)
        features = _FEATURES.unpack_from(header, _FEATURES_AT)[0] if version >= 3 and len(header) > _FEATURES_AT else 0
        if version not in (2, 3) or not _MIN_CLUSTER_BITS <= bits <= _MAX_CLUSTER_BITS:
            raise Unreadable("it is no qcow2 of version 2 or 3")
        if encrypted:
            raise Unreadable("it is encrypted")
        if features & (_EXTERNAL_DATA | _EXTENDED_L2):
            raise Unreadable("its data are in another file, or in subclusters")
        self._bits = bits
        self._deflated = not features & _COMPRESSION_TYPE

    def read(self, offset: int, length: int) -> bytes:
        cluster = 1 << self._bits
        content = bytearray()
        end = min(offset + length, self._size)
        while offset < end:
            within = offset % cluster
            wanted = min(cluster - within, end - offset)
            content += self._cluster(offset // cluster)[within : within + wanted].ljust(wanted, b"\0")
            offset += wanted
        return bytes(content)

    def _cluster(self, number: int) -> bytes:
        entries = 1 << (self._bits - 3)
        l1_index, l2_index = divmod(number, entries)
        if l1_index >= self._l1_size:
            return b""
        table = self._entry(self._l1 + 8 * l1_index) & _OFFSET_MASK
        entry = self._entry(table + 8 * l2_index) if table else 0
        if entry & _COMPRESSED:
            return self._inflated(entry)
        at = entry & _OFFSET_MASK
        return b"" if not at or entry & _ZERO else self._file.read(at, 1 << self._bits)

    def _entry(self, at: int) -> int:
        return int.from_bytes(self._file.read(at, 8), "big")

    def _inflated(self, entry: int) -> bytes:
        if not self._deflated:
            raise Unreadable("it is compressed by zstd")
        # "Compressed Clusters Descriptor": bits 0..x-1 are the offset, the others the number of further sectors.
        x = 62 - (self._bits - 8)
        at = entry & ((1 << x) - 1)
        sectors = (entry & (_COMPRESSED - 1)) >> x
        packed = self._file.read(at, (sectors + 1) * SECTOR - at % SECTOR)
        try:
            return zlib.decompressobj(-12).decompress(packed, 1 << self._bits)
        except zlib.error:
            raise Unreadable("a compressed part of it is broken") from None
