"""How the reader is started: its program and its arguments."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from eve_meta.runtime.sandbox.policy import Identity
from eve_meta.wire.reading import DOCUMENT_MEMORY, DOCUMENT_TIME, OUT_OF_MEMORY

START_TIME = 20.0
"""Seconds that a reader has to start, which takes 0.3 on an idle machine."""

TOO_LONG = f"it takes longer than {DOCUMENT_TIME:g} s, which no domain needs"
NONSENSE = "the reader gave an answer that no sound reader gives"


def arguments(identity: Identity | None, schema: Path | None = None) -> list[str]:
    """Return the command that starts a reader.

    :param identity: None where this process is not root's.
    :param schema: cloud-init's schema, for a reader that gives advice; it may be missing.
    """
    # -I: nothing from the current directory or the environment.
    command = [sys.executable, "-I", "-m", "eve_meta.reader.main"]
    if identity is not None:
        command += ["--root", str(identity.root), "--uid", str(identity.uid), "--gid", str(identity.gid)]
    if schema is not None:
        command += ["--advise", str(schema)]
    return command


def reason(status: int) -> str:
    """Return why a document is unread at which the reader ended with the wait *status* of waitpid(2)."""
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == OUT_OF_MEMORY:
        return f"it takes more than {DOCUMENT_MEMORY // 2**20} MiB of memory, which no domain needs"
    return f"the reader ended at it twice, {ending(status)}"


def ending(status: int) -> str:
    """Return how a process ended whose wait status is *status*, such as "by SIGKILL"."""
    if os.WIFSIGNALED(status):
        return f"by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"with status {os.waitstatus_to_exitcode(status)}"
