"""What ``systemd-analyze security`` finds in the unit, and that the docs explain each finding."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness import ROOT
from harness.unit import UNIT

SECURITY = ROOT / "eve_meta/docs/security.rst"

EXPOSURE = 3.9
"""The highest exposure level, as eve_meta/docs/security.rst has it."""


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as it is installed."""
    assert shutil.which("systemd-analyze"), "install the package systemd"
    path = tmp_path / "eve-meta.service"
    path.write_text(UNIT.read_text().replace("@BINDIR@/eve-meta", "/bin/true"))
    return path


def analyze(unit: Path, *options: str) -> str:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", *options, str(unit)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def findings(unit: Path) -> dict[str, bool]:
    """Return the settings that are assessed, by their names there, and whether each is in order."""
    plain = json.loads(analyze(unit, "--json=short"))
    return {each["name"]: each["set"] is not False for each in plain}


def explained() -> list[str]:
    """Return the settings that the docs explain: those at the beginning of each item of the list."""
    section = SECURITY.read_text().partition("What the unit does not restrict\n")[2].partition("\nWhat is not def")[0]
    items = [item.partition(": ")[0] for item in section.split("\n* ")[1:]]
    return [name for item in items for name in re.findall(r"``([^`]+)``", item)]


def test_the_exposure_is_no_higher_than_it_has_to_be(unit: Path) -> None:
    level = re.search(r"Overall exposure level for eve-meta\.service: ([\d.]+)", analyze(unit))
    assert level is not None
    assert float(level[1]) <= EXPOSURE


def test_the_docs_explain_each_finding(unit: Path) -> None:
    found = findings(unit)
    open_ones = {name for name, is_set in found.items() if not is_set}
    assert sorted(open_ones - set(explained())) == []
    assert sorted(set(explained()) - set(found)) == []


def test_systemd_accepts_every_line_of_the_unit(unit: Path) -> None:
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if str(unit) in line] == []
