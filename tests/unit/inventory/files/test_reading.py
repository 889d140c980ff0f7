"""Files that are not whole, or whose times prove nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eve_meta.inventory.files import reading

LIMIT = 100


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.yaml"
    path.write_text("name: a\n")
    return path


@pytest.mark.parametrize("mode", ["w", "a", "r+"])
def test_a_file_that_is_being_written_is_not_read(path: Path, mode: str) -> None:
    with path.open(mode) as file:
        file.write("name: half")
        file.flush()
        read = reading.read(str(path), LIMIT)
        assert (read.content, read.stamp) == (None, None)
        assert read.why == f"{str(path)!r} is open for writing: it is read when its writer has closed it"
    assert reading.read(str(path), LIMIT).content == path.read_bytes()


def test_a_file_that_another_process_reads_is_read(path: Path) -> None:
    with path.open() as _:
        assert reading.read(str(path), LIMIT).content == b"name: a\n"


def test_a_writer_waits_for_the_end_of_the_reading_and_does_not_kill_the_reader(path: Path) -> None:
    """Otherwise half of the old and half of the new content would be read, or SIGIO would kill the reader."""
    descriptor = os.open(path, os.O_RDONLY)
    assert not reading._is_being_written(descriptor)
    with subprocess.Popen(["sh", "-c", 'echo "name: b" >"$0"', path]) as writer:
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(0.2)
        assert path.read_text() == "name: a\n"
        os.close(descriptor)
        assert writer.wait(5) == 0
    assert path.read_text() == "name: b\n"


def test_a_file_that_a_file_server_holds_for_a_client_is_read_after_its_release(path: Path) -> None:
    """The server holds a lease for writing. Nothing about the file shows afterwards that it can be read now."""
    holder = (
        "import fcntl, os, signal, sys\n"
        "file = os.open(sys.argv[1], os.O_RDWR)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})\n"
        "fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n"
        "print(flush=True)\n"
        "signal.sigwait({signal.SIGIO})\n"
    )
    os.utime(path, (1, 1))
    with subprocess.Popen([sys.executable, "-c", holder, path], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()
        read = reading.read(str(path), LIMIT)
        assert read.content is None
        assert read.why == f"{str(path)!r} is held by another program: it is read when that program has released it"
        assert server.wait(5) == 0
    assert read.stamp != reading.stamp(str(path))
    assert reading.read(str(path), LIMIT).content == b"name: a\n"


def test_a_file_whose_leases_another_machine_grants_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS and SMB refuse a lease as if somebody wrote the file."""
    monkeypatch.setattr(reading, "_is_remote", lambda _descriptor: True)
    with path.open("a"):
        assert reading.read(str(path), LIMIT).content == b"name: a\n"


def test_which_mounts_are_remote(path: Path) -> None:
    lines = (
        b"25 30 0:23 / /sys rw,nosuid - sysfs sysfs rw",
        b"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext4 /dev/nfs rw",
        b"41 30 0:40 / /a rw shared:7 - nfs4 server:/cifs rw",
        b"42 30 0:41 / /b\xff rw - cifs //server/x rw",
        b"43 30 0:42 / /c rw - smb3 //server/x rw",
        b"44 30 0:43 / /d rw - nfs server:/x rw",
    )
    assert reading.remote_mounts(b"\n".join(lines)) == {b"41", b"42", b"43", b"44"}
    with path.open() as file:
        assert not reading._is_remote(file.fileno())


def test_a_file_with_times_in_the_future_has_a_stamp(path: Path) -> None:
    """After a clock was set back, all files may be of the future. They must not be read again at every change."""
    ahead = time.time() + 3600
    os.utime(path, (ahead, ahead))
    read = reading.read(str(path), LIMIT)
    assert read.stamp is not None
    assert read.stamp == reading.stamp(str(path))
    os.utime(path)
    assert read.stamp != reading.stamp(str(path))


def test_a_file_that_the_host_has_and_the_service_does_not_is_said_to_be_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with ``/tmp`` and PrivateTmp= of the unit."""
    monkeypatch.setattr(reading, "HOST", str(tmp_path / "host"))
    missing = tmp_path / "tmp/script"
    assert reading.read(str(missing), LIMIT).why == f"cannot read {str(missing)!r}: No such file or directory"
    there = Path(f"{tmp_path}/host{missing}")
    there.parent.mkdir(parents=True)
    there.touch()
    assert reading.read(str(missing), LIMIT).why == (
        f"cannot read {str(missing)!r}: the host has it, but the service has a /tmp, /var/tmp and /dev of its own; "
        "keep it elsewhere"
    )


def test_a_socket_is_no_file(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
    assert reading.read(path, LIMIT).why == f"expected {path!r} to be a file, got something else"
