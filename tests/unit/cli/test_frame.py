"""What holds for all commands: errors are a line, --help shows examples, nothing slow is imported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from eve_meta.cli import COMMANDS
from tests.unit.cli.conftest import MAIN, Run


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_has_examples(run: Run, command: str) -> None:
    done = run(*command.split(), "--help")
    assert done.returncode == 0
    description, _, examples = done.stdout.partition("\n  Examples:\n")
    assert "Usage: eve-meta" in description
    assert f"    eve-meta {command}" in examples


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chek"], "eve-meta: No such command 'chek'. (see 'eve-meta --help')\n"),
        (
            ["check", "--jsn"],
            "eve-meta: No such option '--jsn'. Did you mean '--json'? (see 'eve-meta check --help')\n",
        ),
        (["render", "web1"], "eve-meta: expected a PATH or --sources (see 'eve-meta render --help')\n"),
    ],
)
def test_what_is_typed_wrong_is_a_line(run: Run, arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message)


def test_no_command_shows_the_help(run: Run) -> None:
    done = run()
    assert done.returncode == 2
    assert "Commands:" in done.stderr


def test_each_line_of_a_problem_bears_the_programs_name(run: Run, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[web]\nworkers = -1\nhop_limit = 0\n")
    done = run("render", "--config", "c.toml", "web1", "/")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "eve-meta: c.toml: web.workers: expected a number of workers of 0..64, got -1",
        "eve-meta: c.toml: web.hop_limit: expected a number of hops of 1..64, got 0",
    ]


@pytest.mark.parametrize("command", ["check", "render", "new", "completion"])
def test_commands_on_files_do_not_wait_for_twisted(command: str) -> None:
    code = f"import sys, eve_meta.cli.{command}; sys.exit('twisted' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_reader_that_goes_away_is_no_error(domains: Path) -> None:
    (domains / "big.yaml").write_text("name: big\nuser_data: |\n" + "  hello\n" * 100_000)
    command = [sys.executable, "-c", MAIN, "render", "--domains", str(domains), "big", "/openstack/latest/user_data"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait() == 141
    process.stderr.close()


def test_control_c_is_quiet(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c.toml")
    command = [sys.executable, "-c", MAIN, "check", "--config", str(tmp_path / "c.toml")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    # It opens the FIFO, and waits for us to write.
    with (tmp_path / "c.toml").open("w"):
        process.send_signal(signal.SIGINT)
        # click ends the line in which the terminal shows "^C".
        assert process.communicate() == (b"", b"\n")
    assert process.returncode == 130
