"""A profile and a new instance id reach guests through the worker, while the daemon runs and after a restart."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.guest.scene import META_DATA, USER_DATA, Scene, domain, eventually, scene, uuid_of
from tests.unit.inventory.writing import write

COUNT = 2


@pytest.fixture(scope="module")
def stage() -> Iterator[Scene]:
    domains = {f"vm{number}": domain(number, f"vnet{number}", profiles=["web"]) for number in range(COUNT)}
    with scene("emg-profiles", domains, started=False) as stage:
        folder = stage.daemon.domains.with_name("profiles.d")
        folder.mkdir(mode=0o700)
        write(folder / "web.yaml", "meta: {site: here}\n")
        stage.daemon.start()
        for number in range(COUNT):
            stage.lab.guest(f"vm{number}", tap=f"vnet{number}", bridge="br0")
        stage.wait_until_known(**{f"vnet{number}": number for number in range(COUNT)})
        yield stage


def meta_data(stage: Scene, number: int) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(stage.lab.guests[f"vm{number}"].get(META_DATA).body)
    return plain


def run(stage: Scene, *arguments: str, status: int = 0) -> str:
    """Run a command, which ends with *status*; return its output."""
    done = subprocess.run(stage.daemon.command(*arguments), check=False, capture_output=True, text=True)
    assert done.returncode == status, done
    return done.stdout


def test_a_profile_that_changes_reaches_all_its_guests(stage: Scene) -> None:
    assert [meta_data(stage, number)["meta"] for number in range(COUNT)] == [{"site": "here"}] * COUNT
    profile = stage.daemon.domains.with_name("profiles.d") / "web.yaml"
    write(profile, "meta: {site: there}\nuser_data: |\n  #cloud-config\n  packages: [nginx]\n")
    eventually(lambda: all(meta_data(stage, number)["meta"] == {"site": "there"} for number in range(COUNT)), 5)
    for number in range(COUNT):
        user_data = stage.lab.guests[f"vm{number}"].get(USER_DATA).body.decode()
        assert user_data.startswith("Content-Type: multipart/mixed;")
        assert user_data.index("packages: [nginx]") < user_data.index(f"echo this is vm{number}")
    write(profile, "meta: [\n")
    eventually(lambda: any("web.yaml" in problem for problem in stage.daemon.problems()), 5)
    assert meta_data(stage, 0)["meta"] == {"site": "there"}
    assert f"{profile}:2:" in json.loads(run(stage, "explain", "vm0", "--json", status=1))["steps"][1]["text"]
    write(profile, "meta: {site: there}\n")
    eventually(lambda: not stage.daemon.problems(), 5)


def test_a_new_instance_id_reaches_the_guest_and_outlives_a_restart(stage: Scene) -> None:
    run(stage, "rerun", "vm0", "--yes")
    given = eventually(lambda: (uuid := meta_data(stage, 0)["uuid"]) != uuid_of(0) and uuid, 5)
    assert meta_data(stage, 1)["uuid"] == uuid_of(1)
    assert stage.domain_is("vnet0", 0)
    assert "eve-meta rerun" in run(stage, "render", "vm0", "--sources")
    stage.daemon.stop()
    stage.daemon.start()
    stage.wait_until_known(vnet0=0)
    assert meta_data(stage, 0)["uuid"] == given
    run(stage, "rerun", "vm0", "--undo")
    eventually(lambda: meta_data(stage, 0)["uuid"] == uuid_of(0), 5)
