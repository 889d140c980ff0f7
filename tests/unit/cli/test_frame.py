"""The rules for all commands: an error is one line, --help shows examples, and nothing slow is imported in vain."""

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
        (["chek"], "eve-meta: no command 'chek': did you mean 'check'? (see 'eve-meta --help')\n"),
        (
            ["frobnicate"],
            f"eve-meta: no command 'frobnicate': the commands are {', '.join(COMMANDS)} (see 'eve-meta --help')\n",
        ),
        (
            ["check", "--jsn"],
            "eve-meta: No such option '--jsn'. Did you mean '--json'? (see 'eve-meta check --help')\n",
        ),
        (["render", "web1"], "eve-meta: expected a PATH or --sources (see 'eve-meta render --help')\n"),
    ],
)
def test_a_typing_error_is_one_line(run: Run, arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message)


def test_without_a_command_the_help_is_shown(run: Run) -> None:
    done = run()
    assert done.returncode == 2
    assert "Commands:" in done.stderr


def test_each_line_of_a_problem_begins_with_the_name_of_the_program(run: Run, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[web]\nworkers = -1\nhop_limit = 0\n")
    done = run("render", "--config", "c.toml", "web1", "/")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "eve-meta: c.toml:2: web.workers: expected a number of workers of 0..64, got -1",
        "eve-meta: c.toml:3: web.hop_limit: expected a number of hops of 1..64, got 0",
    ]


@pytest.mark.parametrize("command", ["check", "render", "new", "completion"])
def test_commands_on_files_do_not_wait_for_twisted(command: str) -> None:
    assert "twisted" not in imported_by(f"import eve_meta.cli.{command}")


@pytest.mark.parametrize("command", ["events", "password", "status", "timeline"])
def test_commands_that_ask_the_daemon_wait_for_neither_twisted_nor_yaml(command: str) -> None:
    assert not {"twisted", "yaml"} & imported_by(f"import eve_meta.cli.{command}")


@pytest.mark.parametrize("how", ["cli.get_help(context)", "cli.shell_complete(context, '')"])
def test_the_list_of_commands_imports_none_of_them(how: str) -> None:
    code = f"import click\nfrom eve_meta.cli import cli\ncontext = click.Context(cli, info_name='eve-meta')\n{how}"
    assert not {f"eve_meta.cli.{name}" for name in COMMANDS} & imported_by(code)


def imported_by(code: str) -> set[str]:
    """Return the modules that a process has imported once it has run *code*."""
    command = [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_a_reader_that_closes_the_output_is_no_error(domains: Path) -> None:
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
    # The command opens the FIFO, and waits for the test to write.
    with (tmp_path / "c.toml").open("w"):
        process.send_signal(signal.SIGINT)
        # click ends the line in which the terminal shows "^C".
        assert process.communicate() == (b"", b"\n")
    assert process.returncode == 130
