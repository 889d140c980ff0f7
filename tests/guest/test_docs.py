"""The commands that README.rst and eve_meta/docs give for a guest, run in one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.guests import Guest
from tests import texts
from tests.guest.scene import Scene, domain, eventually, scene

COMMANDS = [
    pytest.param(path, block, id=f"{path.stem}-{number}")
    for path in (texts.README, texts.GUESTS)
    for number, block in enumerate(texts.in_the_guest(texts.read(path)))
]

# A person would notice an error. Here it must end the script, and only the document may be printed.
SHELL = 'set -eu; curl() { command curl -sS --fail -m 10 "$@"; }\n'


@pytest.fixture(scope="module")
def stage() -> Iterator[Scene]:
    with scene("emdoc", {"vm1": domain(1, "vnet1")}) as stage:
        guest = stage.lab.guest("vm1", tap="vnet1", bridge="br0")
        stage.wait_until_known(vnet1=1)
        eventually(lambda: "tentative" not in guest.run("ip", "address", "show", "dev", "eth0").stdout, 10)
        yield stage


@pytest.mark.parametrize(("path", "block"), COMMANDS)
def test_each_command_for_a_guest_works(stage: Scene, path: Path, block: str) -> None:
    guest: Guest = stage.lab.guests["vm1"]
    done = guest.run("sh", "-c", SHELL + block, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_there_are_commands_for_a_guest() -> None:
    assert len(COMMANDS) >= 6
