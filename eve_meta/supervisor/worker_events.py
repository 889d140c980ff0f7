"""The interface through which the supervisor learns from and about a worker.

:class:`~eve_meta.supervisor.worker_process.WorkerProcess` calls it for what happens to the worker, and hands it to its
:class:`~eve_meta.supervisor.worker_link.WorkerLink`, which calls it for what the worker sends.

The law: which worker sent something follows from the link that it came by. The object is made for one worker, so
nothing that a compromised worker sends can pass for another's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from eve_meta.wire.latency import Times
from eve_meta.wire.messages import BootReports, Counts
from eve_meta.wire.password import Outcome
from eve_meta.wire.requests import Row


class WorkerEvents(Protocol):
    """Act on the events of one worker."""

    def started(self) -> None:
        """Act on a new process of the worker, which knows nothing yet: send it its taps."""

    def accepting(self) -> None:
        """Act on the worker having begun to accept connections."""

    def made_forbidden_call(self, pid: int | None) -> None:
        """Act on the death of the worker's process *pid* of a system call that a worker may not make."""

    def hung(self) -> None:
        """Act on the worker not answering; it is being killed, and its pid is still known."""

    def counted(self, counts: Counts) -> None:
        """Take what the worker counted."""

    def asked(self, rows: list[Row]) -> None:
        """Take what the worker's guests requested."""

    def timed(self, times: list[Times]) -> None:
        """Take how long the worker's answers took."""

    def reported(self, reports: BootReports) -> None:
        """Take what the worker's guests reported of their boot."""

    def posted(self, tag: int, password: str, answer: Callable[[Outcome], None]) -> None:
        """Take the *password* that the guest of *tag* posted, and call *answer* with the outcome."""
