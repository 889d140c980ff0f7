"""Reads a file that may be anything: with bounded size, without waiting, and with a stamp that shows later changes.

The law: only whole files are read. A file that somebody has open for writing is not read, since half of a YAML file is
often good YAML, and half of a script is a script. A writer that closes the file after each part looks like one that has
finished; such writers should use rename(2).
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import stat
import time
from pathlib import Path

from attrs import field, frozen

DEBOUNCE = 0.05
"""Seconds from the first event to the scan. Editors, and programs that install many files, cause bursts of events."""

RACY_NS = 100_000_000
"""Nanoseconds for which a file's times do not prove that it is unchanged: the kernel stamps files with the time of its
last timer tick, so that two writes within one tick (10 ms at HZ=100) look alike. git calls such index entries "racy".
After a clock was set back, files may be of the future. Their times do prove it, for the next write will have another
time."""

HOST = "/proc/1/root"
"""The file system as process 1 sees it, and so the host."""

HIDDEN = "the host has it, but the service has a /tmp, /var/tmp and /dev of its own; keep it elsewhere"
"""Why a file is not found that is there: the systemd unit has ``PrivateTmp=`` and ``PrivateDevices=``."""

Stamp = tuple[int, ...] | None
"""A value that changes when the file does. None is the stamp of a file that was written just now: it proves nothing."""


@frozen
class Read:
    """The result of reading a file.

    :ivar stamp: see :data:`Stamp`, and :func:`stamp` for a file that cannot be found.
    :ivar content: the bytes, None where they cannot be read.
    :ivar why: why there is no content, in one line that names the file.
    :ivar public: whether the file's own mode lets every user read it.
    """

    stamp: Stamp
    content: bytes | None = field(default=None, repr=False)
    why: str = ""
    public: bool = False


def stamp(path: str) -> Stamp:
    """Return the stamp of the file at *path*, or the error number where it cannot be found."""
    try:
        return _stamp(os.stat(path))
    except OSError as error:
        return (error.errno or 0,)


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def read(path: str, limit: int) -> Read:
    """Read the file at *path*.

    :param limit: in bytes. A larger file is not read.
    """
    try:
        # Without O_NONBLOCK, a FIFO of this name would block the reactor until somebody writes to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except BlockingIOError:
        # A lease for writing, which file servers take for their clients (Samba's oplocks, NFS' delegations). They give
        # it up now, and that changes nothing about the file.
        return Read(None, why=f"{path!r} is held by another program: it is read when that program has released it")
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            return Read(stamp(path), why=_no_file(path))
        hidden = error.errno == errno.ENOENT and os.path.exists(f"{HOST}{os.path.abspath(path)}")
        return Read(stamp(path), why=f"cannot read {path!r}: {HIDDEN if hidden else error.strerror}")
    mark: Stamp = None
    try:
        if _is_being_written(descriptor):
            return Read(None, why=f"{path!r} is open for writing: it is read when its writer has closed it")
        status = os.fstat(descriptor)
        changed = max(status.st_mtime_ns, status.st_ctime_ns)
        mark = _stamp(status) if abs(time.time_ns() - changed) > RACY_NS else None
        if not stat.S_ISREG(status.st_mode):
            return Read(mark, why=_no_file(path))
        with open(descriptor, "rb", closefd=False) as file:
            content = b"" if status.st_size > limit else file.read(limit + 1)
    except OSError as error:
        return Read(mark, why=f"cannot read {path!r}: {error.strerror}")
    finally:
        os.close(descriptor)
    if max(status.st_size, len(content)) > limit:
        return Read(mark, why=f"expected at most {limit} bytes, got more in {path!r}")
    return Read(mark, content, public=bool(status.st_mode & stat.S_IROTH))


def _no_file(path: str) -> str:
    return f"expected {path!r} to be a file, got something else"


_REMOTE = re.compile(rb" - (?:nfs4?|cifs|smb3) ")
"""File systems, as /proc/self/mountinfo names them, that grant leases only where the server does, which it mostly does
not (fs/nfs/nfs4proc.c, fs/smb/client/cifsfs.c)."""


def _is_being_written(descriptor: int) -> bool:
    """Return whether somebody has the file open for writing. If nobody has, nobody can until *descriptor* is closed.

    That is what a lease for reading means, and the kernel grants none while the file is open for writing (fcntl(2),
    "Leases"). Whoever opens the file while it is read waits for the milliseconds that this takes. Only a file's owner
    may have a lease, and directories, FIFOs and some file systems have none: there nobody can know, and the file is
    read.
    """
    try:
        # The kernel announces the end of a lease by SIGIO, which ends a process that does not expect it. SIGURG does
        # nothing.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return not _is_remote(descriptor)
    except OSError:
        pass
    return False


def _is_remote(descriptor: int) -> bool:
    mount = re.search(rb"^mnt_id:\s*(\d+)$", Path(f"/proc/self/fdinfo/{descriptor}").read_bytes(), re.MULTILINE)
    return mount is not None and mount[1] in remote_mounts(Path("/proc/self/mountinfo").read_bytes())


def remote_mounts(mountinfo: bytes) -> set[bytes]:
    """Return the ids of those mounts in *mountinfo* (proc_pid_mountinfo(5)) whose files are on another machine."""
    return {line.split(maxsplit=1)[0] for line in mountinfo.splitlines() if _REMOTE.search(line)}
