"""The pin directory, ``/sys/fs/bpf/NAMESPACE``: what makes steering outlive the daemon.

Who holds it locked owns the steering of that name; the kernel lets go of the lock when its holder dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TypeVar

from attrs import evolve

from eve_meta.errors import Problem
from eve_meta.steering.loader import build_id, source_directory, unpin
from eve_meta.steering.maps import PROGRAMS, LastingMaps, Maps

AnyMaps = TypeVar("AnyMaps", bound=LastingMaps)

BPFFS = Path("/sys/fs/bpf")

LOAD_TIMEOUT = 120
"""Seconds that compiling may take; it takes two on an idle core."""


class Pins:
    """The pins of the steering called *namespace*."""

    def __init__(self, namespace: str) -> None:
        self.directory = BPFFS / namespace
        self._mounted = False
        self._lock = -1

    def open(self) -> Maps:
        """Locks the directory, loads the programs unless these sources' are there already, and opens the maps.

        Taps keep the tags that an earlier daemon gave them, also where its programs are replaced.

        :raises Problem: when another daemon holds them, or loading fails; then nothing is left behind.
        """
        self._mount()
        self.directory.mkdir(mode=0o700, exist_ok=True)
        self._lock = os.open(self.directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise Problem(
                f"another eve-meta runs with the namespace {self.directory.name!r}: stop it, "
                "or give this one another [steering] namespace"
            ) from None
        try:
            with contextlib.ExitStack() as undo:
                old = self._opened(LastingMaps)
                if old is not None:
                    undo.callback(old.close)
                    if old.settings().build == build_id(source_directory()) and (maps := self._whole()):
                        return maps
                self._load()
                maps = Maps(self.directory)
                if old is not None:
                    maps.write_settings(evolve(maps.settings(), next_tag=old.settings().next_tag))
                    for ifindex, tag in old.tags().items():
                        maps.add_tap(tag, ifindex)
            return maps
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Unpins everything, removes the directory, and unlocks; unmounts what :meth:`open` mounted."""
        unpin(self.directory)
        self.directory.rmdir()
        os.close(self._lock)
        # A kernel with CONFIG_BPF_PRELOAD puts maps.debug and progs.debug into every mount.
        if self._mounted and all(pin.suffix == ".debug" for pin in BPFFS.iterdir()):
            subprocess.run(["umount", str(BPFFS)], check=False)

    def _mount(self) -> None:
        if BPFFS.is_mount():
            return
        # systemd mounts it at boot; a container or a minimal system may not have.
        done = subprocess.run(["mount", "-t", "bpf", "bpf", str(BPFFS)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Problem(
                f"cannot mount the BPF file system at {BPFFS}: {' '.join(done.stderr.split())}; is this root?"
            )
        self._mounted = True

    def _whole(self) -> Maps | None:
        """The maps of this build; None unless they and its programs are all there."""
        if any(not (self.directory / name).exists() for name in PROGRAMS):
            return None
        return self._opened(Maps)

    def _opened(self, kind: type[AnyMaps]) -> AnyMaps | None:
        """The maps that are pinned already; None unless all of that kind are there."""
        try:
            return kind(self.directory)
        except OSError:
            return None

    def _load(self) -> None:
        command = [sys.executable, "-I", "-m", "eve_meta.steering.loader", str(self.directory)]
        try:
            # A folder of its own for what it writes: where we are told to end meanwhile it is killed, and leaves that.
            with tempfile.TemporaryDirectory(prefix="eve-meta-") as scratch:
                environment = {**os.environ, "TMPDIR": scratch}
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=LOAD_TIMEOUT, check=False, env=environment
                )
        except subprocess.TimeoutExpired:
            raise Problem(
                f"compiling the BPF programs did not end within {LOAD_TIMEOUT} s: is the host overloaded?"
            ) from None
        if done.returncode != 0:
            # The loader's own line is the last; before it stands what the compiler or the verifier said.
            details = done.stderr.strip().splitlines()
            if done.returncode < 0 or not details:
                # Not its own end: bcc may crash where its compiler finds no header.
                ended = f"by signal {-done.returncode}" if done.returncode < 0 else f"with status {done.returncode}"
                last = f"the programs do not load: the loader ended {ended}; are the kernel headers whole?"
            else:
                last = details.pop()
            if details:
                sys.stderr.write("\n".join(details) + "\n")
            raise Problem(last)
