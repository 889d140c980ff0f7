"""What ``scripts/test audit`` makes of what pip-audit prints."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import audit

GOOD = {"name": "attrs", "version": "26.1.0", "vulns": []}
BAD = {
    "name": "twisted",
    "version": "26.10.0",
    "vulns": [{"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": ["26.10.1"], "description": "…"}],
}
SKIPPED = {"name": "click", "skip_reason": "Dependency not found on PyPI and could not be audited: click (8.5.1)"}


def run(printed: str, complaint: str = "", status: int = 0) -> int:
    """Return the status of an audit in which pip-audit prints *printed* and *complaint*."""
    program = f"import sys; print({printed!r}); print({complaint!r}, file=sys.stderr); sys.exit({status})"
    return audit.main([sys.executable, "-c", program], [audit.PINNED[0]])


def report(*dependencies: dict[str, Any]) -> str:
    return json.dumps({"dependencies": dependencies, "fixes": []})


def test_nothing_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(report(GOOD)) == 0
    assert capsys.readouterr().out == "audit: no vulnerability is known of 1 packages\n"


def test_a_known_vulnerability_fails_and_names_its_mend(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(report(GOOD, BAD, SKIPPED), status=1) == 1
    shown = capsys.readouterr().out
    assert shown.startswith("audit: twisted 26.10.0 has PYSEC-2026-1, CVE-2026-1; fixed in 26.10.1: ")


@pytest.mark.parametrize(
    ("printed", "complaint", "shown"),
    [
        # pip-audit says "No known vulnerabilities found" and ends with 0.
        (report(GOOD, SKIPPED), "No known vulnerabilities found", "audit: not looked at: click ("),
        ("", "Traceback …\nrequests.exceptions.ConnectionError: no route", "audit: not looked at: debian-12.txt ("),
        ("", "", "audit: not looked at: debian-12.txt ("),
        ("", "ERROR: " + "x" * 10_000, "audit: not looked at: debian-12.txt ("),
        ("[]", "", "audit: not looked at: debian-12.txt ("),
    ],
)
def test_what_was_not_looked_at_is_no_success(
    printed: str, complaint: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(printed, complaint) == audit.NOT_LOOKED_AT
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(shown)
    assert captured.err.count("\n") == 1
    assert len(captured.err) < 300


def test_each_file_is_looked_at_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """pip-audit takes no two versions of one package, and distributions may have them."""
    versions = {"a.txt": "1", "b.txt": "2"}
    reports = {name: report({"name": "attrs", "version": each, "vulns": []}) for name, each in versions.items()}
    for name, text in reports.items():
        (tmp_path / name).write_text(text)
    program = "import pathlib, sys; print(pathlib.Path(sys.argv[-1]).read_text())"
    assert audit.main([sys.executable, "-c", program], sorted(tmp_path.iterdir())) == 0
    assert capsys.readouterr().out == "audit: no vulnerability is known of 2 packages\n"


def test_each_distribution_is_looked_at() -> None:
    assert [path.stem for path in audit.PINNED] == ["debian-12", "debian-13", "ubuntu-22.04", "ubuntu-24.04"]
