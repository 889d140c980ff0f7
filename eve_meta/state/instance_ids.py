"""The instance ids that ``eve-meta rerun`` gave, by domain: a guest takes a new one for a new machine.

They outlive the daemon and the host's boots: with an id that came back, a guest would do part of its first boot again.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from eve_meta.state import files
from eve_meta.values.problem import Problem

FILE = "instance-ids"

MAX_FILE = 16 * 1024 * 1024
"""The most bytes of the file: those of some 200,000 ids."""


class InstanceIds:
    """The ids of all domains. An id in memory is always on the disk as well.

    :param state: the state directory.
    :param run: runs a function that blocks in a thread, and returns a Deferred of the function's result.
    """

    _log = Logger()

    def __init__(self, state: Path, run: Callable[[Callable[[], None]], Deferred[None]]) -> None:
        self._path = state / FILE
        self._run = run
        self._busy = False
        self._ids = self._read()

    def get(self, domain: UUID) -> UUID | None:
        """Return the id of *domain*, None where it has its own."""
        return self._ids.get(domain)

    def give(self, domain: Collection[UUID], instance_id: UUID | None) -> Deferred[None]:
        """Give a domain *instance_id*, or its own id for None. The result comes when that is on the disk.

        :param domain: all uuids by which the domain is known.
        :raises Problem: while another change is being stored; the result fails with one where that fails.
        """
        if self._busy:
            raise Problem("another domain is being given an instance id at this moment: try again")
        ids = {uuid: given for uuid, given in self._ids.items() if uuid not in domain}
        if instance_id is not None:
            ids |= dict.fromkeys(domain, instance_id)
        plain = {str(uuid): str(given) for uuid, given in ids.items()}
        self._busy = True

        def done(result: Any) -> Any:
            self._busy = False
            return result

        def written(_: None) -> None:
            self._ids = ids

        change = self._run(lambda: files.write(self._path, json.dumps(plain, indent=1).encode()))
        return change.addBoth(done).addCallbacks(written, self._not_written)

    def _not_written(self, failure: Failure) -> None:
        failure.trap(OSError)  # type: ignore[no-untyped-call]
        raise Problem(f"cannot write {self._path}: {failure.value}")

    def _read(self) -> dict[UUID, UUID]:
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o022:
                    raise ValueError("others than root own it or may write to it")
                return {UUID(uuid): UUID(given) for uuid, given in json.loads(file.read(MAX_FILE)).items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            # One broken file must not stop the service of all guests.
            self._log.error(
                "{path} holds no instance ids: {error}; guests read their domains' own ids",
                path=self._path,
                error=error,
            )
            return {}
