"""``eve-meta known-hosts``: the lines, what is said beside them, and what OpenSSH makes of them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import Run

UUID1 = "1a831fa7-c50b-4693-a16e-fb8171f1b69e"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJKOEWEDN3K5WzKNk4Q5Ql1ZFgGQxNQ3Cw0u2mT9yZ9s"

WEB = {
    "name": "web1",
    "uuid": UUID1,
    "hosts": ["web1.example.org", "10.1.2.10", "2001:db8::1"],
    "shared": {"10.0.0.5": ["web2"]},
    "keys": [KEY],
    "at": "2026-01-31T12:00:00.000Z",
}
BARE: dict[str, Any] = {"name": "db\x1b1", "uuid": UUID1, "hosts": ["db1"], "shared": {}, "keys": [], "at": None}
LINE = f"web1.example.org,10.1.2.10,2001:db8::1 {KEY}\n"


@pytest.fixture
def answers(answering: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "c.toml").write_text(f'[admin]\nsocket = "{tmp_path}/daemon.sock"\n')
    return answering


def test_lines_are_on_standard_output_and_notes_beside_it(run: Run, answers: dict[str, Any]) -> None:
    answers["known_hosts"] = [WEB]
    done = run("known-hosts", "--config", "c.toml")
    assert (done.returncode, done.stdout) == (0, LINE)
    assert done.stderr == "eve-meta: 10.0.0.5 is left out: web1 and web2 have it\n"


def test_without_keys_there_is_no_line_and_no_error_for_ssh(run: Run, answers: dict[str, Any]) -> None:
    answers["known_hosts"] = []
    done = run("known-hosts", "--config", "c.toml")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "eve-meta: no guest has reported host keys: see eve_meta/docs/observing.rst\n"


def test_a_domain_that_is_named_and_has_no_keys_is_an_error_after_the_others_lines(
    run: Run, answers: dict[str, Any]
) -> None:
    answers["host_keys"] = WEB
    assert run("known-hosts", "--config", "c.toml", "web1", "vnet1").stdout == LINE * 2
    answers["host_keys"] = BARE
    done = run("known-hosts", "--config", "c.toml", "db1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "eve-meta: no host keys of db\\x1b1: a guest reports them by phone_home, see eve_meta/docs/observing.rst\n"
    )


def test_json_has_all_of_it(run: Run, answers: dict[str, Any]) -> None:
    answers["known_hosts"], answers["host_keys"] = [WEB], BARE
    assert json.loads(run("known-hosts", "--config", "c.toml", "--json").stdout) == [WEB]
    assert json.loads(run("known-hosts", "--config", "c.toml", "--json", "db1").stdout) == [BARE]


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not installed")
def test_openssh_finds_the_hosts_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "known").write_text(LINE)

    def finds(host: str) -> bool:
        found = subprocess.run(["ssh-keygen", "-F", host, "-f", tmp_path / "known"], capture_output=True, check=False)
        return found.returncode == 0

    assert [finds(host) for host in ("web1.example.org", "10.1.2.10", "2001:db8::1")] == [True] * 3
    assert [finds(host) for host in ("web2.example.org", "10.1.2.1", "web1", "example.org")] == [False] * 4
