"""The manual page: it contains everything that --help shows, and roff accepts it without a warning."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from eve_meta.cli import COMMANDS, cli
from harness import manpage


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "eve-meta.8"
    path.write_text(manpage.page())
    return path


def words(text: str) -> str:
    """Return *text* with each run of white space as one blank: where its lines break does not matter."""
    return " ".join(text.split())


def shown(page: Path) -> str:
    assert shutil.which("man"), "man is missing: install the package man-db"
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "200", "MAN_KEEP_FORMATTING": ""}
    done = subprocess.run(
        ["man", "--warnings", "--local-file", page], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return words(re.sub(".\b", "", done.stdout))


def test_roff_has_no_warning(page: Path) -> None:
    command = ["groff", "-ww", "-man", "-Kutf8", "-Tutf8", "-z", str(page)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stderr == ""


def test_the_page_has_every_command_option_and_example(page: Path) -> None:
    text = shown(page)
    root = click.Context(cli, info_name="eve-meta")
    for name in COMMANDS:
        command = cli.get_command(root, name)
        assert command is not None
        assert f"eve-meta {name}" in text
        for piece in [*(command.help or "").split("\n\n"), *(command.epilog or "").splitlines()]:
            assert words(piece.replace("\b", "")) in text
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert all(option in text for option in parameter.opts)
                assert words(parameter.help or "") in text


@pytest.mark.parametrize("text", [".so /etc/passwd", "'tis", "a\\fB", "--no-x"])
def test_text_that_looks_like_roff_is_shown_as_text(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.8").write_text(f"{manpage.HEAD}\n.SH NAME\nx\n.PP\n{manpage.escape(text)}\n")
    assert text in shown(tmp_path / "x.8").replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
