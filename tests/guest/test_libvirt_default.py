"""The default configuration on a host with a real libvirtd, which is started after eve-meta."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.daemon import Daemon
from harness.guests import Lab
from tests.guest.libvirtd import Libvirtd, interface
from tests.guest.scene import Scene, eventually, uuid_of

RUN = Path("/run/libvirt")

MAC = "52:54:00:00:00:01"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    if RUN.exists():
        pytest.skip("this machine has a libvirt of its own, and the tests are not isolated")
    with Lab("emg-auto") as made:
        made.bridge("br0", "10.0.0.1/24")
        yield made
    RUN.unlink(missing_ok=True)


def events(scene: Scene, tap: str) -> list[str]:
    """Return what happened to the domain of *tap* since the daemon started."""
    lines = scene.lab.host.run(*scene.daemon.command("events", "--json")).stdout.splitlines()
    happened: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return [each["event"] for each in happened if each.get("tap") == tap and each["event"].startswith("domain-")]


def test_a_domain_is_served_and_new_and_explain_agree_with_libvirt(lab: Lab) -> None:
    with Daemon(lab, taps=("vnet*",), inventory='libvirt = "auto"\n') as daemon, Libvirtd(lab) as libvirtd:
        scene = Scene(lab, daemon)
        assert daemon.problems() == []
        RUN.symlink_to(libvirtd.directory / "run")
        libvirtd.define("web1", uuid_of(1), interface(MAC))
        (tap,) = libvirtd.begin_domain("web1")
        scene.wait_until_known(**{tap: 1})
        shown = json.loads(lab.host.run(*daemon.command("explain", "web1", "--json"), check=False).stdout)
        assert shown["domain"]["uuid"] == uuid_of(1)
        assert next(step["verdict"] for step in shown["steps"] if step["step"] == "domain") == "domain-known"

        lab.host.run(*daemon.command("new", "web1"))
        written = yaml.safe_load((daemon.domains / "web1.yaml").read_text())
        assert written == {"uuid": uuid_of(1), "name": "web1", "nics": [{"mac": MAC}]}
        eventually(lambda: scene.domain_is(tap, 1), 10)
        assert daemon.problems() == []
        assert events(scene, tap) == ["domain-found"]

        # A domain that runs while the daemon starts is found, and not lost meanwhile.
        daemon.stop()
        daemon.start()
        scene.wait_until_known(**{tap: 1})
        eventually(lambda: daemon.problems() == [], 10)
        assert events(scene, tap) == ["domain-found"]
