"""Reads the labels of the file systems on a disk as ``blkid`` in its guest shows them: ISO 9660, FAT and ext2 to ext4.

cloud-init's seeds have one of these. The file system may fill the disk or a partition of it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from attrs import frozen

from eve_meta.machine.images import SECTOR, Image

ISO_SECTOR = 2048
_ISO_DESCRIPTORS = range(16, 32)
"""The sectors of volume descriptors (ECMA-119 section 8.1). One of type 255 ends them; no image has as many as 16."""

_JOLIET = (b"%/@", b"%/C", b"%/E")

MAX_PARTITIONS = 128
_MAX_DIRECTORY = 64 * 1024
"""The most bytes of a FAT's root directory that are read; the label is among the first entries."""


@frozen
class FilesystemLabel:
    """The label of a file system.

    :ivar kind: "iso9660", "vfat" or "ext".
    """

    kind: str
    label: str


def labels(image: Image) -> Iterator[FilesystemLabel]:
    """Yield the labels on *image*. A broken file system has none.

    :raises Unreadable: when the image's ``read`` does.
    :raises OSError: when the image's ``read`` does.
    """
    yield from _file_system(image, 0)
    for start in _partitions(image):
        yield from _file_system(image, start)


def _file_system(image: Image, start: int) -> Iterator[FilesystemLabel]:
    yield from _iso9660(image, start)
    yield from _fat(image, start)
    superblock = image.read(start + 1024, 256)
    # "struct ext4_super_block": s_magic at 0x38, s_volume_name at 0x78.
    if superblock[0x38:0x3A] == b"\x53\xef" and (name := _text(superblock[0x78:0x88])):
        yield FilesystemLabel("ext", name)


def _text(raw: bytes, encoding: str = "utf-8") -> str:
    return raw.decode(encoding, errors="replace").partition("\0")[0].rstrip(" ")


def _iso9660(image: Image, start: int) -> Iterator[FilesystemLabel]:
    primary = joliet = ""
    for sector in _ISO_DESCRIPTORS:
        descriptor = image.read(start + sector * ISO_SECTOR, ISO_SECTOR)
        if descriptor[1:6] != b"CD001" or descriptor[0] == 255:
            break
        if descriptor[0] == 1 and not primary:
            primary = _text(descriptor[40:72])
        elif descriptor[0] == 2 and descriptor[88:91] in _JOLIET:
            joliet = _text(descriptor[40:72], "utf-16-be")
    # As util-linux does: a label of Joliet has lower case, too, and is longer.
    if name := joliet if len(joliet) >= len(primary) else primary:
        yield FilesystemLabel("iso9660", name)


def _fat(image: Image, start: int) -> Iterator[FilesystemLabel]:
    boot = image.read(start, SECTOR)
    if boot[510:512] != b"\x55\xaa" or not (boot[54:57] == b"FAT" or boot[82:87] == b"FAT32"):
        return
    sector_size, cluster_size, reserved, tables, entries = struct.unpack_from("<HBHBH", boot, 11)
    table_size = int.from_bytes(boot[22:24], "little") or int.from_bytes(boot[36:40], "little")
    in_boot_sector = boot[71:82] if boot[82:87] == b"FAT32" else boot[43:54]
    directory = reserved + tables * table_size
    length = entries * 32
    if boot[82:87] == b"FAT32":
        directory += (int.from_bytes(boot[44:48], "little") - 2) * cluster_size
        length = cluster_size * sector_size
    names = {_fat_name(in_boot_sector)}
    if directory > 0:
        content = image.read(start + directory * sector_size, min(length, _MAX_DIRECTORY))
        for at in range(0, len(content), 32):
            entry = content[at : at + 32]
            # A volume label, but no part of a long name: that has all of the low four bits set.
            if len(entry) > 11 and entry[0] != 0xE5 and entry[11] & 0x18 == 0x08 and entry[11] & 0x0F != 0x0F:
                names.add(_fat_name(entry[:11]))
    yield from (FilesystemLabel("vfat", name) for name in sorted(names - {""}))


def _fat_name(raw: bytes) -> str:
    name = _text(raw, "latin-1")
    return "" if name == "NO NAME" else name


def _partitions(image: Image) -> Iterator[int]:
    """Yield the offset of each partition of *image*, in bytes."""
    sector = image.read(0, SECTOR)
    if sector[510:512] != b"\x55\xaa":
        return
    starts: set[int] = set()
    for at in range(446, 510, 16):
        kind, begin = sector[at + 4], int.from_bytes(sector[at + 8 : at + 12], "little")
        if kind == 0xEE:
            starts.update(_gpt(image))
        elif kind and begin:
            starts.add(begin * SECTOR)
    yield from sorted(starts)


def _gpt(image: Image) -> Iterator[int]:
    # UEFI specification section 5.3.2.
    header = image.read(SECTOR, 92)
    if len(header) < 92 or not header.startswith(b"EFI PART"):
        return
    size, checksum = struct.unpack_from("<II", header, 12)
    if size != 92 or zlib.crc32(header[:16] + bytes(4) + header[20:92]) != checksum:
        return
    table, number, entry_size = struct.unpack_from("<QII", header, 72)
    if entry_size != 128:
        return
    entries = image.read(table * SECTOR, min(number, MAX_PARTITIONS) * entry_size)
    for at in range(0, len(entries) - entry_size + 1, entry_size):
        kind, begin = entries[at : at + 16], int.from_bytes(entries[at + 32 : at + 40], "little")
        if any(kind) and begin:
            yield begin * SECTOR
