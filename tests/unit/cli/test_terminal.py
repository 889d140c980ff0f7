"""What commands show to people: colours on a terminal alone, and lines that fit it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from eve_meta.cli import terminal
from tests.unit.cli.conftest import MAIN, Run

RED = b"\x1b[31m"


def on_a_terminal(*arguments: str, cwd: Path, **environment: str) -> bytes:
    """Run eve-meta with a terminal as its output; return what it writes there."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", MAIN, *arguments]
    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    path = {"PYTHONPATH": str(Path(__file__).parents[3]), "TERM": "xterm"}
    subprocess.run(command, stdout=theirs, check=False, cwd=cwd, env=plain | path | environment)
    os.close(theirs)
    written = b""
    try:
        while piece := os.read(ours, 65536):
            written += piece
    except OSError:  # the end, as Linux says it
        pass
    os.close(ours)
    return written


@pytest.mark.parametrize("arguments", [("check", "domains.d"), ("explain", "--config", "c.toml", "web1")], ids=" ".join)
def test_colours_are_for_a_terminal_alone_and_can_be_switched_off(
    run: Run, domains: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (domains / "bad.yaml").write_text("name: [\n")
    (tmp_path / "c.toml").write_text(f'[inventory]\ndirectory = "{domains}"\n[admin]\nsocket = "{tmp_path}/s"\n')
    assert RED in on_a_terminal(*arguments, cwd=tmp_path)
    assert b"\x1b" not in on_a_terminal(*arguments, cwd=tmp_path, NO_COLOR="1")
    assert b"\x1b" not in on_a_terminal(*arguments, cwd=tmp_path, TERM="dumb")
    assert RED in on_a_terminal(*arguments, cwd=tmp_path, NO_COLOR="")  # no-color.org: only where it is not empty
    assert "\x1b" not in run(*arguments).stdout


def test_every_word_that_judges_has_a_style() -> None:
    for word in ("ok", "wrong", "unknown", "warning", "problem"):
        assert len(terminal.paint(word, 9)) > 9
        assert terminal.paint(word, 9).endswith(" " * (9 - len(word)))


def test_a_long_name_keeps_both_of_its_ends() -> None:
    assert terminal.shorten("web1", 4) == "web1"
    assert terminal.shorten("customer-frontend-0042", 12) == "custom…-0042"
    assert len(terminal.shorten("x" * 255, 24)) == 24


def test_a_line_breaks_between_two_counts() -> None:
    assert terminal.wrapped(["26 × 200", "3 × 404"], 12) == ["26 × 200,", "3 × 404"]
    assert terminal.wrapped(["26 × 200", "3 × 404"], 20) == ["26 × 200, 3 × 404"]
