"""Reads the labels on a guest's disks, without waiting for a disk that does not answer.

A file on a dead NFS server, or a device without its storage, would block its reader, and no signal ends that. So a
child process reads, for a bounded time; a child that hangs is left to the kernel. Nothing but regular files and block
devices is opened at all: opening a tape rewinds it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import frozen

from eve_meta.machine.filesystems import labels
from eve_meta.machine.hardware import DiskImage
from eve_meta.machine.images import QCOW2_MAGIC, Image, Qcow2, Raw, Unreadable

TIMEOUT = 3.0
"""Seconds within which all disks of a guest must be read."""

MAX_ANSWER = 256 * 1024
"""The most bytes that are read from the child: the labels of hundreds of disks."""


@frozen(kw_only=True)
class Disk:
    """A disk and the labels on it.

    :ivar shown: the path, or whatever the command line has in its place.
    :ivar labels: the labels of its file systems.
    :ivar cd_labels: those of *labels* that belong to an ISO 9660 file system in a CD drive.
    :ivar unread: why some or all of the labels are unknown; "" where all are known.
    """

    shown: str
    labels: tuple[str, ...] = ()
    cd_labels: tuple[str, ...] = ()
    unread: str = ""


def read_disks(images: Sequence[DiskImage], process: Path) -> tuple[Disk, ...]:
    """Read the labels on *images*.

    :param process: ``/proc/PID`` of the VMM that sees the images.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        # os._exit(), as after any fork(): no buffer of the parent is flushed, and no exit handler runs.
        try:
            os.close(reader)
            for image in images:
                os.write(writer, json.dumps(_examine(image, process)).encode() + b"\n")
        finally:
            os._exit(0)
    os.close(writer)
    try:
        lines = _read_in_time(reader).splitlines(keepends=True)
        # Only whole lines: the child may not have finished the last one.
        answers = [json.loads(line) for line in lines if line.endswith(b"\n")]
    finally:
        os.close(reader)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        # Without waiting: the child may never end.
        os.waitpid(child, os.WNOHANG)
    answers += [{"unread": f"it was not read within {TIMEOUT:g} s"}] * (len(images) - len(answers))
    return tuple(
        Disk(
            shown=image.shown,
            labels=tuple(answer.get("labels", ())),
            cd_labels=tuple(answer.get("cd_labels", ())),
            unread=answer.get("unread", ""),
        )
        for image, answer in zip(images, answers, strict=True)
    )


def _read_in_time(reader: int) -> bytes:
    deadline = time.monotonic() + TIMEOUT
    answer = b""
    while len(answer) < MAX_ANSWER and (left := deadline - time.monotonic()) > 0:
        if select.select([reader], [], [], left)[0]:
            part = os.read(reader, MAX_ANSWER)
            if not part:
                break
            answer += part
    return answer


def _examine(image: DiskImage, process: Path) -> dict[str, Any]:
    if image.path is None:
        return {"unread": "its content is not on this host"}
    try:
        descriptor = _open(image.path, process)
    except OSError as error:
        return {"unread": f"cannot open it: {error.strerror}"}
    except Unreadable as error:
        return {"unread": str(error)}
    try:
        found = list(labels(_content(Raw(descriptor), image.format)))
    except OSError as error:
        return {"unread": f"cannot read it: {error.strerror}"}
    except Unreadable as error:
        return {"unread": str(error)}
    return {
        "labels": [label.label for label in found],
        "cd_labels": [label.label for label in found if image.cd and label.kind == "iso9660"],
    }


def _open(path: str, process: Path) -> int:
    # The path as the VMM sees it, below its own root and directory, which may be in another mount namespace.
    seen = process / "root" / path.lstrip("/") if path.startswith("/") else process / "cwd" / path
    handle = os.open(seen, os.O_PATH | os.O_CLOEXEC)
    try:
        kind = os.fstat(handle).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISBLK(kind)):
            raise Unreadable("it is neither a file nor a block device")
        return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    finally:
        os.close(handle)


def _content(file: Raw, image_format: str | None) -> Image:
    if image_format is None:
        # As QEMU does without a format.
        image_format = "qcow2" if file.read(0, 4) == QCOW2_MAGIC else "raw"
    if image_format == "raw":
        return file
    if image_format == "qcow2":
        return Qcow2(file)
    raise Unreadable(f"its format is {image_format}")
