"""Log lines, as the journal gets them and as everything else does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from twisted.logger import Logger
from eve_meta.runtime.log import complain, log_to_stderr
log_to_stderr()
log = Logger(namespace="eve_meta.x")
log.info("one")
log.warn("two")
try:
    1 / 0
except ZeroDivisionError:
    log.failure("three")
complain("eve-meta: four\\nfive")
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def run(log: Path, journal_stream: str) -> list[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "JOURNAL_STREAM": journal_stream}
    with log.open("wb") as stderr:
        subprocess.run([sys.executable, "-c", PROGRAM], env=environment, stderr=stderr, check=True)
    return log.read_text().splitlines()


def test_in_the_journal_every_line_has_its_priority_and_no_time(log: Path) -> None:
    log.touch()
    status = log.stat()
    one, two, *three, four, five = run(log, f"{status.st_dev}:{status.st_ino}")
    assert (one, two, three[0], four, five) == ("<6>one", "<4>two", "<2>three", "<3>eve-meta: four", "<3>five")
    assert len(three) > 3
    assert all(line.startswith("<2>") for line in three)


@pytest.mark.parametrize("stream", ["", "8:12345"])
def test_elsewhere_no_line_has_a_priority_whatever_the_variable_says(log: Path, stream: str) -> None:
    lines = run(log, stream)
    assert [line.split(" ", 1)[1] for line in lines[:2]] == ["info: one", "warn: two"]
    assert lines[-2:] == ["eve-meta: four", "five"]
