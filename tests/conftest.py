"""Fixtures of all tests: the check that tests with root leave the machine as it was."""

from __future__ import annotations

import ctypes
import os
import pkgutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.host_state import HostState

# Helpers assert, too, and pytest shows the values of an assertion only where it has rewritten the module.
pytest.register_assert_rewrite(*(f"tests.{each.name}" for each in pkgutil.iter_modules([Path(__file__).parent])))

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h

CLEAN_UP_TIME = 10.0
"""Seconds that the kernel and ended processes may take to be gone after the last test."""


def _descendants() -> dict[int, str]:
    """Return the living descendants of this process, and their command lines."""
    parents: dict[int, list[int]] = {}
    commands: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The name in parentheses may hold spaces and parentheses itself.
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has ended
        if state != "Z":
            parents.setdefault(int(parent), []).append(int(entry.name))
            commands[int(entry.name)] = command
    found: dict[int, str] = {}
    ahead = [os.getpid()]
    while ahead:
        for child in parents.get(ahead.pop(), []):
            found[child] = commands[child]
            ahead.append(child)
    return found


def _temporary_folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("eve-meta-*"))


@pytest.fixture(scope="session")
def leave_no_trace() -> Iterator[None]:
    """Fail when, after the last test, the machine's network has changed since the first, or a process still runs."""
    # A process whose parent ends becomes this process's child instead of init's: daemons left running are found.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    processes = _descendants()
    before = HostState.read()
    folders = _temporary_folders()
    yield
    changes = [str(change) for change in before.changes(patience=CLEAN_UP_TIME)]
    changes += [f"process still runs: {pid} {name}" for pid, name in _descendants().items() if pid not in processes]
    # Another daemon on this machine may have such a folder while it compiles.
    deadline = time.monotonic() + CLEAN_UP_TIME
    while (left := _temporary_folders() - folders) and time.monotonic() < deadline:
        time.sleep(0.1)
    changes += [f"temporary folder is left: {path}" for path in left]
    assert not changes, "the tests left the machine changed:\n" + "\n".join(changes)


@pytest.fixture(scope="session", autouse=True)
def _leave_no_trace_as_root(request: pytest.FixtureRequest) -> None:
    # Without root the tests cannot change what this compares, and iptables-save refuses to show it.
    if os.geteuid() == 0:
        request.getfixturevalue("leave_no_trace")
