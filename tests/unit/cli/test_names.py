"""Every command takes a NAME for the same thing, and suggests the same in place of an unknown one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run

UUID = "1a831fa7-c50b-4693-a16e-fb8171f1b69e"

FORMS = ["web1", "WEB1", UUID, UUID.upper(), "emtap9", "EMTAP9"]
"""Every way of naming the domain, whose tap does not exist on this host."""


@pytest.fixture
def config(domains: Path, tmp_path: Path) -> str:
    """A configuration without a daemon; web1's file names a tap, and another file is broken."""
    (domains / "web1.yaml").write_text(f"uuid: {UUID}\nname: web1\nnics:\n- tap: emtap9\n")
    (domains / "old.yaml").touch(0o600)
    (domains / "old.yaml").write_text("name: [\n")
    path = tmp_path / "c.toml"
    path.write_text(f'[inventory]\ndirectory = "{domains}"\nlibvirt = ""\n[admin]\nsocket = "{tmp_path}/s"\n')
    return str(path)


@pytest.mark.parametrize("name", FORMS)
def test_render_and_explain_take_every_form_of_a_name(run: Run, config: str, name: str) -> None:
    done = run("render", "--config", config, name, "/openstack/latest/meta_data.json")
    assert json.loads(done.stdout)["name"] == "web1"
    report = json.loads(run("explain", "--config", config, name, "--json").stdout)
    assert (report["domain"]["name"], report["taps"]) == ("web1", ["emtap9"])
    assert "tap-missing" in [step["verdict"] for step in report["steps"]]


def test_render_and_explain_suggest_the_same_names(run: Run, config: str) -> None:
    done = run("render", "--config", config, "WBE1", "/")
    hint = "did you mean web1?"
    assert done.stderr == f"eve-meta: no domain or tap 'WBE1': {hint} (1 file is broken: see 'eve-meta check')\n"
    done = run("explain", "--config", config, "WBE1")
    assert hint in done.stdout
    assert "→ eve-meta explain web1" in done.stdout


@pytest.mark.parametrize(
    ("command", "typed", "offered"),
    [
        ("render", "we", "web1"),
        ("explain", "WE", "web1"),
        ("password", "emt", "emtap9"),
        ("smbios", UUID[:4], UUID),
        ("timeline", "zzz", None),
    ],
)
def test_every_command_completes_names_taps_and_uuids(
    run: Run, config: str, command: str, typed: str, offered: str | None
) -> None:
    words = f"eve-meta {command} --config {config} {typed}"
    done = run(_EVE_META_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD="4")
    assert (done.stdout.split(), done.stderr) == ([] if offered is None else [f"plain,{offered}"], "")
