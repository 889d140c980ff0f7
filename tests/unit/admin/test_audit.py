"""The audit: whole lines, files of bounded size, and a full or slow disk that harms only the audit."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import capturedLogs, eventAsText

from eve_meta.admin.audit import LOG_EVERY, MAX_WAITING, OLD_FILES, Audit, AuditFile
from eve_meta.runtime.clock import Clock
from eve_meta.supervisor.events import Events, Kind
from eve_meta.values.problem import Problem

READ: dict[str, Any] = {
    "tap": "vnet1",
    "tag": 1,
    "ifindex": 7,
    "uuid": "u",
    "name": "web1",
    "document": "d",
    "status": 200,
    "worker": 0,
}


def at_once(call: Callable[[], None]) -> Deferred[None]:
    return maybeDeferred(call)


def auditing(write: Any, in_thread: Any = at_once) -> tuple[Events, Audit, list[float]]:
    now = [1000.0]
    events = Events(Clock(monotonic=lambda: 0.0, wall=lambda: 0.5))
    return events, Audit(events, write, in_thread, lambda: now[0]), now


def test_a_line_is_added_for_each_first_fetch_and_for_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    events, _, _ = auditing(AuditFile(path).append)
    events.emit(Kind.TAP_APPEARED, tap="vnet1")
    events.emit(Kind.FIRST_FETCH, **READ)
    events.emit(Kind.FIRST_FETCH, at=1.75, **READ)
    one, two = (json.loads(line) for line in path.read_text().splitlines())
    assert one == {"time": "1970-01-01T00:00:00.500Z", **READ}
    assert two["time"] == "1970-01-01T00:00:02.250Z"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_lines_can_go_to_the_log() -> None:
    with capturedLogs() as logged:
        events, _, _ = auditing(None)
        events.emit(Kind.FIRST_FETCH, **READ)
    (line,) = logged
    text = eventAsText(line, includeTimestamp=False, includeSystem=False)
    assert json.loads(text.removeprefix("audit: ")) == {"time": "1970-01-01T00:00:00.500Z", **READ}


def test_files_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    file = AuditFile(path, max_file=100)
    for number in range(100):
        file.append([f"{number:030}"])
    names = sorted(each.name for each in tmp_path.iterdir())
    assert names == ["audit", *(f"audit.{number}" for number in range(1, OLD_FILES + 1))]
    assert all(each.stat().st_size <= 100 for each in tmp_path.iterdir())
    assert path.read_text() == f"{99:030}\n"
    assert (tmp_path / "audit.1").read_text().splitlines()[-1] == f"{98:030}"


def test_a_full_disk_leaves_no_partial_line_and_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "audit"
    events, _, now = auditing(AuditFile(path).append)
    events.emit(Kind.FIRST_FETCH, **READ)
    whole = path.read_bytes()
    real = os.write
    calls = [0]

    def write(file: int, data: bytes) -> int:
        calls[0] += 1
        if calls[0] % 2:
            return real(file, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, capturedLogs() as logged:
        patch.setattr(os, "write", write)
        for _ in range(5):
            events.emit(Kind.FIRST_FETCH, **READ)
        assert path.read_bytes() == whole
        now[0] += LOG_EVERY
        events.emit(Kind.FIRST_FETCH, **READ)
    lines = [eventAsText(event, includeTimestamp=False, includeSystem=False) for event in logged]
    lacks = "the audit file lacks {} lines that could not be written: No space left on device"
    assert lines == [lacks.format(1), lacks.format(5)]
    events.emit(Kind.FIRST_FETCH, **READ)
    assert path.read_bytes() == whole * 2


def test_a_slow_disk_makes_nobody_wait_and_waiting_lines_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    calls: list[tuple[Callable[[], None], Deferred[None]]] = []

    def later(call: Callable[[], None]) -> Deferred[None]:
        calls.append((call, Deferred()))
        return calls[-1][1]

    with capturedLogs() as logged:
        events, audit, _ = auditing(AuditFile(path).append, later)
        for _ in range(MAX_WAITING + 3):
            events.emit(Kind.FIRST_FETCH, **READ)
    assert len(logged) == 1  # of the two that were lost
    ((call, done),) = calls
    call()
    done.callback(None)
    assert len(calls) == 2
    events.emit(Kind.FIRST_FETCH, **READ)
    calls[1][0]()
    audit.finish()
    assert len(path.read_text().splitlines()) == MAX_WAITING + 2


def test_a_file_that_cannot_be_written_is_reported_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"cannot write the audit file .*: No such file or directory"):
        AuditFile(tmp_path / "missing" / "audit")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "other")
    with pytest.raises(Problem, match="cannot write the audit file"):
        AuditFile(link)
