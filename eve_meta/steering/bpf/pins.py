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
"""Seconds after which it is asked again, while compiling lasts, whether to go on."""


class Pins:
    """The pins of the steering called *namespace*."""

    def __init__(self, namespace: str) -> None:
        self.directory = BPFFS / namespace
        self._mounted = False
        self._lock = -1
        self._held: dict[str, int] = {}
        self._old: LastingMaps | None = None

    def open(self, raise_if_terminated: Callable[[], None] = lambda: None) -> Maps:
        """Locks the directory, loads the programs unless these sources' are there already, and opens the maps.

        Taps keep the tags that an earlier daemon gave them, also where its programs are replaced.

        :param raise_if_terminated: called now and then while the programs compile; what it raises ends that.
        :raises Problem: when another daemon holds them, or loading fails; then nothing of ours is left behind.
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
                    for ifindex, tag in old.tags().items():
                        maps.add_tap(tag, ifindex, old.tap(tag).losses)
                        maps.learn(tag, old.tap(tag))
            for name in (*PROGRAMS, *MAPS):
                self._held[name] = open_pin(self.directory / name)
            return maps
        except BaseException:
            # What is an earlier daemon's, taps have yet, and by these pins whoever comes next knows which.
            (self.remove if self._old is None else self.close)()
            raise

    def forget_old(self, maps: Maps) -> None:
        """Every tap has the programs of *maps* now; those of an earlier build learn nothing any more."""
        if self._old is not None:
            for tag in self._old.tags().values():
                maps.learn(tag, self._old.tap(tag))
            self._old.close()
            self._old = None

    def program(self, name: str) -> int:
        """A file descriptor of the program *name*, which stays ours."""
        return self._held[name]

    def missing(self) -> list[Path]:
        """The pins that are not there."""
        return [path for name in (*PROGRAMS, *MAPS) if not (path := self.directory / name).exists()]

    def restore(self) -> None:
        """Pins again what is missing: the same programs and maps, which are held.

        :raises Problem: when another daemon took the directory meanwhile, or the kernel refuses.
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
        """Unpins everything, removes the directory, and unlocks; unmounts what :meth:`open` mounted."""
        unpin(self.directory)
        with contextlib.suppress(FileNotFoundError):  # somebody else did
            self.directory.rmdir()
        self.close()
        # A kernel with CONFIG_BPF_PRELOAD puts maps.debug and progs.debug into every mount.
        if self._mounted and all(pin.suffix == ".debug" for pin in BPFFS.iterdir()):
            subprocess.run(["umount", str(BPFFS)], check=False)

    def close(self) -> None:
        """Unlocks, and leaves the pins to who comes next."""
        for descriptor in (self._lock, *self._held.values()):
            os.close(descriptor)
        self._held = {}
        if self._old is not None:
            self._old.close()
            self._old = None

    def _locked(self) -> int:
        """A descriptor of the directory, which is made where it is missing and locked."""
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
        # systemd mounts it at boot; a container or a minimal system may not have.
        done = subprocess.run(["mount", "-t", "bpf", "bpf", str(BPFFS)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Problem(
                f"cannot mount the BPF file system at {BPFFS}: {' '.join(done.stderr.split())}; is this root?"
            )
        self._mounted = True

    def _adopted(self, old: LastingMaps | None) -> Maps | None:
        """The maps of this build that *old* are; None unless they and its programs are all there."""
        if old is None or old.settings().build != build_id(source_directory()) or self.missing():
            return None
        return self._opened(Maps)

    def _opened(self, kind: type[AnyMaps]) -> AnyMaps | None:
        """The maps that are pinned already; None unless all of that kind are there."""
        try:
            return kind(self.directory)
        except OSError:
            return None

    def _load(self, raise_if_terminated: Callable[[], None]) -> None:
        command = [sys.executable, "-I", "-m", "eve_meta.steering.bpf.loader", str(self.directory)]
        # A folder of its own for what it writes: where we are told to end meanwhile it is killed, and leaves that.
        with tempfile.TemporaryDirectory(prefix="eve-meta-") as scratch:
            status, said = _run(command, {**os.environ, "TMPDIR": scratch}, raise_if_terminated)
        if status != 0:
            # The loader's own line is the last; before it stands what the compiler or the verifier said.
            details = said.strip().splitlines()
            if status < 0 or not details:
                # Not its own end: bcc may crash where its compiler finds no header.
                ended = f"by signal {-status}" if status < 0 else f"with status {status}"
                last = f"the programs do not load: the loader ended {ended}; are the kernel headers whole?"
            else:
                last = details.pop()
            if details:
                sys.stderr.write("\n".join(details) + "\n")
            raise Problem(last)


def _run(command: list[str], environment: dict[str, str], raise_if_terminated: Callable[[], None]) -> tuple[int, str]:
    """Runs *command*; gives its status and what it said on its standard error."""
    deadline = time.monotonic() + LOAD_TIMEOUT
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            while True:
                try:
                    said = process.communicate(timeout=LOAD_POLL)[1]
                except subprocess.TimeoutExpired:
                    raise_if_terminated()
                    if time.monotonic() > deadline:
                        raise Problem(
                            f"compiling the BPF programs did not end within {LOAD_TIMEOUT} s: is the host overloaded?"
                        ) from None
                else:
                    return process.returncode, said
        except BaseException:
            process.kill()
            raise
