"""Where our log goes: standard error, a line each, for a terminal and the journal alike."""

from __future__ import annotations

import sys

from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    formatTime,
    globalLogBeginner,
)


def log_to_stderr() -> None:
    """Begins to log; what Twisted itself says is shown from warnings on."""
    predicate = LogLevelFilterPredicate(defaultLogLevel=LogLevel.warn)
    predicate.setLogLevelForNamespace("eve_meta", LogLevel.info)
    observer = FilteringLogObserver(FileLogObserver(sys.stderr, _line), [predicate])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)


def _line(event: LogEvent) -> str:
    level = event["log_level"]
    text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    return f"{formatTime(event['log_time'])} {level.name}: {text}\n"
