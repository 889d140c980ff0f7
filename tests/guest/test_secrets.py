"""No secret of a domain file is in the log, the admin socket's answers or what commands print of a running daemon."""

from __future__ import annotations

import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.namespace import inside
from tests.guest.scene import META_DATA, USER_DATA, Scene, domain, eventually, scene, uuid_of

NAME = "emsecret"
CANARY = "hunter2canary"
METRICS = "127.0.0.1:9168"

GOOD = {
    "user_data": f"#cloud-config\npassword: {CANARY}\n",
    "meta": {"a": CANARY},
    "public_keys": {"a": CANARY},
    "vendor_data": {"a": CANARY},
    "vendor_data2": {"a": CANARY},
    "files": [{"path": "/a", "content": CANARY}],
}

BROKEN = {
    "user": f"user_data: [{CANARY}]\n",
    "base64": f"user_data_base64: {CANARY}*\n",
    "meta": f"meta: {{{CANARY}: [a], b: [{CANARY}]}}\n",
    "keys": f"public_keys: {CANARY}\n",
    "vendor": f"vendor_data: [{CANARY}]\nvendor_data2: {{1: {CANARY}}}\n",
    "files": f"files: [{{path: /a, content: [{CANARY}]}}, {CANARY}]\n",
    "alias": f"user_data: *{CANARY}\n",
    "tag": f"user_data: !{CANARY} a\n",
    "quote": f'user_data: "{CANARY}\n',
    "number": f"user_data: !!int {CANARY}\n",
    "unknown": f"userdata: {CANARY}\n",
}


@pytest.fixture(scope="module")
def stage() -> Iterator[Scene]:
    """The guest of a good domain that is full of secrets, beside broken files, and one that broke later."""
    with scene(NAME, {"vm1": domain(1, "vnet1", **GOOD), "vm2": domain(2, "vnet2", **GOOD)}, started=False) as stage:
        audit = stage.daemon.directory / "audit"
        stage.daemon.set_admin(f'metrics = "{METRICS}"\naudit = "{audit}"\n')
        for name, text in BROKEN.items():
            write(stage, name, f"name: {name}\n{text}")
        stage.daemon.start()
        for number in (1, 2):
            stage.lab.guest(f"vm{number}", tap=f"vnet{number}", bridge="br0")
        stage.wait_until_known(vnet1=1, vnet2=2)
        for guest in stage.lab.guests.values():
            for path in (META_DATA, USER_DATA, f"/openstack/latest/{CANARY}", "/latest/meta-data/public-keys/0/"):
                guest.get(path)
        write(stage, "vm2", f"uuid: {uuid_of(2)}\nuser_data: {{{CANARY}: [{CANARY}]}}\nnics: [{{tap: vnet2}}]\n")
        eventually(lambda: "vm2.yaml" in str(stage.daemon.problems()), 5)
        yield stage


def write(stage: Scene, name: str, text: str) -> None:
    path = stage.daemon.domains / f"{name}.yaml"
    whole = path.with_suffix(".new")
    whole.write_text(text)
    whole.chmod(0o600)
    whole.rename(path)


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("status", "--json"),
        ("events",),
        ("events", "--json"),
        ("check",),
        ("check", "--json"),
        *[("explain", name) for name in ("vm1", "vm2", "vnet1", "user", "vendor", "nobody")],
        *[("explain", name, "--json") for name in ("vm1", "vm2")],
        ("timeline", "vm1"),
        ("render", "vm1", "/openstack/latest/nothing"),
        ("render", "vm1", "--sources"),
        ("render", "vendor", USER_DATA),
        ("password", "vm1"),
    ],
    ids=" ".join,
)
def test_no_command_shows_a_secret(stage: Scene, arguments: tuple[str, ...]) -> None:
    command = stage.daemon.command(*arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert CANARY not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout + done.stderr


def test_the_log_names_every_broken_file_and_shows_no_secret(stage: Scene) -> None:
    log = stage.daemon.log.read_text()
    assert CANARY not in log
    assert all(f"{name}.yaml" in log for name in (*BROKEN, "vm2"))


def test_audit_and_metrics_show_no_secret(stage: Scene) -> None:
    eventually(lambda: "user_data" in audit(stage), 5)
    assert CANARY not in audit(stage)
    time.sleep(1.1)
    with inside(stage.lab.host.name), urllib.request.urlopen(f"http://{METRICS}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    assert "vm1" in text
    assert CANARY not in text


def audit(stage: Scene) -> str:
    path: Path = stage.daemon.directory / "audit"
    return path.read_text() if path.exists() else ""
