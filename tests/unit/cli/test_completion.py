"""``eve-meta completion``: the scripts, and what a shell then offers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_accepts_the_script(run: Run, shell: str) -> None:
    done = run("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert "_EVE_META_COMPLETE" in done.stdout
    if shutil.which(shell) is not None:
        subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True)


def complete(run: Run, words: str) -> list[str]:
    """Return what bash would offer for the last of *words*."""
    last = len(words.split(" ")) - 1
    done = run(_EVE_META_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(last))
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_commands_and_options(run: Run) -> None:
    assert complete(run, "eve-meta re") == ["render", "rerun"]
    assert complete(run, "eve-meta check --js") == ["--json"]


def test_domains(run: Run, domains: Path) -> None:
    assert complete(run, "eve-meta render --domains domains.d ") == ["db1", "web1"]
    assert complete(run, "eve-meta render --domains domains.d w") == ["web1"]


def test_a_missing_directory_completes_nothing_quietly(run: Run) -> None:
    assert complete(run, "eve-meta render --domains missing w") == []
