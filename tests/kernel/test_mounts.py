"""What a service that has mounts of its own mounts is there for the whole host; process 1 stands for systemd here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SERVICE = """
import os
from pathlib import Path
from eve_meta.steering.bpf.pins import BPFFS, Pins
from eve_meta.steering.mounts import OWN, mounts_of_host

assert mounts_of_host(managed=False) == OWN
mounts = mounts_of_host(managed=True)
pins = Pins("emtest-mounts", mounts)
pins._mount()
# The calling thread stays where it is, and its network namespace is that of the call.
namespaces = [os.readlink(f"/proc/thread-self/ns/{name}") for name in ("mnt", "net")]
there = [mounts.call(lambda name=name: os.readlink(f"/proc/thread-self/ns/{name}")) for name in ("mnt", "net")]
print(BPFFS.is_mount(), pins._found, there[0] == namespaces[0], there[1] == namespaces[1])
try:
    mounts.call(lambda: Path("/nowhere").stat())
except FileNotFoundError as error:
    print(error.filename)
"""

HOST = """
mount -t proc proc /proc
umount --lazy /sys/fs/bpf
unshare --mount --propagation private "$@"
grep --only-matching --extended-regexp ' /sys/fs/bpf rw,[^ ]*' /proc/self/mountinfo
"""


def test_a_service_with_mounts_of_its_own_mounts_on_the_host_and_finds_it_there() -> None:
    command = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "sh", "-ec", HOST, "sh"]
    done = subprocess.run([*command, sys.executable, "-c", SERVICE], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "False /proc/1/root/sys/fs/bpf/emtest-mounts False True",
        "/nowhere",
        " /sys/fs/bpf rw,nosuid,nodev,noexec,relatime",
    ]


IN_A_CHROOT = """
directory=$1
shift
mount --rbind / "$directory"
mount -t tmpfs tmpfs "$directory/mnt"
touch "$directory/mnt/in-the-chroot"
exec chroot "$directory" sh -ec 'mount -t proc proc /proc; unshare --mount --propagation private "$@"' sh "$@"
"""

LISTING = """
import os
from eve_meta.steering.mounts import mounts_of_host

print(mounts_of_host(managed=True).call(lambda: os.listdir("/mnt")))
"""


def test_the_root_of_a_chrooted_process_1_is_the_hosts(tmp_path: Path) -> None:
    """Where somebody boots a system in a chroot; otherwise the mount would be made outside of it."""
    command = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "sh", "-ec", IN_A_CHROOT, "sh"]
    done = subprocess.run(
        [*command, tmp_path, sys.executable, "-c", LISTING], capture_output=True, text=True, check=False, cwd="/"
    )
    assert (done.stderr, done.stdout) == ("", "['in-the-chroot']\n")
