"""``eve-meta status``: lines that fit a terminal, and all of it as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eve_meta.inventory.source import InventoryProblem
from tests.unit.cli.conftest import Run

LONG = "customer-with-a-long-name-production-frontend-0042"


def tap(name: str, tag: int, domain: str | None, **more: Any) -> dict[str, Any]:
    return {
        "tap": name,
        "tag": tag,
        "carrier": True,
        "domain": None if domain is None else {"name": domain, "uuid": "1a831fa7-c50b-4693-a16e-fb8171f1b69e"},
        "requests": {},
        "notes": {},
        "drops": {},
        "dhcp": None,
        **more,
    }


PROBLEM = InventoryProblem(
    file="/etc/eve-meta/domains.d/mail.yaml",
    line=3,
    field="hostnme",
    message="unknown key; did you mean 'hostname'? And so on, in many words, for one line would not be enough",
)

STATUS = {
    "taps": [
        tap("vnet0", 1, "web1", requests={"200": 26}, dhcp={"address": "10.0.0.5", "answers": {"offer": 0, "ack": 2}}),
        tap(
            "tap0123456789ab",
            65535,
            LONG,
            requests={"200": 1234567, "404": 234567, "429": 12345},
            notes={"no_token": 1234567, "wrong_host": 12},
            drops={"malformed": 123456, "other_port": 12},
        ),
        tap("vnet9", 9, None, carrier=False),
    ],
    "workers": [{"pid": 4711, "restarts": 0, "hangs": 0, "forbidden_calls": 0, "confinement": None}],
    "lapses": 0,
    "problems": [{**PROBLEM.plain, "tap": None}],
}


@pytest.fixture
def config(tmp_path: Path, answering: dict[str, Any]) -> str:
    answering["status"] = STATUS
    (tmp_path / "c.toml").write_text(f'[admin]\nsocket = "{tmp_path}/daemon.sock"\n')
    return "c.toml"


def test_every_line_fits_80_columns(run: Run, config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = run("status", "--config", config)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[:8] == [
        "TAP              TAG    DOMAIN                    REQUESTS",
        "vnet0            1      web1                      26 × 200",
        "                                                  dhcp: 10.0.0.5, 2 × ack",
        "tap0123456789ab  65535  customer-wit…ontend-0042  1234567 × 200, 234567 × 404,",
        "                                                  12345 × 429",
        "                                                  notes: 1234567 × no_token,",
        "                                                  12 × wrong_host",
        "                                                  dropped: 123456 × malformed,",
    ]
    assert any(line.startswith("vnet9 ") and line.endswith("no carrier") for line in lines)
    assert (
        "\nproblem: /etc/eve-meta/domains.d/mail.yaml:3: hostnme: unknown key; did you mean\n         'hostname'?"
        in done.stdout
    )


def test_json_has_the_whole_name_and_each_problem_as_an_object(run: Run, config: str) -> None:
    shown = json.loads(run("status", "--config", config, "--json").stdout)
    assert shown["taps"][1]["domain"]["name"] == LONG
    (problem,) = shown["problems"]
    assert problem == {**PROBLEM.plain, "tap": None}  # as check --json has it, with the tap
    assert (problem["file"], problem["line"], problem["field"]) == ("/etc/eve-meta/domains.d/mail.yaml", 3, "hostnme")
    assert problem["text"] == str(PROBLEM)


def test_the_environment_names_the_configuration_where_no_option_does(run: Run, config: str, tmp_path: Path) -> None:
    assert "web1" in run("status", EVE_META_CONFIG=config).stdout
    (tmp_path / "other.toml").write_text(f'[admin]\nsocket = "{tmp_path}/none"\n')
    done = run("status", "--config", "other.toml", EVE_META_CONFIG=config)
    assert done.stderr.startswith(f"eve-meta: no eve-meta daemon listens on {tmp_path}/none")
    assert run("status", EVE_META_CONFIG="missing.toml").stderr == "eve-meta: missing.toml: no such file\n"
