"""What is on the disks of a running guest: their labels, read without waiting for a disk that does not answer.

A file on a dead NFS server or a device without its storage would hold up whoever reads it, and no signal ends that. So
a child reads, for a bounded time; one that hangs is left to the kernel. Nothing but regular files and block devices is
opened at all: to open a tape rewinds it.
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
from eve_meta.machine.images import QCOW2_MAGIC, Image, Qcow2, Raw, Unreadable
from eve_meta.machine.qemu import DiskImage

TIMEOUT = 3.0
"""Seconds in which all disks of a guest must be read."""

MAX_ANSWER = 256 * 1024


@frozen(kw_only=True)
class Disk:
    """A disk and the labels on it.

    :ivar shown: the path, or what else the command line says.
    :ivar labels: of its file systems; those of ISO 9660 in a CD drive are *cd_labels* too.
    :ivar unread: why its labels are not known, or not all of them; "" where they are.
    """

    shown: str
    labels: tuple[str, ...] = ()
    cd_labels: tuple[str, ...] = ()
    unread: str = ""


def read_disks(images: Sequence[DiskImage], process: Path) -> tuple[Disk, ...]:
    """The disks *images*, as the process sees them that *process* (``/proc/PID``) is about."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        # Only what fork() allows: nobody else's file is flushed, no handler of ours runs.
        try:
            os.close(reader)
            for image in images:
                os.write(writer, json.dumps(_look(image, process)).encode() + b"\n")
        finally:
            os._exit(0)
    os.close(writer)
    try:
        answers = [json.loads(line) for line in _all(reader).splitlines() if line.endswith(b"}")]
    finally:
        os.close(reader)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        # Not waited for: it may never end.
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


def _all(reader: int) -> bytes:
    deadline = time.monotonic() + TIMEOUT
    said = b""
    while len(said) < MAX_ANSWER and (left := deadline - time.monotonic()) > 0:
        if select.select([reader], [], [], left)[0]:
            piece = os.read(reader, MAX_ANSWER)
            if not piece:
                break
            said += piece
    return said


def _look(image: DiskImage, process: Path) -> dict[str, Any]:
    if image.path is None:
        return {"unread": "its content is not on this host"}
    try:
        descriptor = _open(image.path, process)
    except OSError as error:
        return {"unread": f"cannot open it: {error.strerror}"}
    except Unreadable as error:
        return {"unread": str(error)}
    found: dict[str, Any] = {"labels": []}
    try:
        content = _content(Raw(descriptor), image.format)
        every = list(labels(content))
        found = {
            "labels": [label.label for label in every],
            "cd_labels": [label.label for label in every if image.cd and label.kind == "iso9660"],
        }
    except OSError as error:
        return {"unread": f"cannot read it: {error.strerror}"}
    except Unreadable as error:
        return {"unread": str(error)}
    return found


def _open(path: str, process: Path) -> int:
    # What QEMU sees below its own root and directory, which may be another mount namespace's.
    seen = process / "root" / path.lstrip("/") if path.startswith("/") else process / "cwd" / path
    place = os.open(seen, os.O_PATH | os.O_CLOEXEC)
    try:
        kind = os.fstat(place).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISBLK(kind)):
            raise Unreadable("it is neither a file nor a block device")
        return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    finally:
        os.close(place)


def _content(file: Raw, image_format: str | None) -> Image:
    if image_format is None:
        # As QEMU does where it is not told.
        image_format = "qcow2" if file.read(0, 4) == QCOW2_MAGIC else "raw"
    if image_format == "raw":
        return file
    if image_format == "qcow2":
        return Qcow2(file)
    raise Unreadable(f"its format is {image_format}")
