"""``eve-meta new``: a domain file to begin with, which is correct as it is."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import yaml

from tests.unit.cli.conftest import Run


@pytest.mark.parametrize("name", ["web9", "007", "yes", "1e3", "2024-01-01", "a.b_c-d"])
def test_the_new_file_is_correct(run: Run, domains: Path, name: str) -> None:
    done = run("new", "--domains", "domains.d", name)
    path = domains / f"{name}.yaml"
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == f"domains.d/{name}.yaml"
    assert "eve-meta check domains.d" in done.stdout
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert run("check", "domains.d").stdout == "3 files, 3 good, 0 problems\n"
    assert run("render", "--domains", "domains.d", name, "/openstack").returncode == 0


def test_the_keys_in_comments_are_correct_too(run: Run, domains: Path) -> None:
    run("new", "--domains", "domains.d", "web9")
    path = domains / "web9.yaml"
    lines = path.read_text().splitlines()
    # A key in a comment has no blank after its "#".
    text = "\n".join(line[1:] if line[:1] == "#" and line[1:2] not in ("", " ") else line for line in lines)
    # Within a block in comments, the blanks are the indentation.
    text = text.replace("\n#  ", "\n  ")
    assert set(yaml.safe_load(text)) == {
        "uuid", "name", "hostname", "availability_zone", "public_keys", "user_data", "meta", "nics",
    }  # fmt: skip
    path.write_text(text)
    # The one warning: where the key of the example is, a real one belongs.
    warning, summary = run("check", "domains.d").stdout.splitlines()
    assert "public_keys" in warning
    assert summary == "3 files, 3 good, 0 problems, 1 warning"


def test_two_new_files_have_different_uuids(run: Run, domains: Path) -> None:
    run("new", "--domains", "domains.d", "a")
    run("new", "--domains", "domains.d", "b")
    uuids = {yaml.safe_load((domains / f"{name}.yaml").read_text())["uuid"] for name in "ab"}
    assert len(uuids) == 2


def test_an_existing_file_stays(run: Run, domains: Path) -> None:
    (domains / "old.yaml").write_text("name: [broken\n")
    done = run("new", "--domains", "domains.d", "old")
    assert done.returncode == 1
    assert done.stderr == "eve-meta: domains.d/old.yaml already exists: edit it, or remove it first\n"
    assert (domains / "old.yaml").read_text() == "name: [broken\n"
    (domains / "link.yaml").symlink_to("nowhere")
    assert run("new", "--domains", "domains.d", "link").returncode == 1
    assert not (domains / "nowhere").exists()


def test_a_name_that_another_file_has(run: Run, domains: Path) -> None:
    (domains / "web1.yaml").rename(domains / "other.yaml")
    done = run("new", "--domains", "domains.d", "web1")
    assert done.stderr == "eve-meta: there is already a domain web1, in domains.d/other.yaml\n"


@pytest.mark.parametrize("name", ["../web9", "a/b", ".hidden", "", "a b", "a\n", "é", "a" * 201])
def test_a_name_that_cannot_be_a_file_name(run: Run, domains: Path, name: str) -> None:
    done = run("new", "--domains", "domains.d", "--", name)
    assert done.returncode == 1
    assert done.stderr.startswith("eve-meta: expected a name of letters, digits, '.', '_' and '-'")
    assert len(list(domains.iterdir())) == 2


def test_a_directory_that_is_not_there(run: Run, tmp_path: Path) -> None:
    done = run("new", "--domains", "missing", "web9")
    assert done.returncode == 1
    assert done.stderr == (
        "eve-meta: no directory missing: make it with 'install -d -m 700 missing', or name another\n"
    )
    assert not (tmp_path / "missing").exists()
