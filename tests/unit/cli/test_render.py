"""``eve-meta render``: what the guest would read, byte for byte."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import MAIN, Run


def test_a_document_by_name_and_by_uuid(run: Run, domains: Path) -> None:
    by_name = run("render", "--domains", "domains.d", "web1", "/openstack/latest/meta_data.json")
    assert by_name.returncode == 0
    data = json.loads(by_name.stdout)
    assert data["name"] == "web1"
    by_uuid = run("render", "--domains", "domains.d", data["uuid"].upper(), "openstack/latest/user_data")
    assert by_uuid.stdout == "#cloud-config of web1\n"


def test_bytes_are_not_altered(domains: Path) -> None:
    blob = bytes(range(256))
    (domains / "blob.yaml").write_text(f"name: blob\nuser_data_base64: {base64.b64encode(blob).decode()}\n")
    command = [sys.executable, "-c", MAIN, "render", "--domains", str(domains), "blob", "/latest/user-data"]
    assert subprocess.run(command, capture_output=True, check=True).stdout == blob


def test_an_unknown_domain(run: Run, domains: Path) -> None:
    done = run("render", "--domains", "domains.d", "web2", "/")
    assert done.returncode == 1
    assert done.stderr == "eve-meta: no domain 'web2' in domains.d: did you mean web1?\n"
    done = run("render", "--domains", "domains.d", "zzz", "/")
    assert done.stderr == "eve-meta: no domain 'zzz' in domains.d: there are db1, web1\n"


def test_an_unknown_domain_whose_file_may_be_broken(run: Run, domains: Path) -> None:
    (domains / "web1.yaml").write_text("name: [\n")
    done = run("render", "--domains", "domains.d", "web1", "/")
    assert done.stderr == (
        "eve-meta: no domain 'web1' in domains.d: there are db1 (1 file is broken: see 'eve-meta check')\n"
    )


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/openstack/latest/metadata.json", "listed at /openstack/latest: meta_data.json, "),
        ("/latest/meta-data/nothing/at/all", "listed at /latest/meta-data: ami-id, "),
        ("/favicon.ico", "a guest begins at /openstack or /latest\n"),
    ],
)
def test_a_path_with_nothing(run: Run, domains: Path, path: str, hint: str) -> None:
    done = run("render", "--domains", "domains.d", "web1", path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"eve-meta: web1 has nothing at {path} (404); {hint}")


def test_a_path_that_is_none(run: Run, domains: Path) -> None:
    done = run("render", "--domains", "domains.d", "web1", "/%zz")
    assert done.stderr == "eve-meta: no path '/%zz': it has a '%' without two hexadecimal digits\n"


def test_an_address_that_nobody_said(run: Run, domains: Path) -> None:
    assert run("render", "--domains", "domains.d", "web1", "/latest/meta-data/local-ipv4").stdout == "0.0.0.0"
