"""``eve-meta password``: what the daemon is asked, and a hostile guest's password on root's terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from tests.fake_daemon import answering_on
from tests.unit.cli.conftest import MAIN, Run

UUID = "1a831fa7-c50b-4693-a16e-fb8171f1b69e"


@define
class FakeDaemon:
    """Answers each question with *answer*."""

    config: str
    answer: Any = None
    asked: list[Any] = field(factory=list)

    def answers_password(self, password: str | None) -> None:
        self.answer = {"answer": {"uuid": UUID, "password": password}}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    """A fake daemon that listens in the test's directory."""
    (tmp_path / "c.toml").write_text(f'[admin]\nsocket = "{tmp_path}/s"\n')
    fake = FakeDaemon("c.toml")

    def answer(question: Any) -> object:
        fake.asked.append(question)
        return fake.answer

    with answering_on(tmp_path / "s", answer):
        yield fake


def test_an_encrypted_password_is_printed_unchanged(run: Run, daemon: FakeDaemon) -> None:
    daemon.answers_password("aGVsbG8=")
    done = run("password", "win1", "--config", daemon.config)
    assert (done.returncode, done.stdout, done.stderr) == (0, "aGVsbG8=\n", "")
    assert daemon.asked == [{"question": "password", "arguments": {"name": "win1"}}]


def test_json(run: Run, daemon: FakeDaemon) -> None:
    daemon.answers_password("a\x1b\n")
    assert json.loads(run("password", UUID, "--json", "--config", daemon.config).stdout) == {
        "uuid": UUID,
        "password": "a\x1b\n",
    }
    daemon.answers_password(None)
    assert json.loads(run("password", UUID, "--json", "--config", daemon.config).stdout)["password"] is None


def test_no_password_is_an_error(run: Run, daemon: FakeDaemon) -> None:
    daemon.answers_password(None)
    done = run("password", "win1", "--config", daemon.config)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "eve-meta: the guest of win1 has posted no password\n"


def test_clear_prints_nothing(run: Run, daemon: FakeDaemon) -> None:
    daemon.answer = {"answer": None}
    done = run("password", "win1", "--clear", "--config", daemon.config)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert daemon.asked == [{"question": "clear_password", "arguments": {"name": "win1"}}]


def test_a_problem_of_the_daemon_is_an_error(run: Run, daemon: FakeDaemon) -> None:
    daemon.answer = {"problem": "no domain 'win2'"}
    for options in ([], ["--clear"]):
        done = run("password", "win2", *options, "--config", daemon.config)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", "eve-meta: no domain 'win2'\n")


def test_without_a_daemon(run: Run, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(f'[admin]\nsocket = "{tmp_path}/s"\n')
    done = run("password", "win1", "--config", "c.toml")
    assert done.returncode == 1
    assert done.stderr == f"eve-meta: no eve-meta daemon listens on {tmp_path}/s: start it with 'eve-meta serve'\n"


def test_a_guest_that_writes_to_roots_terminal(daemon: FakeDaemon, tmp_path: Path) -> None:
    """Escape sequences can retitle, recolour, and on some terminals answer as if root had typed."""
    daemon.answers_password("a\x1b]0;owned\x07\x9b31m\rb\u202ec\nd")
    (ours, theirs) = pty.openpty()
    command = [sys.executable, "-c", MAIN, "password", "win1", "--config", daemon.config]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "PYTHONIOENCODING": "utf-8"}
    subprocess.run(command, cwd=tmp_path, env=environment, stdout=theirs, check=True)
    os.close(theirs)
    shown = os.read(ours, 4096)
    os.close(ours)
    assert shown == b"a\\x1b]0;owned\\x07\\x9b31m\\rb\\u202ec\r\nd\r\n"
