"""The log of every process: lines on standard error, for a terminal and the journal alike.

The journal has its own clock, and reads the priority of a line from a prefix such as ``<3>`` (sd-daemon(3)).
"""

from __future__ import annotations

import os
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

_PRIORITIES = {LogLevel.debug: 7, LogLevel.info: 6, LogLevel.warn: 4, LogLevel.error: 3, LogLevel.critical: 2}


def log_to_stderr() -> None:
    """Begin to log: events of eve-meta from info on, those of Twisted and others from warnings on."""
    predicate = LogLevelFilterPredicate(defaultLogLevel=LogLevel.warn)
    predicate.setLogLevelForNamespace("eve_meta", LogLevel.info)
    observer = FilteringLogObserver(
        FileLogObserver(sys.stderr, _journal_lines if _is_journal() else _line), [predicate]
    )
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)


def complain(text: str) -> None:
    """Write *text* to standard error as an error: the last lines of a daemon that cannot go on."""
    print(_prefixed(LogLevel.error, text) if _is_journal() else text, file=sys.stderr)


def _line(event: LogEvent) -> str:
    level = event["log_level"]
    text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    return f"{formatTime(event['log_time'])} {level.name}: {text}\n"


def _journal_lines(event: LogEvent) -> str:
    return _prefixed(event["log_level"], eventAsText(event, includeTimestamp=False, includeSystem=False)) + "\n"


def _prefixed(level: object, text: str) -> str:
    # Each line of a traceback is an entry of its own.
    return "\n".join(f"<{_PRIORITIES[level]}>{line}" for line in text.splitlines())


def _is_journal() -> bool:
    """Return whether standard error goes to the journal: JOURNAL_STREAM has its device and inode (systemd.exec(5)).

    That the variable is set proves nothing: a shell passes it on to programs whose standard error goes elsewhere.
    """
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
