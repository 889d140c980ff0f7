"""Labels of real images, compared with what blkid shows; and images that are made to do harm."""

from __future__ import annotations

import contextlib
import os
import random
import struct
import subprocess
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eve_meta.machine import disks
from eve_meta.machine.disks import Disk, read_disks
from eve_meta.machine.filesystems import FilesystemLabel, labels
from eve_meta.machine.hardware import DiskImage
from eve_meta.machine.images import Qcow2, Raw, Unreadable

SELF = Path("/proc/self")
MIB = 1024 * 1024

TOOLS = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "MTOOLS_SKIP_CHECK": "1"}


def run(*command: str | Path) -> str:
    return subprocess.run([*map(str, command)], env=TOOLS, capture_output=True, text=True, check=True).stdout


def iso(path: Path, label: str) -> None:
    seed = path.parent / "seed"
    seed.mkdir(exist_ok=True)
    (seed / "meta-data").write_text("instance-id: x\n")
    # As cloud-localds makes a seed.
    run("genisoimage", "-quiet", "-output", path, "-volid", label, "-joliet", "-rock", seed)


def plain_iso(path: Path, label: str) -> None:
    seed = path.parent / "seed"
    seed.mkdir(exist_ok=True)
    run("genisoimage", "-quiet", "-output", path, "-volid", label, seed)


def fat(bits: int) -> Callable[[Path, str], None]:
    def make(path: Path, label: str) -> None:
        path.write_bytes(b"")
        os.truncate(path, {12: 1, 16: 20, 32: 64}[bits] * MIB)
        run("mkfs.vfat", "-F", str(bits), "-n", label, path)

    return make


def ext(version: int) -> Callable[[Path, str], None]:
    def make(path: Path, label: str) -> None:
        path.write_bytes(b"")
        os.truncate(path, 8 * MIB)
        run("mke2fs", "-q", "-t", f"ext{version}", "-L", label, path)

    return make


MAKERS: dict[str, Callable[[Path, str], None]] = {
    "iso": iso,
    "plain iso": plain_iso,
    "fat12": fat(12),
    "fat16": fat(16),
    "fat32": fat(32),
    "ext2": ext(2),
    "ext4": ext(4),
}


def of_raw(path: Path) -> list[FilesystemLabel]:
    with open(path, "rb") as file:
        return list(labels(Raw(file.fileno())))


def of_qcow2(path: Path) -> list[FilesystemLabel]:
    with open(path, "rb") as file:
        return list(labels(Qcow2(Raw(file.fileno()))))


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("label", ["cidata", "CIDATA", "config-2", "a b"])
def test_a_label_is_the_one_that_blkid_shows(tmp_path: Path, maker: str, label: str) -> None:
    image = tmp_path / "image"
    MAKERS[maker](image, label)
    expected = run("blkid", "--probe", "--output", "value", "--match-tag", "LABEL", image).rstrip("\n")
    assert [each.label for each in of_raw(image)] == [expected]


@pytest.mark.parametrize("compressed", [(), ("-c",)], ids=["plain", "compressed"])
@pytest.mark.parametrize("options", ["compat=1.1", "compat=0.10", "cluster_size=512", "cluster_size=2M"])
@pytest.mark.parametrize("maker", ["iso", "fat16", "ext4"])
def test_a_qcow2_reads_as_the_image_in_it(
    tmp_path: Path, maker: str, options: str, compressed: tuple[str, ...]
) -> None:
    image, qcow2 = tmp_path / "image", tmp_path / "image.qcow2"
    MAKERS[maker](image, "cidata")
    run("qemu-img", "convert", *compressed, "-O", "qcow2", "-o", options, image, qcow2)
    assert of_qcow2(qcow2) == of_raw(image)
    with open(qcow2, "rb") as file:
        content = Qcow2(Raw(file.fileno()))
        raw = image.read_bytes()
        assert content.read(0, len(raw)) == raw
        assert content.read(len(raw) - 10, 4096) == raw[-10:]


@pytest.mark.parametrize("table", ["gpt", "dos"])
def test_partitions_have_labels_too(tmp_path: Path, table: str) -> None:
    image, part = tmp_path / "disk", tmp_path / "part"
    image.write_bytes(b"")
    os.truncate(image, 32 * MIB)
    plan = f"label: {table}\nstart=2048, size=16384\nstart=20480, size=16384\n"
    subprocess.run(["sfdisk", "--quiet", image], env=TOOLS, input=plan, text=True, check=True)
    for number, (maker, label) in enumerate((("ext4", "rootfs"), ("fat12", "CIDATA"))):
        MAKERS[maker](part, label)
        with open(image, "r+b") as file:
            file.seek((2048, 20480)[number] * 512)
            file.write(part.read_bytes()[: 16384 * 512])
    assert of_raw(image) == [FilesystemLabel("ext", "rootfs"), FilesystemLabel("vfat", "CIDATA")]


# -- through QEMU's eyes --


def test_disks_are_read_as_the_command_line_describes_them(tmp_path: Path) -> None:
    seed = tmp_path / "seed.iso"
    iso(seed, "cidata")
    qcow2, overlay = tmp_path / "a.qcow2", tmp_path / "b.qcow2"
    run("qemu-img", "convert", "-O", "qcow2", seed, qcow2)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", qcow2, "-F", "qcow2", overlay)
    images = [
        DiskImage(path=str(seed), shown="seed", format="raw", cd=True),
        DiskImage(path=str(seed), shown="relative"),
        DiskImage(path=str(qcow2), shown="qcow2"),
        DiskImage(path=str(qcow2), shown="as raw", format="raw"),
        DiskImage(path=str(overlay), shown="overlay", format="qcow2"),
        DiskImage(path=None, shown="rbd"),
        DiskImage(path=str(tmp_path / "none"), shown="none"),
        DiskImage(path="/dev/null", shown="device"),
        DiskImage(path=str(seed), shown="vmdk", format="vmdk"),
    ]
    assert read_disks(images, SELF) == (
        Disk(shown="seed", labels=("cidata",), cd_labels=("cidata",)),
        Disk(shown="relative", labels=("cidata",)),
        Disk(shown="qcow2", labels=("cidata",)),
        # The guest of a raw image may write anything into it, even the header of a qcow2.
        Disk(shown="as raw"),
        # The backing file is not read.
        Disk(shown="overlay"),
        Disk(shown="rbd", unread="its content is not on this host"),
        Disk(shown="none", unread="cannot open it: No such file or directory"),
        Disk(shown="device", unread="it is neither a file nor a block device"),
        Disk(shown="vmdk", unread="its format is vmdk"),
    )


def test_a_path_is_as_the_process_sees_it(tmp_path: Path) -> None:
    iso(tmp_path / "seed.iso", "cidata")
    process = tmp_path / "proc"
    process.mkdir()
    (process / "cwd").symlink_to(tmp_path)
    (process / "root").symlink_to(tmp_path)
    images = [DiskImage(path="seed.iso", shown="a"), DiskImage(path="/seed.iso", shown="b")]
    assert [disk.labels for disk in read_disks(images, process)] == [("cidata",), ("cidata",)]


def test_a_fifo_is_not_opened(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (disk,) = read_disks([DiskImage(path=str(fifo), shown="fifo")], SELF)
    assert disk.unread == "it is neither a file nor a block device"


def test_a_disk_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    iso(tmp_path / "seed.iso", "cidata")
    look = disks._examine

    def hang(image: DiskImage, process: Path) -> dict[str, object]:
        if image.shown == "dead":
            time.sleep(60)
        return look(image, process)

    monkeypatch.setattr(disks, "_examine", hang)
    monkeypatch.setattr(disks, "TIMEOUT", 0.3)
    images = [DiskImage(path=str(tmp_path / "seed.iso"), shown=shown) for shown in ("good", "dead", "after")]
    began = time.monotonic()
    good, dead, after = read_disks(images, SELF)
    assert time.monotonic() - began < 2
    assert good.labels == ("cidata",)
    assert dead.unread == after.unread == "it was not read within 0.3 s"


# -- images made to do harm --


@given(st.binary(max_size=4096))
@settings(max_examples=200)
def test_no_content_raises(data: bytes) -> None:
    with open(os.memfd_create("image"), "r+b") as file:
        file.write(data)
        file.flush()
        list(labels(Raw(file.fileno())))


def test_a_real_image_with_any_byte_changed_is_read_or_refused(tmp_path: Path) -> None:
    image, qcow2 = tmp_path / "image", tmp_path / "image.qcow2"
    MAKERS["fat12"](image, "cidata")
    run("qemu-img", "convert", "-c", "-O", "qcow2", image, qcow2)
    good = qcow2.read_bytes()
    chance = random.Random(1)
    began = time.monotonic()
    for _ in range(300):
        bad = bytearray(good)
        for _ in range(4):
            bad[chance.choice((chance.randrange(112), chance.randrange(len(bad))))] = chance.randrange(256)
        with open(os.memfd_create("image"), "r+b") as file:
            file.write(bad)
            file.flush()
            with contextlib.suppress(Unreadable, OSError):
                list(labels(Qcow2(Raw(file.fileno()))))
    assert time.monotonic() - began < 20


def test_a_partition_table_beyond_all_bytes_is_ignored() -> None:
    header = bytearray(512)
    header[:8] = b"EFI PART"
    struct.pack_into("<I", header, 12, 92)
    struct.pack_into("<QII", header, 72, 2**64 - 1, 128, 128)
    struct.pack_into("<I", header, 16, zlib.crc32(header[:16] + bytes(4) + header[20:92]))
    mbr = bytearray(512)
    mbr[450], mbr[454], mbr[510:512] = 0xEE, 1, b"\x55\xaa"
    with open(os.memfd_create("image"), "r+b") as file:
        file.write(mbr + header)
        file.flush()
        assert list(labels(Raw(file.fileno()))) == []


@pytest.mark.parametrize(
    ("offset", "value", "why"),
    [
        (0, b"QFI\0", "no qcow2"),
        (4, struct.pack(">I", 9), "version"),
        (20, struct.pack(">I", 40), "version"),
        (32, struct.pack(">I", 2), "encrypted"),
        (72, struct.pack(">Q", 1 << 2), "another file"),
        (72, struct.pack(">Q", 1 << 4), "subclusters"),
    ],
)
def test_a_qcow2_of_another_kind_is_refused(tmp_path: Path, offset: int, value: bytes, why: str) -> None:
    qcow2 = tmp_path / "image.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", qcow2, "1M")
    with open(qcow2, "r+b") as file:
        file.seek(offset)
        file.write(value)
    with pytest.raises(Unreadable, match=why):
        of_qcow2(qcow2)
