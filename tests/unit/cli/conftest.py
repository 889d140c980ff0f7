"""The tests run a command as its user does: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eve_meta.values.problem import Problem
from tests.fake_daemon import answering_on

Run = Callable[..., "subprocess.CompletedProcess[str]"]

MAIN = "from eve_meta.cli import main; main()"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run eve-meta with arguments in a directory of the test's own; return its output and exit status."""

    def run_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", MAIN, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run_command


@pytest.fixture
def domains(tmp_path: Path) -> Path:
    """Make a directory with two good domain files."""
    path = tmp_path / "domains.d"
    path.mkdir(0o700)
    for name in ("web1", "db1"):
        (path / f"{name}.yaml").touch(0o600)
        (path / f"{name}.yaml").write_text(f"name: {name}\nuser_data: |\n  #cloud-config of {name}\n")
    return path


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The answers of a daemon on daemon.sock, by question; a Problem is what it finds wrong."""
    answers: dict[str, Any] = {}

    def answer(request: Any) -> object:
        found = answers[request["question"]]
        return {"problem" if isinstance(found, Problem) else "answer": found}

    with answering_on(tmp_path / "daemon.sock", answer):
        yield answers
