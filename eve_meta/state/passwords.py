"""The passwords that guests posted, one file for each domain.

A Windows guest makes a password at its first boot, encrypts it with its public key, and posts it for its owner to fetch
(``eve-meta password``). Once set, a password stays until the owner clears it.

A write may take the disk seconds, for which every request and carrier change would wait. So a thread writes the files,
and the results are Deferreds.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from eve_meta.state import files
from eve_meta.values.problem import Problem
from eve_meta.wire import password
from eve_meta.wire.password import Outcome

DIRECTORY = "passwords"

FAILURE_LOG_EVERY = 60.0
"""Seconds between two log lines about passwords that could not be stored: guests decide how often they try."""


class Passwords:
    """The passwords of all domains. A password in memory is always on the disk as well.

    :param state: the state directory.
    :param run: runs a function that blocks in a thread, and returns a Deferred of the function's result.
    :param seconds: the monotonic clock.
    :raises Problem: when the passwords cannot be read.
    """

    _log = Logger()

    def __init__(
        self, state: Path, run: Callable[[Callable[[], None]], Deferred[None]], seconds: Callable[[], float]
    ) -> None:
        self._directory = state / DIRECTORY
        self._run = run
        self._seconds = seconds
        self._busy: set[UUID] = set()
        self._failure_logged = -FAILURE_LOG_EVERY
        files.make_directory(self._directory)
        self._passwords = dict(self._read_all())

    def get(self, domain: UUID) -> str | None:
        """Return the password of *domain*, None where none is set."""
        return self._passwords.get(domain)

    def set(self, domain: UUID, text: str) -> Deferred[Outcome]:
        """Set the password of *domain* to *text*, unless it has one. The result comes when *text* is on the disk."""
        if domain in self._passwords:
            return succeed(Outcome.ALREADY_SET)
        if domain in self._busy:
            return succeed(Outcome.FAILED)

        def written(_: None) -> Outcome:
            self._passwords[domain] = text
            return Outcome.STORED

        return self._change(domain, partial(files.write, self._path(domain), text.encode())).addCallbacks(
            written, self._not_written
        )

    def clear(self, domain: UUID) -> Deferred[None]:
        """Remove the password of *domain*, so that its guest may post another. The result comes when that is done.

        :raises Problem: when the password is being set; the result fails with one when the file cannot be removed.
        """
        if domain in self._busy:
            raise Problem("the guest is posting a password at this moment: try again")

        def removed(_: None) -> None:
            self._passwords.pop(domain, None)

        return self._change(domain, partial(files.remove, self._path(domain))).addCallbacks(removed, _not_removed)

    def _change(self, domain: UUID, change: Callable[[], None]) -> Deferred[None]:
        self._busy.add(domain)

        def done(result: Any) -> Any:
            self._busy.discard(domain)
            return result

        return self._run(change).addBoth(done)

    def _not_written(self, failure: Failure) -> Outcome:
        error = failure.value
        if (now := self._seconds()) - self._failure_logged >= FAILURE_LOG_EVERY:
            self._failure_logged = now
            self._log.error(
                "a guest's password could not be kept in {directory}: {error}; the guest is told to try again",
                directory=self._directory,
                error=error.strerror if isinstance(error, OSError) else type(error).__name__,
            )
        return Outcome.FAILED

    def _path(self, domain: UUID) -> Path:
        return self._directory / str(domain)

    def _read_all(self) -> list[tuple[UUID, str]]:
        passwords = []
        try:
            for path in sorted(self._directory.iterdir()):
                if path.name.endswith(files.UNFINISHED):
                    path.unlink()  # left by a daemon that died while it wrote
                    continue
                try:
                    passwords.append((UUID(path.name), _read(path)))
                except ValueError as error:
                    # One broken file must not stop the service of all other guests. Its guest may post again.
                    self._log.warn("{path} holds no password: {error}; it is ignored", path=path, error=error)
        except OSError as error:
            raise Problem(f"cannot read the passwords in {self._directory}: {error}") from None
        return passwords


def _read(path: Path) -> str:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ValueError("others than root own it or may write to it")
        return password.read(file.read(password.MAX_PASSWORD + 1))


def _not_removed(failure: Failure) -> None:
    raise Problem(f"the password cannot be removed: {failure.value}")
