"""The pin directory, ``/sys/fs/bpf/NAMESPACE``, by which steering outlives the daemon.

Whoever holds its lock owns the steering of that name; the kernel releases the lock when the holder dies.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from attrs import evolve
from twisted.logger import Logger

from eve_meta.steering.bpf.libbpf import (
    BPF_PROG_TYPE_SCHED_CLS,
    MapInfo,
    ProgramInfo,
    info_of,
    is_map,
    is_program,
    open_pin,
    pin,
)
from eve_meta.steering.bpf.loader import build_id, source_directory, unpin
from eve_meta.steering.bpf.maps import MAPS, PROGRAMS, LastingMaps, Maps
from eve_meta.steering.mounts import OWN, Mounts
from eve_meta.values.problem import Problem

AnyMaps = TypeVar("AnyMaps", bound=LastingMaps)

BPFFS = Path("/sys/fs/bpf")

MOUNT_OPTIONS = "nosuid,nodev,noexec,mode=0700"
"""As systemd mounts the BPF file system. The kernel's own mode, 1777, would let anybody make files there."""

ATTEMPTS = 100
"""How often the directory of the pins is made, where somebody else makes another in its place at the same moment."""

LOAD_TIMEOUT = 120
"""Seconds that compiling may take; it takes two on an idle core."""

LOAD_POLL = 0.1
"""Seconds between calls of *raise_if_terminated* while the loader compiles."""


class Pins:
    """The pins of the steering called *namespace*.

    :param mounts: those among which the BPF file system is.
    :ivar directory: the directory of the pins, as other programs find it.
    """

    _log = Logger()

    def __init__(self, namespace: str, mounts: Mounts = OWN) -> None:
        self.directory = BPFFS / namespace
        self._mounts = mounts
        self._bpffs = mounts.find(BPFFS)
        self._found = mounts.find(self.directory)
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
                maps = Maps(self._folder)
                if old is not None:
                    maps.write_settings(evolve(maps.settings(), next_tag=old.settings().next_tag))
                    maps.write_places(old.places())
                    for ifindex, tag in old.tags().items():
                        maps.add_tap(tag, ifindex, old.tap(tag).losses)
                        maps.learn(tag, old.tap(tag))
                        maps.copy_dhcp(tag, old)
            for name in (*PROGRAMS, *MAPS):
                self._held[name] = open_pin(self._folder / name)
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
        """Return the paths of missing pins; all of them where the directory is no longer the one that is locked."""
        there = self._is_locked_one()
        return [self.directory / name for name in (*PROGRAMS, *MAPS) if not there or self._owner(name) != os.geteuid()]

    def restore(self) -> None:
        """Restore the missing pins, with the same programs and maps, which this object holds open.

        :raises Problem: when another daemon has locked the directory meanwhile, or the kernel refuses.
        """
        if not self.missing():
            return
        self._mount()
        if not self._is_locked_one():
            old, self._lock = self._lock, self._locked()
            os.close(old)
        for path in self.missing():
            try:
                pin(self._held[path.name], self._folder / path.name)
            except OSError as error:
                raise Problem(f"cannot pin {path} again: {error.strerror}") from None

    def remove(self) -> None:
        """Remove all pins and the directory, release the lock, and unmount what :meth:`open` mounted."""
        unpin(self._folder)
        if self._is_locked_one():  # otherwise somebody else has removed it
            self._found.rmdir()
        self.close()
        # A kernel with CONFIG_BPF_PRELOAD puts maps.debug and progs.debug into every mount.
        if self._mounted and all(pin.suffix == ".debug" for pin in self._bpffs.iterdir()):
            self._mounts.call(partial(subprocess.run, ["umount", str(BPFFS)], check=False))

    def close(self) -> None:
        """Release the lock, and leave the pins to the next daemon."""
        for descriptor in (self._lock, *self._held.values()):
            os.close(descriptor)
        self._lock = -1
        self._held = {}
        if self._old is not None:
            self._old.close()
            self._old = None

    @property
    def _folder(self) -> Path:
        """The directory that is locked, whatever its name leads to now."""
        return Path(f"/proc/self/fd/{self._lock}")

    def _is_locked_one(self) -> bool:
        """Return whether the directory's name leads to the one that is locked."""
        try:
            return self._lock >= 0 and os.path.samestat(self._found.lstat(), os.fstat(self._lock))
        except FileNotFoundError:
            return False

    def _owner(self, name: str) -> int | None:
        """Return the user that made the pin *name*; None where there is none."""
        try:
            status = os.stat(name, dir_fd=self._lock, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return status.st_uid if stat.S_ISREG(status.st_mode) else None

    def _locked(self) -> int:
        """Make the directory where it is missing, lock it, and return its file descriptor.

        Where everybody may make files in the BPF file system (as the kernel mounts it, mode 1777), anybody may have
        made the directory before us, to hold its lock or to exchange pins in it. Such a directory is moved aside.
        """
        try:
            lock = self._opened_directory()
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

    def _opened_directory(self) -> int:
        """Open the directory, which is ours and closed to others, and made where it is missing.

        :raises OSError: when it cannot be made.
        """
        for _ in range(ATTEMPTS):
            try:
                opened = os.open(self._found, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW)
            except FileNotFoundError:
                with contextlib.suppress(FileExistsError):
                    self._found.mkdir(mode=0o700)
                continue
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ELOOP, errno.EACCES):
                    raise
            else:
                status = os.fstat(opened)
                if status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                    os.fchmod(opened, 0o700)
                    return opened
                os.close(opened)
            aside = self.directory.with_name(f"{self.directory.name}-not-ours-{secrets.token_hex(4)}")
            with contextlib.suppress(FileNotFoundError):
                self._found.rename(self._mounts.find(aside))
                self._log.error(
                    "{directory} was made by another user, or others may write there: it is moved to {aside}",
                    directory=self.directory,
                    aside=aside,
                )
        raise OSError(errno.EAGAIN, f"somebody makes another in its place, {ATTEMPTS} times now")

    def _mount(self) -> None:
        if self._bpffs.is_mount():
            return
        # systemd mounts it at boot; in a container or a minimal system nobody may have.
        command = ["mount", "-t", "bpf", "-o", MOUNT_OPTIONS, "bpf", str(BPFFS)]
        try:
            done = self._mounts.call(partial(subprocess.run, command, capture_output=True, text=True, check=False))
            why = " ".join(done.stderr.split()) if done.returncode != 0 else ""
        except OSError as error:
            why = error.strerror or str(error)
        if why:
            raise Problem(f"cannot mount the BPF file system at {BPFFS}: {why}; is this root?")
        self._mounted = True

    def _adopted(self, old: LastingMaps | None) -> Maps | None:
        """Return the maps of this build; None unless *old* are of this build, and all programs and maps are pinned."""
        if old is None or old.settings().build != build_id(source_directory()) or self.missing():
            return None
        if not all(map(self._is_program, PROGRAMS)):
            return None
        return self._opened(Maps)

    def _opened(self, kind: type[AnyMaps]) -> AnyMaps | None:
        """Return the pinned maps of that kind; None unless all of them are there, and each is what its name says."""
        try:
            if not all(self._is_map(name) for name in kind.NAMES if self._owner(name) is not None):
                return None
            return kind(self._folder)
        except OSError:
            return None

    def _is_program(self, name: str) -> bool:
        """Return whether the pin *name* is of a program of that name which root has loaded for tc."""
        descriptor = open_pin(self._folder / name)
        try:
            if not is_program(descriptor):
                return False
            info = info_of(descriptor, ProgramInfo)
        finally:
            os.close(descriptor)
        expected = (BPF_PROG_TYPE_SCHED_CLS, name.encode(), os.geteuid())
        return (info.type, info.name, info.created_by_uid) == expected

    def _is_map(self, name: str) -> bool:
        """Return whether the pin *name* is of a map of that name and its type; who opens it checks the sizes."""
        descriptor = open_pin(self._folder / name)
        try:
            if not is_map(descriptor):
                return False
            info = info_of(descriptor, MapInfo)
        finally:
            os.close(descriptor)
        return (info.type, info.name) == (MAPS[name], name.encode())

    def _load(self, raise_if_terminated: Callable[[], None]) -> None:
        command = [sys.executable, "-I", "-m", "eve_meta.steering.bpf.loader", str(self._folder)]
        # A directory of its own for the loader's files: when we have to end meanwhile the loader is killed, and leaves
        # them.
        with tempfile.TemporaryDirectory(prefix="eve-meta-") as scratch:
            status, stderr = _run(command, {**os.environ, "TMPDIR": scratch}, self._lock, raise_if_terminated)
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


def _run(
    command: list[str], environment: dict[str, str], folder: int, raise_if_terminated: Callable[[], None]
) -> tuple[int, str]:
    """Run *command*, which inherits the descriptor *folder*; return its exit status and its standard error."""
    deadline = time.monotonic() + LOAD_TIMEOUT
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment, pass_fds=(folder,)
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
