"""The pin directory, ``/sys/fs/bpf/NAMESPACE``, by which steering outlives the daemon.

Whoever holds its lock owns the steering of that name; the kernel releases the lock when the holder dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from attrs import evolve

from eve_meta.steering.bpf.libbpf import open_pin, pin
from eve_meta.steering.bpf.loader import build_id, source_directory, unpin
from eve_meta.steering.bpf.maps import MAPS, PROGRAMS, LastingMaps, Maps
from eve_meta.values.problem import Problem

AnyMaps = TypeVar("AnyMaps", bound=LastingMaps)

BPFFS = Path("/sys/fs/bpf")

LOAD_TIMEOUT = 120
"""Seconds that compiling may take; it takes two on an idle core."""

LOAD_POLL = 0.1
"""Seconds between calls of *raise_if_terminated* while the loader compiles."""


class Pins:
    """The pins of the steering called *namespace*."""

    def __init__(self, namespace: str) -> None:
        self.directory = BPFFS / namespace
        self._mounted = False
        self._lock = -1
        self._held: dict[str, int] = {}
        self._old: LastingMaps | None = None

    def open(self, raise_if_terminated: Callable[[], None] = lambda: None) -> Maps:
        """Lock the directory, load the programs unless those of these sources are there already, and open the maps.

        Taps keep the tags that an earlier daemon gave them, even when its programs are replaced.

        :param raise_if_terminated: called from time to time while the programs compile; an exception that it raises
            ends that.
        :raises Problem: when another daemon holds the lock, or loading fails; then nothing of ours is left behind.
        """
        self._mount()
        self._lock = self._locked()
        try:
            old = self._old = self._opened(LastingMaps)
            maps = self._adopted(old)
            if maps is not None:
                self.forget_old(maps)
            else:
                self._load(raise_if_terminated)
                maps = Maps(self.directory)
                if old is not None:
                    maps.write_settings(evolve(maps.settings(), next_tag=old.settings().next_tag))
                    maps.write_places(old.places())
                    for ifindex, tag in old.tags().items():
                        maps.add_tap(tag, ifindex, old.tap(tag).losses)
                        maps.learn(tag, old.tap(tag))
            for name in (*PROGRAMS, *MAPS):
                self._held[name] = open_pin(self.directory / name)
            return maps
        except BaseException:
            # The pins of an earlier daemon stay: taps still have its programs, and the next daemon learns from the pins
            # which taps these are.
            (self.remove if self._old is None else self.close)()
            raise

    def forget_old(self, maps: Maps) -> None:
        """Close the maps of an earlier build: every tap has the programs of *maps* now.

        Until now the earlier programs may have learnt MACs, which *maps* take over.
        """
        if self._old is not None:
            for tag in self._old.tags().values():
                maps.learn(tag, self._old.tap(tag))
            self._old.close()
            self._old = None

    def program(self, name: str) -> int:
        """Return the file descriptor of the program *name*; these pins close it."""
        return self._held[name]

    def missing(self) -> list[Path]:
        """Return the paths of missing pins."""
        return [path for name in (*PROGRAMS, *MAPS) if not (path := self.directory / name).exists()]

    def restore(self) -> None:
        """Restore the missing pins, with the same programs and maps, which this object holds open.

        :raises Problem: when another daemon has locked the directory meanwhile, or the kernel refuses.
        """
        if not self.missing():
            return
        self._mount()
        try:
            same = os.path.samestat(self.directory.stat(), os.fstat(self._lock))
        except FileNotFoundError:
            same = False
        if not same:
            lock = self._locked()
            os.close(self._lock)
            self._lock = lock
        for path in self.missing():
            try:
                pin(self._held[path.name], path)
            except OSError as error:
                raise Problem(f"cannot pin {path} again: {error.strerror}") from None

    def remove(self) -> None:
        """Remove all pins and the directory, release the lock, and unmount what :meth:`open` mounted."""
        unpin(self.directory)
        with contextlib.suppress(FileNotFoundError):  # somebody else has removed it
            self.directory.rmdir()
        self.close()
        # A kernel with CONFIG_BPF_PRELOAD puts maps.debug and progs.debug into every mount.
        if self._mounted and all(pin.suffix == ".debug" for pin in BPFFS.iterdir()):
            subprocess.run(["umount", str(BPFFS)], check=False)

    def close(self) -> None:
        """Release the lock, and leave the pins to the next daemon."""
        for descriptor in (self._lock, *self._held.values()):
            os.close(descriptor)
        self._held = {}
        if self._old is not None:
            self._old.close()
            self._old = None

    def _locked(self) -> int:
        """Make the directory where it is missing, lock it, and return its file descriptor."""
        try:
            self.directory.mkdir(mode=0o700, exist_ok=True)
            lock = os.open(self.directory, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise Problem(f"cannot make the directory {self.directory}: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise Problem(
                f"another eve-meta runs with the namespace {self.directory.name!r}: stop it, "
                "or give this one another [steering] namespace"
            ) from None
        return lock

    def _mount(self) -> None:
        if BPFFS.is_mount():
            return
        # systemd mounts it at boot; in a container or a minimal system nobody may have.
        done = subprocess.run(["mount", "-t", "bpf", "bpf", str(BPFFS)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Problem(
                f"cannot mount the BPF file system at {BPFFS}: {' '.join(done.stderr.split())}; is this root?"
            )
        self._mounted = True

    def _adopted(self, old: LastingMaps | None) -> Maps | None:
        """Return the maps of this build; None unless *old* are of this build, and all programs and maps are pinned."""
        if old is None or old.settings().build != build_id(source_directory()) or self.missing():
            return None
        return self._opened(Maps)

    def _opened(self, kind: type[AnyMaps]) -> AnyMaps | None:
        """Return the pinned maps of that kind; None unless all of them are there."""
        try:
            return kind(self.directory)
        except OSError:
            return None

    def _load(self, raise_if_terminated: Callable[[], None]) -> None:
        command = [sys.executable, "-I", "-m", "eve_meta.steering.bpf.loader", str(self.directory)]
        # A directory of its own for the loader's files: when we have to end meanwhile the loader is killed, and leaves
        # them.
        with tempfile.TemporaryDirectory(prefix="eve-meta-") as scratch:
            status, stderr = _run(command, {**os.environ, "TMPDIR": scratch}, raise_if_terminated)
        if status != 0:
            # The loader's own line is the last; the messages of the compiler or the verifier come before it.
            details = stderr.strip().splitlines()
            if status < 0 or not details:
                # It did not end by itself: bcc may crash when its compiler does not find a header.
                ended = f"by signal {-status}" if status < 0 else f"with status {status}"
                last = f"the programs do not load: the loader ended {ended}; are the kernel headers whole?"
            else:
                last = details.pop()
            if details:
                sys.stderr.write("\n".join(details) + "\n")
            raise Problem(last)


def _run(command: list[str], environment: dict[str, str], raise_if_terminated: Callable[[], None]) -> tuple[int, str]:
    """Run *command*, and return its exit status and its standard error."""
    deadline = time.monotonic() + LOAD_TIMEOUT
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            while True:
                try:
                    stderr = process.communicate(timeout=LOAD_POLL)[1]
                except subprocess.TimeoutExpired:
                    raise_if_terminated()
                    if time.monotonic() > deadline:
                        raise Problem(
                            f"compiling the BPF programs did not end within {LOAD_TIMEOUT} s: is the host overloaded?"
                        ) from None
                else:
                    return process.returncode, stderr
        except BaseException:
            process.kill()
            raise
