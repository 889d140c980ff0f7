"""Reading a file that may be anything: of bounded size, without waiting, with a stamp that tells whether it changed.

The law: what is read was whole. A file that somebody has open for writing is not read, since half of a YAML file is
often good YAML, and half a script is a script. Whoever writes a file in pieces, closing it after each, cannot be told
from one who has finished; for that there is rename(2).
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import stat
import time
from pathlib import Path

from attrs import field, frozen

DEBOUNCE = 0.05
"""Seconds from the first event to the scan. Programs that install many files, and editors, cause bursts of events."""

RACY_NS = 100_000_000
"""Nanoseconds for which a file's times do not prove that it is unchanged: the kernel stamps files with the time of its
last timer tick, so that two writes within one tick (10 ms at HZ=100) look alike. As git's "racy" index entries. After
a clock was set back, files may be of the future; they prove it as well, for the next write will not be of that time."""

Stamp = tuple[int, ...] | None
"""What changes when a file does; None for a file that was written just now, which equals no later stamp."""


@frozen
class Read:
    """What reading a file gave.

    :ivar stamp: see :data:`Stamp`; of a file that cannot be found, as :func:`stamp` says.
    :ivar content: the bytes; None where they cannot be had.
    :ivar why: then the reason, in one line that names the file.
    :ivar public: whether every user may read the file, as far as its own mode says.
    """

    stamp: Stamp
    content: bytes | None = field(default=None, repr=False)
    why: str = ""
    public: bool = False


def stamp(path: str) -> Stamp:
    """The stamp of the file at *path*; of one that cannot be found, the reason."""
    try:
        return _stamp(os.stat(path))
    except OSError as error:
        return (error.errno or 0,)


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def read(path: str, limit: int) -> Read:
    """Read the file at *path*.

    :param limit: bytes; a file that has more is not read.
    """
    try:
        # Without O_NONBLOCK, a FIFO of this name would hold up the reactor until somebody writes to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except BlockingIOError:
        # A lease for writing, which file servers take for their clients (Samba's oplocks, NFS' delegations) and give
        # back now; nothing of the file changes by that.
        return Read(None, why=f"{path!r} is held by another program: what it says counts when that has let it go")
    except OSError as error:
        return Read(stamp(path), why=f"cannot read {path!r}: {error.strerror}")
    mark: Stamp = None
    try:
        if _is_being_written(descriptor):
            return Read(
                None, why=f"{path!r} is open for writing: what it says counts when whoever writes it has closed it"
            )
        status = os.fstat(descriptor)
        changed = max(status.st_mtime_ns, status.st_ctime_ns)
        mark = _stamp(status) if abs(time.time_ns() - changed) > RACY_NS else None
        if not stat.S_ISREG(status.st_mode):
            return Read(mark, why=f"expected {path!r} to be a file, got something else")
        with open(descriptor, "rb", closefd=False) as file:
            content = b"" if status.st_size > limit else file.read(limit + 1)
    except OSError as error:
        return Read(mark, why=f"cannot read {path!r}: {error.strerror}")
    finally:
        os.close(descriptor)
    if max(status.st_size, len(content)) > limit:
        return Read(mark, why=f"expected at most {limit} bytes, got more in {path!r}")
    return Read(mark, content, public=bool(status.st_mode & stat.S_IROTH))


_REMOTE = re.compile(rb" - (?:nfs4?|cifs|smb3) ")
"""File systems that give leases only where the server does, which most often it does not (fs/nfs/nfs4proc.c,
fs/smb/client/cifsfs.c), as /proc/self/mountinfo names them."""


def _is_being_written(descriptor: int) -> bool:
    """Whether somebody has the file open for writing; if nobody has, nobody can until *descriptor* is closed.

    That is what a lease for reading means, and the kernel gives none while the file is open for writing (fcntl(2),
    "Leases"). Who opens it meanwhile waits the milliseconds that reading it takes. Only a file's owner may have a
    lease, and directories, FIFOs and some file systems have none: there nothing can be said, which is no hindrance.
    """
    try:
        # Of the end of a lease tells SIGIO, which ends a process that does not expect it; this one does nothing.
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
    """The ids of the mounts in *mountinfo* (proc_pid_mountinfo(5)) whose files are on another machine."""
    return {line.split(maxsplit=1)[0] for line in mountinfo.splitlines() if _REMOTE.search(line)}
