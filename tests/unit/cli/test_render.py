"""``eve-meta render``: what a guest would read, byte for byte."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner

from eve_meta.admin import client
from eve_meta.admin.client import NotPermitted
from eve_meta.admin.questions import SHOW_DOMAIN
from eve_meta.cli import known
from eve_meta.cli.render import PLACEHOLDERS, render
from eve_meta.values.checks import is_secret
from eve_meta.values.domain import Domain
from eve_meta.values.problem import Problem
from tests.unit.cli.conftest import MAIN, Run


def test_a_document_by_name_and_by_uuid(run: Run, domains: Path) -> None:
    by_name = run("render", "--domains", "domains.d", "web1", "/openstack/latest/meta_data.json")
    assert by_name.returncode == 0
    data = json.loads(by_name.stdout)
    assert data["name"] == "web1"
    by_uuid = run("render", "--domains", "domains.d", data["uuid"].upper(), "openstack/latest/user_data")
    assert by_uuid.stdout == "#cloud-config of web1\n"


def test_bytes_are_unchanged(domains: Path) -> None:
    blob = bytes(range(256))
    (domains / "blob.yaml").write_text(f"name: blob\nuser_data_base64: {base64.b64encode(blob).decode()}\n")
    command = [sys.executable, "-c", MAIN, "render", "--domains", str(domains), "blob", "/latest/user-data"]
    assert subprocess.run(command, capture_output=True, check=True).stdout == blob


def test_an_unknown_domain(run: Run, domains: Path) -> None:
    done = run("render", "--domains", "domains.d", "web2", "/")
    assert done.returncode == 1
    assert done.stderr == "eve-meta: no domain or tap 'web2': did you mean web1?\n"
    done = run("render", "--domains", "domains.d", "zzz", "/")
    assert done.stderr == "eve-meta: no domain or tap 'zzz': the domains are db1, web1\n"


def test_an_unknown_domain_whose_file_may_be_broken(run: Run, domains: Path) -> None:
    (domains / "web1.yaml").write_text("name: [\n")
    done = run("render", "--domains", "domains.d", "web1", "/")
    assert done.stderr == (
        "eve-meta: no domain or tap 'web1': the domains are db1 (1 file is broken: see 'eve-meta check')\n"
    )


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/openstack/latest/metadata.json", "there are, at /openstack/latest: meta_data.json, "),
        ("/latest/meta-data/nothing/at/all", "there are, at /latest/meta-data: ami-id, "),
        ("/favicon.ico", "a guest begins at /openstack or /latest\n"),
    ],
)
def test_a_path_without_a_document(run: Run, domains: Path, path: str, hint: str) -> None:
    done = run("render", "--domains", "domains.d", "web1", path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"eve-meta: web1 has nothing at {path} (404); {hint}")


@pytest.mark.parametrize(("path", "method"), [("/latest/api/token", "PUT"), ("/eve-meta/v1/report", "POST")])
def test_a_path_where_nothing_is_read(run: Run, domains: Path, path: str, method: str) -> None:
    done = run("render", "--domains", "domains.d", "web1", path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"eve-meta: web1 reads nothing at {path}, which is for {method} (405)\n"


def test_a_malformed_path(run: Run, domains: Path) -> None:
    done = run("render", "--domains", "domains.d", "web1", "/%zz")
    assert done.stderr == "eve-meta: '/%zz' is not a path: it has a '%' without two hexadecimal digits\n"


def test_an_unknown_address(run: Run, domains: Path) -> None:
    assert run("render", "--domains", "domains.d", "web1", "/latest/meta-data/local-ipv4").stdout == "0.0.0.0"


def test_the_source_of_each_field(run: Run, domains: Path) -> None:
    (domains / "web1.yaml").write_text(
        "name: web1\nec2:\n  region: r\nuser_data_base64: AAE=\nnics:\n- mac: fa:16:3e:00:00:01\n  tap: vnet0\n"
    )
    done = run("render", "--domains", "domains.d", "web1", "--sources")
    assert (done.returncode, done.stderr) == (0, "")
    assert dict(line.split() for line in done.stdout.splitlines()) == {
        "name": "domains.d/web1.yaml:1",
        "ec2.region": "domains.d/web1.yaml:3",
        "user_data": "domains.d/web1.yaml:4",
        "nics[0].mac": "domains.d/web1.yaml:6",
        "nics[0].tap": "domains.d/web1.yaml:7",
    }
    assert run("render", "--domains", "domains.d", "web1", "/openstack", "--sources").returncode == 2


# -- with a daemon --

UUID1 = "1a831fa7-c50b-4693-a16e-fb8171f1b69e"
UUID2 = "2a831fa7-c50b-4693-a16e-fb8171f1b69e"


@pytest.fixture
def config(tmp_path: Path, domains: Path) -> Path:
    """A configuration whose socket is that daemon's."""
    path = tmp_path / "eve-meta.toml"
    text = f'[inventory]\ndirectory = "{domains}"\nlibvirt = "qemu:///system"\n'
    path.write_text(f'{text}[admin]\nsocket = "{tmp_path / "daemon.sock"}"\n')
    return path


def test_a_running_daemon_is_asked(run: Run, config: Path, domains: Path, answering: dict[str, Any]) -> None:
    answering["list_domains"] = [
        {"name": "web1", "uuid": UUID1, "taps": []},
        {"name": "virt", "uuid": UUID2, "taps": ["vnet0"]},
    ]
    file = str(domains / "web1.yaml")
    domain = {"uuid": UUID1, "name": "web1", "user_data": base64.b64encode(b"of the daemon").decode()}
    answering["show_domain"] = {"domain": domain, "sources": {"name": file, "uuid": "libvirt XML of web1"}}
    done = run("render", "--config", str(config), "web1", "/openstack/latest/user_data")
    assert (done.stdout, done.stderr) == ("of the daemon", "")
    done = run("render", "--config", str(config), "web1", "--sources")
    assert done.stdout == f"name  {file}:1\nuuid  libvirt XML of web1\n"
    answering["show_domain"] = Problem("no domain or tap 'virr': did you mean virt?")
    done = run("render", "--config", str(config), "virr", "/")
    assert (done.returncode, done.stderr) == (1, "eve-meta: no domain or tap 'virr': did you mean virt?\n")
    # Whoever names files means files.
    done = run("render", "--config", str(config), "--domains", "domains.d", "web1", "/openstack/latest/user_data")
    assert done.stdout == "#cloud-config of web1\n"
    assert run(
        _EVE_META_COMPLETE="bash_complete", COMP_WORDS=f"eve-meta render --config {config} v", COMP_CWORD="4"
    ).stdout.splitlines() == ["plain,virt", "plain,vnet0"]


def test_files_alone_are_not_what_libvirts_guests_read(run: Run, config: Path) -> None:
    done = run("render", "--config", str(config), "web1", "/openstack/latest/user_data")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("eve-meta: no eve-meta daemon listens on ")
    assert done.stderr.endswith("; or use --domains DIR to read domain files alone\n")
    config.write_text(config.read_text().replace("qemu:///system", ""))
    done = run("render", "--config", str(config), "web1", "/openstack/latest/user_data")
    assert done.stdout == "#cloud-config of web1\n"


def test_a_new_file_has_the_uuid_that_the_daemon_knows(
    run: Run, config: Path, domains: Path, answering: dict[str, Any]
) -> None:
    answering["list_domains"] = [{"name": "virt", "uuid": UUID1, "taps": []}]
    assert run("new", "--config", str(config), "virt").returncode == 0
    assert f"\nuuid: {UUID1}\n" in (domains / "virt.yaml").read_text()


# -- as an operator, who is not root --


@pytest.fixture
def as_operator(config: Path, tmp_path: Path, answering: dict[str, Any]) -> Path:
    """A configuration whose daemon answers what it answers operators."""
    answering["show_domain"] = Problem("only root may ask the daemon for 'show_domain'")
    answering["public_domain"] = {
        "domain": {"uuid": UUID1, "name": "web1", "hostname": "web1.example.org"},
        "sources": {"name": "/etc/eve-meta/domains.d/web1.yaml"},
        "hidden": ["user_data", "meta", "public_keys"],
    }
    return config


def render_as_operator(monkeypatch: pytest.MonkeyPatch, config: Path, *arguments: str) -> Any:
    """Run ``eve-meta render`` where root's question is refused."""

    def ask(path: Path, question: Any, **named: str) -> Any:
        if question is SHOW_DOMAIN:
            raise NotPermitted("only root may ask")
        return client.ask(path, question, **named)

    monkeypatch.setattr(known, "ask", ask)
    return CliRunner().invoke(render, ["--config", str(config), "web1", *arguments])


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/openstack/latest/user_data", "user_data"),
        ("/latest/user-data", "user_data"),
        ("/latest/meta-data/public-keys/0/openssh-key", "public_keys"),
    ],
)
def test_an_operator_does_not_see_a_document_that_is_a_secret(
    monkeypatch: pytest.MonkeyPatch, as_operator: Path, path: str, field: str
) -> None:
    done = render_as_operator(monkeypatch, as_operator, path)
    assert isinstance(done.exception, Problem)
    assert str(done.exception) == f"only root may see what web1 reads at {path}: it has the domain's {field}"


def test_an_operator_sees_a_document_without_its_secrets(monkeypatch: pytest.MonkeyPatch, as_operator: Path) -> None:
    done = render_as_operator(monkeypatch, as_operator, "/openstack/latest/meta_data.json")
    assert done.stderr == "eve-meta: without meta and public_keys, which only root may see\n"
    assert json.loads(done.stdout)["hostname"] == "web1.example.org"
    done = render_as_operator(monkeypatch, as_operator, "/latest/meta-data/hostname")
    assert (done.stdout, done.stderr) == ("web1.example.org", "")
    done = render_as_operator(monkeypatch, as_operator, "--sources")
    assert done.stdout == "name  /etc/eve-meta/domains.d/web1.yaml\n"


def test_each_field_that_may_be_hidden_has_a_placeholder_that_shows_in_a_document() -> None:
    assert set(PLACEHOLDERS) == {field.name for field in attrs.fields(Domain) if is_secret(field)}


def test_profiles_without_a_daemon(run: Run, domains: Path) -> None:
    profiles = domains.with_name("profiles.d")
    profiles.mkdir(0o700)
    (profiles / "base.yaml").touch(0o600)
    (profiles / "base.yaml").write_text("meta: {site: here}\nuser_data: |\n  #cloud-config\n  packages: [chrony]\n")
    (domains / "web1.yaml").write_text("name: web1\nprofiles: [base]\nuser_data: '#!/bin/sh'\n")
    (domains / "db1.yaml").write_text("name: db1\nprofiles: [bsae]\n")
    meta_data = run("render", "--domains", "domains.d", "web1", "/openstack/latest/meta_data.json").stdout
    assert json.loads(meta_data)["meta"] == {"site": "here"}
    assert run("render", "--domains", "domains.d", "web1", "--sources").stdout.splitlines() == [
        "name          domains.d/web1.yaml:1",
        "profiles      domains.d/web1.yaml:2",
        "user_data[0]  profiles.d/base.yaml:2",
        "user_data[1]  domains.d/web1.yaml:3",
        "meta          profiles.d/base.yaml:1",
    ]
    done = run("render", "--domains", "domains.d", "db1", "--sources")
    assert done.returncode == 1
    assert done.stderr == (
        "eve-meta: domains.d/db1.yaml:2: profiles[0]: expected a profile, got 'bsae': there is no "
        "profiles.d/bsae.yaml (did you mean 'base'?); it is not served\n"
    )
