"""The SSH host keys that guests reported, one file for each domain.

cloud-init makes the keys and phones home once for each instance. So the keys outlive the tap, the daemon and the host's
boots, and the first ones of an instance stay: neither another program of the guest nor a worker that is compromised
later can exchange them. Those of a new instance (``eve-meta rerun``) replace them.

No key stays in memory; a thread reads and writes the files.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar
from uuid import UUID

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from eve_meta.state import files
from eve_meta.values.host_key import HostKey, read_host_key

T = TypeVar("T")

DIRECTORY = "host-keys"

MAX_FILE = 8 * 1024
"""The most bytes of a file: three keys of 1 KiB and a few words."""

RETRY_TIME = 1.0
"""Seconds after keys could not be written within which no others are tried: no guest is to keep a full disk busy."""

FAILURE_LOG_EVERY = 60.0
"""Seconds between two log lines about keys that could not be kept: guests decide how often they try."""


class InThread(Protocol):
    """Runs a function that blocks in a thread."""

    def __call__(self, function: Callable[[], T], /) -> Deferred[T]:
        """Return a Deferred of the result of *function*."""


@frozen
class KeptKeys:
    """The keys of one domain.

    :ivar instance: the instance whose keys they are (:attr:`eve_meta.values.domain.Domain.guest_uuid`).
    :ivar at: when they arrived, in seconds since 1970.
    :ivar keys: one of each type.
    """

    instance: UUID
    at: float
    keys: tuple[HostKey, ...]


class HostKeys:
    """The keys of all domains.

    :param state: the state directory.
    :param run: runs what blocks in a thread.
    :param seconds: the monotonic clock.
    """

    _log = Logger()

    def __init__(self, state: Path, run: InThread, seconds: Callable[[], float]) -> None:
        self._directory = state / DIRECTORY
        self._run = run
        self._seconds = seconds
        # The instance of each domain whose keys are known to be on the disk: a guest that phones home without end costs
        # no more than a look here.
        self._instances: dict[UUID, UUID] = {}
        self._busy: set[UUID] = set()
        self._warned: set[Path] = set()
        self._failed = self._failure_logged = -FAILURE_LOG_EVERY
        files.make_directory(self._directory)

    def keep(self, domain: UUID, kept: KeptKeys) -> None:
        """Keep the keys of *domain*, in a while, unless there are some of the same instance."""
        now = self._seconds()
        if self._instances.get(domain) == kept.instance or domain in self._busy or now - self._failed < RETRY_TIME:
            return
        self._busy.add(domain)

        def written(_: None) -> None:
            self._instances[domain] = kept.instance

        def done(_: Any) -> None:
            self._busy.discard(domain)

        self._run(lambda: self._write(domain, kept)).addCallbacks(written, self._not_written).addBoth(done)

    def all(self) -> Deferred[dict[UUID, KeptKeys]]:
        """Return the keys of each domain that has some, also of domains that are gone."""
        return self._run(self._read_all)

    def _write(self, domain: UUID, kept: KeptKeys) -> None:
        there = self._read(self._path(domain))
        if there is None or there.instance != kept.instance:
            files.write(self._path(domain), json.dumps(_plain(kept)).encode())

    def _read_all(self) -> dict[UUID, KeptKeys]:
        found = {}
        for name in os.listdir(self._directory):
            try:
                domain = UUID(name)
            except ValueError:
                continue  # a file that a daemon which died had not finished, or somebody else's
            if (kept := self._read(self._directory / name)) is not None:
                found[domain] = kept
        return found

    def _read(self, path: Path) -> KeptKeys | None:
        try:
            return _read(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            # One broken file must not hide the keys of all other guests; the next keys of its domain replace it.
            if path not in self._warned:
                self._warned.add(path)
                self._log.warn("{path} holds no host keys: {error}; it is ignored", path=path, error=error)
            return None

    def _not_written(self, failure: Failure) -> None:
        self._failed = now = self._seconds()
        if now - self._failure_logged >= FAILURE_LOG_EVERY:
            self._failure_logged = now
            error = failure.value
            self._log.error(
                "a guest's SSH host keys could not be kept in {directory}: {error}",
                directory=self._directory,
                error=error.strerror if isinstance(error, OSError) else type(error).__name__,
            )

    def _path(self, domain: UUID) -> Path:
        return self._directory / str(domain)


def _plain(kept: KeptKeys) -> dict[str, Any]:
    return {"instance": str(kept.instance), "at": kept.at, "keys": list(map(str, kept.keys))}


def _read(path: Path) -> KeptKeys:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ValueError("others than root own it or may write to it")
        plain = json.loads(file.read(MAX_FILE))
    return KeptKeys(UUID(plain["instance"]), float(plain["at"]), tuple(map(read_host_key, plain["keys"])))
