"""``eve-meta check``: the lines that it prints, and its exit status."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from eve_meta.cli import cli
from eve_meta.cli.place import place
from tests.unit.cli.conftest import Run
from tests.unit.test_secrets import CANARY, FILES

CONFLICT = "expected a name that no other file has"
TAB = "a tab indents this line, where YAML takes blanks alone: write blanks in its place"
WORLD = "every user of this host can read it, with the secrets that it may hold: chmod o= it"

OPENSSH = (Encoding.OpenSSH, PublicFormat.OpenSSH)
KEYS = {
    "ed25519": ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(*OPENSSH).decode(),
    "ecdsa": ec.generate_private_key(ec.SECP384R1()).public_key().public_bytes(*OPENSSH).decode(),
    "rsa": rsa.generate_private_key(65537, 2048).public_key().public_bytes(*OPENSSH).decode(),
}


def test_good_files(run: Run, domains: Path) -> None:
    done = run("check", "domains.d")
    assert (done.returncode, done.stdout, done.stderr) == (0, "2 files, 2 good, 0 problems\n", "")


def test_every_error_in_every_file(run: Run, domains: Path) -> None:
    (domains / "db1.yaml").write_text("name: db1\nhostnam: x\nlaunch_index: -1\n")
    (domains / "web2.yaml").touch(0o600)
    (domains / "web2.yaml").write_text("name: web1\n")
    done = run("check", "domains.d")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "domains.d/db1.yaml:2: hostnam: unknown key; did you mean 'hostname'?",
        "domains.d/db1.yaml:3: launch_index: expected a whole number from 0, got -1",
        f"domains.d/web2.yaml:1: name: {CONFLICT}, got 'web1', which domains.d/web1.yaml has",
        "3 files, 1 good, 3 problems",
    ]


def test_warnings_leave_the_exit_status_0(run: Run, domains: Path) -> None:
    domains.chmod(0o755)
    (domains / "web1.yaml").chmod(0o644)
    done = run("check", "domains.d")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"domains.d/web1.yaml: warning: {WORLD}",
        "2 files, 2 good, 0 problems, 1 warning",
    ]


def test_json(run: Run, domains: Path) -> None:
    (domains / "db1.yaml").write_text("name: db1\nhostnam: x\n")
    done = run("check", "domains.d", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout) == {
        "files": 2,
        "good": 1,
        "errors": 1,
        "problems": [
            {
                "file": "domains.d/db1.yaml",
                "line": 2,
                "column": None,
                "field": "hostnam",
                "message": "unknown key; did you mean 'hostname'?",
                "warning": False,
                "mend": "",
                "text": "domains.d/db1.yaml:2: hostnam: unknown key; did you mean 'hostname'?",
            }
        ],
    }


def test_the_configuration_names_the_directory_and_is_checked_too(run: Run, domains: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(f'[inventory]\ndirectory = "{domains}"\n')
    assert run("check", "--config", "c.toml").stdout == "2 files, 2 good, 0 problems\n"
    (tmp_path / "c.toml").write_text('[steering]\ntap = ["x"]\n')
    done = run("check", "--config", "c.toml", "domains.d")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "c.toml:2: steering.tap: unknown key; did you mean 'taps'?",
        "2 files, 2 good, 1 problem",
    ]


def test_what_guests_would_pass_over_is_a_warning(run: Run, domains: Path) -> None:
    (domains / "web2.yaml").touch(0o600)
    (domains / "web2.yaml").write_text(
        f"name: web2\npublic_keys: {{{', '.join(f'{name}: {key}' for name, key in KEYS.items())}}}\n"
        "user_data: |\n  #cloud-confg\n  runcmd: [ls]\n"
    )
    (domains / "web3.yaml").touch(0o600)
    (domains / "web3.yaml").write_text("name: web3\nuser_data_file: web3.cfg\n")
    (domains / "web3.cfg").touch(0o600)
    (domains / "web3.cfg").write_text('#cloud-config\nruncmd: ["ls]\n')
    done = run("check", "domains.d")
    assert done.returncode == 0
    one, two, summary = done.stdout.splitlines()
    assert one.startswith("domains.d/web2.yaml:4: warning: user_data: no cloud-init reads it: ")
    assert two.startswith("domains.d/web3.cfg:2: warning: cloud-init cannot read it: ")
    assert summary == "4 files, 4 good, 0 problems, 2 warnings"


def test_files_that_nobody_reads_are_a_warning(run: Run, domains: Path) -> None:
    for name in ("a.json", "b.yml~", ".c.yaml.swp", "web1.cfg"):
        (domains / name).touch(0o600)
    (domains / "web1.yaml").write_text("name: web1\nuser_data_file: web1.cfg\n")
    why = "is passed over: the names of the files that are read end in .yaml or .yml"
    assert run("check", "domains.d").stdout.splitlines() == [
        f"domains.d/a.json: warning: {why}",
        f"domains.d/b.yml~: warning: {why}",
        "2 files, 2 good, 0 problems, 2 warnings",
    ]


def test_where_cloud_inits_schema_is_missing_check_says_that_it_did_not_look(
    domains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "schema.json"
    monkeypatch.setattr("eve_meta.cli.check.schema_path", lambda: missing)
    done = CliRunner().invoke(cli, ["check", str(domains)])
    assert done.exit_code == 0
    warning, summary = done.stdout.splitlines()
    assert warning.startswith(
        f"{missing}: warning: no such file: cloud-config is not compared with cloud-init's schema"
    )
    assert summary == "2 files, 2 good, 0 problems, 1 warning"
    for path in domains.iterdir():
        path.write_text(f"name: {path.stem}\nuser_data: |\n  #!/bin/sh\n")
    assert CliRunner().invoke(cli, ["check", str(domains)]).stdout == "2 files, 2 good, 0 problems\n"


def test_the_line_of_broken_yaml_is_shown_with_the_place(run: Run, domains: Path) -> None:
    (domains / "db1.yaml").write_text('name: db1\nhostname: "db1\n')
    (domains / "web1.yaml").write_text("name: web1\nmeta:\n\trole: web\n")
    done = run("check", "domains.d")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "domains.d/db1.yaml:2:11: YAML: the quote that opens here is not closed",
        '    hostname: "db1',
        "              ^",
        f"domains.d/web1.yaml:3:1: YAML: {TAB}",
        "    →xxxx: xxx",  # what is within meta may be a secret
        "    ^",
        "2 files, 0 good, 2 problems",
    ]
    shown = json.loads(run("check", "domains.d", "--json").stdout)["problems"][0]
    assert (shown["line"], shown["column"]) == (2, 11)
    assert "db1" not in shown["message"]


def test_the_line_of_broken_yaml_shows_no_secret() -> None:
    for text in FILES:
        for number, _ in enumerate(text.split("\n"), 1):
            assert CANARY not in "".join(place(text.encode(), number, 1))


def test_a_long_line_is_cut_around_the_place(run: Run, domains: Path) -> None:
    (domains / "db1.yaml").write_text(f"name: {'x' * 300}: {'y' * 300}\n")
    _, line, mark, _ = run("check", "domains.d").stdout.splitlines()
    assert len(line) < 80
    assert line[mark.index("^")] == ":"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[admin]\naudit = "/missing/x/audit"\n', "2: admin.audit: expected a path in a directory that exists"),
        (
            '[admin]\nmetrics = "192.0.2.1:9169"\n',
            "2: admin.metrics: expected an address of this host, got '192.0.2.1'",
        ),
        ('[admin]\nsocket = "/etc/passwd"\n', "2: admin.socket: /etc/passwd is no socket"),
        ('[paths]\nstate = "/etc/passwd"\n', "2: paths.state: /etc/passwd is no directory"),
        ('[paths]\nrun = "/missing/x/run"\n', "2: paths.run: expected a path in a directory that exists"),
    ],
)
def test_what_serve_would_refuse_of_the_configuration(
    run: Run, domains: Path, tmp_path: Path, text: str, expected: str
) -> None:
    (tmp_path / "c.toml").write_text(text)
    done = run("check", "--config", "c.toml", "domains.d")
    assert done.returncode == 1
    assert done.stdout.startswith(f"c.toml:{expected}")


def test_a_missing_directory(run: Run) -> None:
    done = run("check", "missing")
    assert done.returncode == 1
    assert done.stderr == (
        "eve-meta: no directory missing: make it with 'install -d -m 700 missing', or name another\n"
    )


def test_a_file_in_place_of_the_directory(run: Run, domains: Path) -> None:
    done = run("check", "domains.d/web1.yaml")
    assert done.returncode == 1
    assert done.stderr == "eve-meta: cannot read the directory domains.d/web1.yaml: Not a directory\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_directory(run: Run, domains: Path) -> None:
    domains.chmod(0)
    done = run("check", "domains.d")
    domains.chmod(0o700)
    assert done.returncode == 1
    assert done.stderr == (
        "eve-meta: cannot read the directory domains.d: Permission denied; domain files are for root alone\n"
    )


def test_profiles(run: Run, domains: Path, tmp_path: Path) -> None:
    (tmp_path / "profiles.d").mkdir(0o700)
    for name, text in (("base", "meta: {a: b}\n"), ("web", "name: web\n")):
        (tmp_path / f"profiles.d/{name}.yaml").touch(0o600)
        (tmp_path / f"profiles.d/{name}.yaml").write_text(text)
    (domains / "web1.yaml").write_text("name: web1\nprofiles: [base, web, bsae]\n")
    (tmp_path / "eve-meta.toml").write_text(f'[inventory]\ndirectory = "{domains}"\nprofiles = ["all"]\n')
    done = run("check", "--config", "eve-meta.toml")
    assert done.returncode == 1
    assert done.stdout.replace(f"{tmp_path}/", "") == (
        "domains.d/web1.yaml:2: profiles[1]: expected a profile, got 'web': profiles.d/web.yaml is broken; "
        "it is not served\n"
        "domains.d/web1.yaml:2: profiles[2]: expected a profile, got 'bsae': there is no profiles.d/bsae.yaml "
        "(did you mean 'base'?); it is not served\n"
        "profiles.d/all.yaml: [inventory] profiles names 'all': there is no profiles.d/all.yaml; "
        "only domains that had it before are served\n"
        "profiles.d/web.yaml:1: name: expected a field that domains may share; "
        "this one belongs in a domain's own file\n"
        "4 files, 2 good, 4 problems\n"
    )


def test_a_profile_is_looked_at_as_guests_do(run: Run, domains: Path, tmp_path: Path) -> None:
    (tmp_path / "profiles.d").mkdir(0o700)
    for name in ("web.yaml", "notes.txt"):
        (tmp_path / "profiles.d" / name).touch(0o600)
    (tmp_path / "profiles.d/web.yaml").write_text("user_data: |\n  #cloud-confg\n  packages: [nginx]\n")
    lines = run("check", str(domains)).stdout.replace(f"{tmp_path}/", "").splitlines()
    assert any(line.startswith("profiles.d/web.yaml:2: warning: user_data: ") for line in lines), lines
    assert any(line.startswith("profiles.d/notes.txt: warning: is passed over: ") for line in lines), lines


def test_what_a_guest_does_not_get_by_dhcp(run: Run, domains: Path, tmp_path: Path) -> None:
    routes = "".join(f"    - {{to: 10.{number}.0.0/16, via: 10.0.0.1}}\n" for number in range(20))
    text = (
        "name: web1\nnics:\n- tap: vnet0\n  mac: '02:00:00:00:00:01'\n  subnets:\n"
        f"  - type: ipv4\n    address: 10.0.0.5/24\n    routes:\n{routes}"
        "  - {type: ipv4, address: 10.0.0.6/24}\n- {}\n- {}\n"
    )
    (domains / "web1.yaml").write_text(text)
    assert run("check", "domains.d").stdout == "2 files, 2 good, 0 problems\n"
    # A profile may switch DHCP on, and has what is wrong then.
    (tmp_path / "profiles.d").mkdir(0o700)
    (tmp_path / "profiles.d/net.yaml").touch(0o600)
    long = ".".join(["x" * 60] * 4)
    (tmp_path / "profiles.d/net.yaml").write_text(f"dhcp: on\nsearch:\n- {long}\n")
    (domains / "web1.yaml").write_text(f"{text}profiles: [net]\n")
    done = run("check", "domains.d")
    assert done.returncode == 0
    no_room = "for which its 240 bytes of options have no room"
    alone = "DHCP gives 10.0.0.5 alone: this one reaches the guest by its documents"
    unknown = (
        "its tap is not written, nor another NIC's: unless libvirt or EVE-OS knows it, the guest gets a link-local "
        "address by DHCP"
    )
    file, profile = "domains.d/web1.yaml", "profiles.d/net.yaml"
    assert done.stdout.splitlines() == [
        f"{file}:8: warning: nics[0].subnets[0].routes: DHCP leaves out the routes for old Windows, {no_room}",
        f"{file}:29: warning: nics[0].subnets[1].address: {alone}",
        f"{file}:30: warning: nics[1]: {unknown}",
        f"{file}:31: warning: nics[2]: {unknown}",
        f"{profile}:2: warning: search: DHCP leaves out the domain name, {no_room}",
        f"{profile}:2: warning: search: DHCP leaves out the search domains, {no_room}",
        "3 files, 3 good, 0 problems, 6 warnings",
    ]
