"""The data that a daemon remembers for the next one, until the host boots again.

Their loss does little harm, so the file is not synced to the disk, and one that cannot be read counts as missing.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from eve_meta.state.files import UNFINISHED
from eve_meta.state.tokenkeys import BOOT_ID

PROCESSES = "processes"
"""The name of the file with the VMM processes that were trusted when they were first seen."""

MAX_FILE = 16 * 1024 * 1024
"""The most bytes of the file: those of some 100,000 processes."""


class Remembered:
    """Plain data in the file *path*.

    :param in_thread: runs a function that blocks in a thread.
    """

    _log = Logger()

    def __init__(self, path: Path, in_thread: Callable[[Callable[[], None]], Deferred[None]]) -> None:
        self._path = path
        self._in_thread = in_thread
        self._boot = BOOT_ID.read_text().strip()
        self._next: Any = None
        self._writing = False
        self._failure_logged = False

    def load(self) -> Any:
        """Return what was stored since the host booted, None for nothing."""
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o022:
                    self._log.warn("{path} is not root's alone to write: it is ignored", path=self._path)
                    return None
                plain = json.loads(file.read(MAX_FILE))
            return plain["remembered"] if plain["boot"] == self._boot else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            self._log.warn("{path} cannot be read: {kind}; it is ignored", path=self._path, kind=type(error).__name__)
            return None

    def store(self, plain: Any) -> None:
        """Store *plain* soon, in a thread: a disk may take seconds."""
        self._next = plain
        if not self._writing:
            self._writing = True
            self._in_thread(lambda: self.store_now(plain)).addCallbacks(self._stored, self._failed)

    def store_now(self, plain: Any) -> None:
        """Store *plain* at once.

        :raises OSError: when that fails; what was stored before stays.
        """
        unfinished = self._path.with_name(self._path.name + UNFINISHED)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        with open(os.open(unfinished, flags, 0o600), "w") as file:
            json.dump({"boot": self._boot, "remembered": plain}, file)
        unfinished.rename(self._path)
        if self._next is plain:
            self._next = None

    def _stored(self, _: None) -> None:
        self._writing = self._failure_logged = False
        if self._next is not None:
            self.store(self._next)

    def _failed(self, failure: Failure) -> None:
        # Nothing is tried again now: the next call of store() has newer data.
        self._writing = False
        self._next = None
        if not self._failure_logged:
            self._failure_logged = True
            self._log.warn("{path} cannot be written: {error}", path=self._path, error=failure.value)
