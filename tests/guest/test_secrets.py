"""No secret of a domain file is in the log, the admin socket's answers or what commands print of a running daemon."""

from __future__ import annotations

import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from eve_meta.admin.access import OPERATORS
from harness.namespace import inside
from tests.guest.scene import META_DATA, USER_DATA, Scene, domain, eventually, scene, uuid_of

NAME = "emsecret"
CANARY = "hunter2canary"
METRICS = "127.0.0.1:9168"

GROUP = "daemon"
"""A group that every Debian has."""

OPERATOR, STRANGER = ("--groups", GROUP), ("--clear-groups",)
"""The groups of a user who is an operator, and of one who is not."""

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
        stage.daemon.set_admin(f'metrics = "{METRICS}"\naudit = "{audit}"\noperators = "{GROUP}"\n')
        stage.lab.directory.chmod(0o711)  # operators have to get to their socket
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


# -- for operators --


def as_user(stage: Scene, groups: tuple[str, ...], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user who is not root."""
    user = ("setpriv", "--reuid", "65534", "--regid", "65534", *groups)
    command = (*user, *stage.daemon.command(*arguments))
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd="/")


def test_operators_see_what_is_served_and_no_secret(stage: Scene) -> None:
    socket = stage.daemon.directory / "admin.sock"
    read_only = stage.daemon.directory / "admin-ro.sock"
    assert [(path.stat().st_mode & 0o777, path.stat().st_uid) for path in (socket, read_only)] == [
        (0o600, 0),
        (0o660, 0),
    ]
    assert (socket.group(), read_only.group()) == ("root", GROUP)
    for arguments in (
        ("status",),
        ("list",),
        ("events",),
        ("timeline", "vm1"),
        ("explain", "vm1"),
        ("explain", "vm2", "--json"),
        ("render", "vm1", META_DATA),
        ("render", "vm1", "--sources"),
    ):
        done = as_user(stage, OPERATOR, *arguments)
        assert CANARY not in done.stdout + done.stderr, arguments
        assert "Traceback" not in done.stderr, done.stderr
        assert "vm1" in done.stdout or "vm2" in done.stdout, (arguments, done)
    assert "which only root may see" in as_user(stage, OPERATOR, "render", "vm1", META_DATA).stderr


def test_what_is_roots_stays_roots(stage: Scene) -> None:
    for arguments, answer in (
        (("render", "vm1", USER_DATA), "only root may see what vm1 reads"),
        (("password", "vm1"), "for that: run the command with sudo"),
        (("password", "vm1", "--clear"), "for that: run the command with sudo"),
    ):
        done = as_user(stage, OPERATOR, *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert answer in done.stderr
    for command in ("status", "explain vm1", f"render vm1 {META_DATA}", "events --follow"):
        done = as_user(stage, STRANGER, *command.split())
        assert (done.returncode, done.stdout) == (1, "")
        assert f"only root and the group {GROUP} may ask the daemon" in done.stderr, done.stderr


def test_operators_who_ask_without_end_make_nobody_else_wait(stage: Scene) -> None:
    flood = (
        "import json, socket, sys\n"
        "while True:\n"
        "    for name in ('status', 'list', 'events', 'x' * 15000):\n"
        "        with socket.socket(socket.AF_UNIX) as asking:\n"
        "            asking.settimeout(1)\n"
        "            try:\n"
        "                asking.connect(sys.argv[1])\n"
        "                asking.send(json.dumps({'question': name, 'arguments': {}}).encode() + b'\\n')\n"
        "            except OSError:\n"
        "                pass\n"
    )
    user = ("setpriv", "--reuid", "65534", "--regid", "65534", *OPERATOR)
    command = (*user, "/usr/bin/python3", "-c", flood, stage.daemon.directory / "admin-ro.sock")
    assert stage.daemon.process is not None
    descriptors = Path(f"/proc/{stage.daemon.process.pid}/fd")
    # Those that are accepted in one turn of the reactor are closed in the next.
    most = len(list(descriptors.iterdir())) + OPERATORS.connections + OPERATORS.rate
    flooders = [subprocess.Popen(command, cwd="/") for _ in range(4)]
    try:
        guest = stage.lab.guests["vm1"]
        lapses = stage.daemon.status()["lapses"]
        until = time.monotonic() + 3
        while time.monotonic() < until:
            assert guest.get(META_DATA).status == 200
            assert len(list(descriptors.iterdir())) < most
        assert stage.daemon.status()["lapses"] == lapses
        assert as_user(stage, STRANGER, "status").returncode == 1
    finally:
        for flooder in flooders:
            flooder.kill()
            flooder.wait()
    eventually(lambda: "vm1" in as_user(stage, OPERATOR, "status").stdout, 10)
