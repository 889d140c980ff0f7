"""A supervisor that dies and comes back, what a crash leaves, and a second daemon beside the first."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import define, evolve

from eve_meta.steering.bpf.maps import Maps
from harness.guests import BPFFS
from harness.namespace import RUN_NETNS, Namespace, ip_batch
from tests.guest.scene import META_DATA, Hosts, Identity, KeepAlive, Scene, domain, eventually, is_alive, scene, uuid_of

COUNT = 4
RESTORED_WITHIN = 2.0
"""Seconds from the restart of a killed supervisor until its guests are answered."""

NAME = "emg-again"


@define
class Stage:
    """A running daemon with guests, and the state of the hosts before it."""

    scene: Scene
    before: Hosts

    def kill(self) -> None:
        """Kill the supervisor, as the kernel does when memory is short; the workers end on their own."""
        process = self.scene.daemon.process
        assert process is not None
        workers = [worker["pid"] for worker in self.scene.daemon.status()["workers"]]
        process.send_signal(signal.SIGKILL)
        process.wait()
        for pid in workers:
            eventually(lambda pid=pid: not is_alive(pid), 5)  # type: ignore[misc]

    def tags(self) -> dict[str, int]:
        return {tap["tap"]: tap["tag"] for tap in self.scene.daemon.status()["taps"]}

    def wait_until_known(self) -> None:
        self.scene.wait_until_known(**{f"vnet{number}": number for number in range(COUNT)})

    def all_answered(self) -> None:
        self.wait_until_known()
        for number in range(COUNT):
            assert Identity.asked_by(self.scene.lab.guests[f"vm{number}"]) == Identity.of(number)


@pytest.fixture(scope="module")
def module_stage() -> Iterator[Stage]:
    domains = {f"vm{number}": domain(number, f"vnet{number}") for number in range(COUNT)}
    with scene(NAME, domains, started=False) as stage:
        for number in range(COUNT):
            stage.lab.guest(f"vm{number}", tap=f"vnet{number}", bridge="br0")
        yield Stage(stage, Hosts.read(stage.lab))


@pytest.fixture
def stage(module_stage: Stage) -> Stage:
    """The daemon runs, whatever the test before did to it."""
    daemon = module_stage.scene.daemon
    if daemon.process is None:
        module_stage.before = Hosts.read(module_stage.scene.lab)
        daemon.start()
    elif daemon.process.poll() is not None:
        daemon.start()
    module_stage.wait_until_known()
    return module_stage


def test_a_supervisor_that_was_killed_takes_everything_over(stage: Stage) -> None:
    # Use up some tags first: the old ones must be kept, not be assigned anew in the same order.
    guest = stage.scene.lab.guests["vm1"]
    guest.unplug()
    guest.plug("vnet1")
    stage.wait_until_known()
    tags = stage.tags()
    assert len(set(tags.values())) == COUNT
    assert sorted(tags, key=lambda tap: tags[tap])[-1] == "vnet1"
    hosts = Hosts.read(stage.scene.lab, private=stage.scene.private)

    stage.kill()
    assert "eve-meta:tap_in" in stage.scene.filters("vnet0")  # steering outlives it
    stage.scene.daemon.start()

    assert stage.tags() == tags
    stage.all_answered()
    # No filter, rule, route, qdisc or link is added or changed.
    assert hosts.changes() == []
    assert stage.scene.filters("vnet0").count("eve-meta:tap_in") == 1
    stage.scene.daemon.stop()  # otherwise the next test would miss the tap that this one replaced


def test_guests_are_answered_within_two_seconds_of_the_restart(stage: Stage) -> None:
    """The pins are those of this build, so nothing is compiled; and no guest ever reads another's data."""
    tags = stage.tags()
    guests = {number: stage.scene.lab.guests[f"vm{number}"] for number in range(COUNT)}
    took: list[float] = []
    while len(took) < 3 and (not took or min(took) >= RESTORED_WITHIN):  # the machine may be busy
        stage.kill()
        starter = threading.Thread(target=stage.scene.daemon.start)
        began = time.monotonic()
        starter.start()
        waiting = dict(guests)
        while waiting:
            assert time.monotonic() - began < 10 * RESTORED_WITHIN, f"not answered: {sorted(waiting)}"
            for number in list(waiting):
                with contextlib.suppress(OSError):
                    answer = guests[number].get(META_DATA, timeout=0.3)
                    assert (answer.status, json.loads(answer.body)["uuid"]) == (200, uuid_of(number))
                    del waiting[number]
        took.append(time.monotonic() - began)
        starter.join()
        assert stage.tags() == tags
    print(f"\nfrom the restart to an answer for each of {COUNT} guests: {', '.join(f'{t:.2f}' for t in took)} s")
    assert min(took) < RESTORED_WITHIN


def test_the_tag_of_a_tap_that_went_while_no_daemon_ran_is_not_reused(stage: Stage) -> None:
    tags = stage.tags()
    stage.kill()
    guest = stage.scene.lab.guests["vm0"]
    guest.unplug()
    guest.plug("vnet0")
    stage.scene.daemon.start()
    stage.all_answered()
    now = stage.tags()
    assert now["vnet0"] not in tags.values()
    assert {tap: tag for tap, tag in now.items() if tap != "vnet0"} == {
        tap: tag for tap, tag in tags.items() if tap != "vnet0"
    }
    stage.scene.daemon.stop()


def test_a_guest_that_asks_while_the_supervisor_is_dead_is_answered_by_the_next(stage: Stage) -> None:
    stage.kill()
    guest = stage.scene.lab.guests["vm0"]
    with pytest.raises(ConnectionRefusedError):  # at once, so that the guest retries; never another's answer
        guest.get(META_DATA)
    stage.scene.daemon.start()
    stage.all_answered()


def _remove_pins() -> None:
    shutil.rmtree(BPFFS / NAME)


def _remove_namespace() -> None:
    ip_batch([f"netns delete {NAME}"])


def _remove_link() -> None:
    Namespace(f"{NAME}-host").ip(f"link delete {NAME}0")


def _remove_rules() -> None:
    Namespace(NAME).run("iptables-restore", input="*nat\nCOMMIT\n*raw\nCOMMIT\n")


def _unmount_namespace() -> None:
    """Leave what a daemon leaves that dies between making the file and mounting the namespace on it."""
    _remove_namespace()
    (RUN_NETNS / NAME).touch()


def _age_pins() -> None:
    """Make the pins look like those of other sources, as after an upgrade."""
    with contextlib.closing(Maps(BPFFS / NAME)) as maps:
        maps.write_settings(evolve(maps.settings(), build=1))


CRASHES: dict[str, Callable[[], None]] = {
    "without its pins": _remove_pins,
    "and an upgrade": _age_pins,
    "without its namespace": _remove_namespace,
    "without its link": _remove_link,
    "without its rules": _remove_rules,
    "with half a namespace": _unmount_namespace,
}


@pytest.mark.parametrize("crash", CRASHES)
def test_what_a_crash_left_is_restored_and_in_the_end_removed(stage: Stage, crash: str) -> None:
    tags = stage.tags()
    stage.kill()
    CRASHES[crash]()
    stage.scene.daemon.start()
    stage.all_answered()
    assert stage.scene.filters("vnet0").count("eve-meta:tap_in") == 1
    without_pins = CRASHES[crash] is _remove_pins
    assert without_pins or stage.tags() == tags
    stage.scene.daemon.stop()
    changes = stage.before.changes(patience=0 if without_pins else 5)
    if without_pins:
        # It is not known any more who made the qdiscs on the taps, so they stay, without a filter.
        changes = [change for change in changes if not (change.startswith("lab tc qdisc: +") and "ingress" in change)]
        for number in range(COUNT):
            stage.scene.lab.host.run("tc", "qdisc", "del", "dev", f"vnet{number}", "ingress", check=False)
    assert changes == []


# -- a second daemon --


def _config_of_another(stage: Stage, *, same_socket: bool, same_run: bool) -> Path:
    daemon = stage.scene.daemon
    text = daemon.config.read_text()
    if not same_socket:
        text = text.replace("admin.sock", "other.sock")
    if not same_run:
        text = text.replace(f'run = "{daemon.directory}/run"', f'run = "{daemon.directory}/run-other"')
    path = daemon.directory / "other.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("same_run", [True, False], ids=["same run directory", "another run directory"])
@pytest.mark.parametrize("same_socket", [True, False], ids=["same socket", "another socket"])
def test_a_second_daemon_refuses_and_harms_nobody(stage: Stage, same_socket: bool, same_run: bool) -> None:
    daemon = stage.scene.daemon
    hosts = Hosts.read(stage.scene.lab, private=stage.scene.private)
    files = sorted(daemon.directory.rglob("*"))
    config = _config_of_another(stage, same_socket=same_socket, same_run=same_run)
    with KeepAlive(stage.scene.lab.guests["vm2"]) as connection:
        assert connection.get(META_DATA).status == 200
        done = stage.scene.lab.host.run(daemon.command("serve")[0], "serve", "--config", config, check=False)
        assert connection.get(META_DATA).status == 200
    config.unlink()
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("eve-meta: another eve-meta ")
    assert ("stop it" in line, "give this one another" in line) == (True, True)
    assert hosts.changes() == []
    assert sorted(daemon.directory.rglob("*")) == files
    # Everything of the first is intact: it can restart a worker.
    (worker,) = daemon.status()["workers"]
    os.kill(worker["pid"], signal.SIGKILL)
    stage.all_answered()


def test_foreign_listeners_on_the_services_ports_are_named(stage: Stage) -> None:
    """It listens in a namespace that a crash left. The daemon reports it, and removes nothing that is not its own."""
    stage.kill()
    with contextlib.ExitStack() as undo:
        for port in (8776, 8777):  # both places of the worker
            stranger = undo.enter_context(stage.scene.private.open_socket(socket.AF_INET, socket.SOCK_STREAM))
            stranger.bind(("127.0.0.1", port))
            stranger.listen()
        done = subprocess.run(
            stage.scene.lab.host.command(stage.scene.daemon.command("serve")),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("eve-meta: cannot listen on 127.0.0.1")
    assert f"namespace '{NAME}'" in line
