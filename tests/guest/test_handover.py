"""A daemon succeeds another, as in an upgrade: no guest is refused, cut or answered wrongly, and nothing is left over.

Between the two daemons, a service manager of the tests' own keeps the sockets; in tests/package systemd does.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import define, evolve

from eve_meta.steering.bpf.maps import Maps
from harness.guests import BPFFS, Guest
from harness.namespace import RUN_NETNS, ip_batch
from harness.service_manager import ServiceManager
from tests import version_0_1
from tests.guest.asking import PATIENCE, AskingGuests
from tests.guest.scene import (
    META_DATA,
    SERVICE,
    USER_DATA,
    Hosts,
    Identity,
    KeepAlive,
    Scene,
    domain,
    eventually,
    is_alive,
    scene,
    uuid_of,
)

NAME = "emg-over"
COUNT = 4
WORKERS = 2
SOCKETS = 2 * WORKERS
"""Each worker has one for IPv4 and one for IPv6."""

PASSWORD = "/openstack/latest/password"

LARGE = "0123456789abcdef" * 65536
"""User data of 1 MiB, of which the kernel's buffers take a part."""

SLACK = 3.0
"""Seconds that a guest may wait in addition to the time from the signal to hand over until the next daemon has started:
a worker takes a part of a second to start."""


@define
class Stage:
    """A daemon with guests and a service manager."""

    scene: Scene
    manager: ServiceManager
    before: Hosts

    def start(self) -> None:
        self.scene.daemon.start(**self.manager.start())

    def wait_until_known(self) -> None:
        self.scene.wait_until_known(**{f"vnet{number}": number for number in range(COUNT)})

    def kill(self) -> list[int]:
        """Kill the supervisor, as the kernel does when memory is short, and return its workers, which are orphaned."""
        process = self.scene.daemon.process
        assert process is not None
        workers = [worker["pid"] for worker in self.scene.daemon.status()["workers"]]
        process.send_signal(signal.SIGKILL)
        process.wait()
        for worker in workers:  # as systemd does with whatever is left in the control group
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGTERM)
        return workers

    def tags(self) -> dict[str, int]:
        return {tap["tap"]: tap["tag"] for tap in self.scene.daemon.status()["taps"]}

    def sockets(self) -> set[str]:
        """Return the kernel's names of the sockets that listen for guests."""
        shown = self.scene.private.run("ss", "-Htlne").stdout
        return {word for line in shown.splitlines() for word in line.split() if word.startswith("ino:")}

    def kept(self) -> set[str]:
        """Return the names of the sockets that the service manager keeps."""
        found = set()
        for _, descriptor in list(self.manager.kept):
            with contextlib.suppress(OSError):  # the service manager has replaced the descriptor
                found.add(f"ino:{os.fstat(descriptor).st_ino}")
        return found

    def end(self) -> None:
        """End the daemon for good."""
        self.scene.daemon.stop()
        self.manager.forget()
        assert self.before.changes() == []


@pytest.fixture(scope="module")
def module_stage() -> Iterator[Stage]:
    domains = {f"vm{number}": domain(number, f"vnet{number}") for number in range(COUNT)}
    domains["vm0"]["user_data"] = LARGE
    with scene(NAME, domains, started=False, settings=f"[web]\nworkers = {WORKERS}\n") as running:
        for number in range(COUNT):
            running.lab.guest(f"vm{number}", tap=f"vnet{number}", bridge="br0")
        with ServiceManager(running.daemon.directory / "notify") as manager:
            stage = Stage(running, manager, Hosts.read(running.lab))
            yield stage
            if running.daemon.process is None or running.daemon.process.poll() is not None:
                stage.start()
            stage.end()


@pytest.fixture
def stage(module_stage: Stage) -> Stage:
    """The daemon runs, whatever the test before did to it. After the last test the host is as it was."""
    module_stage.manager.messages.clear()
    module_stage.scene.daemon.log.write_text("")
    process = module_stage.scene.daemon.process
    if process is None or process.poll() is not None:
        module_stage.start()
    module_stage.wait_until_known()
    return module_stage


def _age_programs() -> None:
    """Make the pins look like those of other sources, so that the next daemon compiles."""
    with contextlib.closing(Maps(BPFFS / NAME)) as maps:
        maps.write_settings(evolve(maps.settings(), build=1))


@pytest.mark.parametrize("upgrade", [False, True], ids=["same programs", "other programs"])
def test_no_guest_is_refused_while_the_next_daemon_takes_over(stage: Stage, upgrade: bool) -> None:
    tags, sockets = stage.tags(), stage.sockets()
    assert len(sockets) == SOCKETS
    asking = AskingGuests(stage.scene.lab)
    with asking.running(*range(COUNT - 1), keeping=COUNT - 1):
        eventually(lambda: asking.answered > 20 * COUNT, 10)
        began = time.monotonic()
        os.kill(stage.scene.daemon.status()["workers"][0]["pid"], signal.SIGUSR1)  # systemd signals all processes
        stage.scene.daemon.hand_over()
        ended = time.monotonic()
        assert "eve-meta:tap_in" in stage.scene.filters("vnet0")
        if upgrade:
            _age_programs()
        answered = asking.answered
        stage.start()
        started = time.monotonic()
        eventually(lambda: asking.answered > answered + 20 * COUNT, PATIENCE)
    print(
        f"\nthe old one ended after {ended - began:.2f} s, the next one started within {started - ended:.2f} s; "
        f"the longest wait of {asking.answered} was {asking.longest:.2f} s"
    )
    assert asking.wrong == []
    assert asking.longest < started - began + SLACK
    assert stage.tags() == tags
    assert stage.sockets() == sockets
    assert stage.manager.messages.count("STOPPING=1\nSTATUS=handing over to the next daemon") == 1
    log = stage.scene.daemon.log.read_text()
    assert "handing over to the next daemon; until it has started, new connections wait" in log


def test_no_guest_is_refused_when_the_daemon_is_killed_except_those_being_served(stage: Stage) -> None:
    guest = stage.scene.lab.guests["vm1"]
    workers = stage.kill()
    for worker in workers:
        eventually(lambda worker=worker: not is_alive(worker), 5)  # type: ignore[misc]
    with KeepAlive(guest, timeout=PATIENCE) as early:
        early.ask(META_DATA)
        stage.start()
        assert json.loads(early.answer().body)["uuid"] == uuid_of(1)


def _readers(guest: Guest) -> tuple[KeepAlive, KeepAlive]:
    """Return two connections on which an answer has begun; on the second, another request waits behind it."""
    readers = []
    for _ in range(2):
        readers.append(KeepAlive(guest, timeout=PATIENCE))
        readers[-1].ask(USER_DATA)
    readers[1].ask(META_DATA)
    for reader in readers:
        assert reader.socket.recv(12, socket.MSG_PEEK | socket.MSG_WAITALL) == b"HTTP/1.1 200"
    return readers[0], readers[1]


def test_an_answer_that_has_begun_is_finished_by_a_worker_whose_supervisor_was_killed(stage: Stage) -> None:
    guest = stage.scene.lab.guests["vm0"]
    with contextlib.ExitStack() as undo:
        readers = [undo.enter_context(reader) for reader in _readers(guest)]
        idle = undo.enter_context(KeepAlive(guest))
        assert idle.get(META_DATA).status == 200
        workers = stage.kill()
        time.sleep(0.1)
        for reader in readers:
            assert reader.answer().body == LARGE.encode()
            assert reader.rest() == b""
        with contextlib.suppress(ConnectionError):
            idle.ask(META_DATA)
        assert idle.rest() == b""  # the worker cannot know any more which domain the tap has
    for worker in workers:
        eventually(lambda worker=worker: not is_alive(worker), 1)  # type: ignore[misc]


def test_a_guest_that_does_not_read_does_not_keep_a_worker_whose_supervisor_was_killed(stage: Stage) -> None:
    with contextlib.ExitStack() as undo:
        readers = [undo.enter_context(reader) for reader in _readers(stage.scene.lab.guests["vm0"])]
        workers = stage.kill()
        began = time.monotonic()
        for worker in workers:
            eventually(lambda worker=worker: not is_alive(worker), 5)  # type: ignore[misc]
        assert 1.0 < time.monotonic() - began < 4.0
        assert len(readers[0].rest()) < len(LARGE)


def test_requests_are_answered_before_the_handover(stage: Stage) -> None:
    """A guest that reads too slowly is cut, so that the others need not wait for it."""
    guest = stage.scene.lab.guests["vm0"]
    process = stage.scene.daemon.process
    assert process is not None
    with contextlib.ExitStack() as undo:
        reader, stopped = (undo.enter_context(reader) for reader in _readers(guest))
        idle = undo.enter_context(KeepAlive(guest))
        assert idle.get(META_DATA).status == 200
        silent, half = (undo.enter_context(KeepAlive(guest, timeout=PATIENCE)) for _ in range(2))
        half.socket.sendall(f"GET {META_DATA} HTTP/1.1\r\n".encode())
        time.sleep(0.1)
        process.send_signal(signal.SIGUSR1)
        time.sleep(0.1)
        silent.ask(META_DATA)  # no worker knew of this connection
        answer = idle.get(META_DATA)
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        half.socket.sendall(b"Host: 169.254.169.254\r\n\r\n")
        assert half.answer().status == 200
        for answered in (idle, half):
            assert answered.rest() == b""
        assert reader.answer().body == LARGE.encode()
        process.wait(5)
        assert len(stopped.rest()) < len(LARGE)
        stage.start()
        assert silent.answer().status == 200


def test_a_tap_that_goes_during_the_handover_takes_its_answers_along(stage: Stage) -> None:
    guest = stage.scene.lab.guests["vm0"]
    process = stage.scene.daemon.process
    assert process is not None
    file = stage.scene.daemon.domains / "vm0.yaml"
    text = file.read_text()
    try:
        with contextlib.ExitStack() as undo:
            readers = [undo.enter_context(reader) for reader in _readers(guest)]
            process.send_signal(signal.SIGUSR1)
            signalled = time.monotonic()
            time.sleep(0.2)
            assert process.poll() is None
            stage.scene.daemon.write_domain("vm0", domain(9, "vnet0"))
            process.wait(5)
            assert time.monotonic() - signalled < 1.5  # the connections were cut, so there was nothing left to wait for
            for reader in readers:
                assert len(reader.rest()) < len(LARGE)
    finally:
        file.write_text(text)


def test_a_daemon_that_is_terminated_during_the_handover_ends(stage: Stage) -> None:
    process = stage.scene.daemon.process
    assert process is not None
    with contextlib.ExitStack() as undo:
        for reader in _readers(stage.scene.lab.guests["vm0"]):
            undo.enter_context(reader)
        process.send_signal(signal.SIGUSR1)
        time.sleep(0.2)
        process.send_signal(signal.SIGUSR1)
        process.terminate()
        assert process.wait(5) == 0
    assert stage.manager.kept == []
    assert stage.before.changes() == []


def _loader_of(pid: int) -> int | None:
    """Return the process that compiles the programs for the daemon *pid*."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(OSError):
            if b"eve_meta.steering.bpf.loader" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return None


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_to_the_starting_daemon_and_its_children(stage: Stage, number: signal.Signals) -> None:
    """systemd signals all processes of the service. Handing over waits until the start is done; ending does not."""
    daemon, start, tags = stage.scene.daemon, stage.manager.start, stage.tags()
    daemon.hand_over()
    _age_programs()
    with daemon.log.open("ab") as log:
        process = stage.scene.lab.host.popen(
            *start()["prefix"],
            *daemon.command("serve"),
            pass_fds=start()["pass_fds"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        loader = eventually(lambda: _loader_of(process.pid), 10)
        assert loader is not None
        for pid in (process.pid, loader):
            os.kill(pid, number)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    # What the daemon before has left is complete, and the next one can take it over.
    assert "eve-meta:tap_in" in stage.scene.filters("vnet0")
    assert len(stage.manager.kept) == (SOCKETS if number is signal.SIGUSR1 else 0)
    stage.start()
    assert stage.tags() == tags


def test_without_a_service_manager_the_daemon_leaves_all_but_its_sockets(stage: Stage) -> None:
    tags = stage.tags()
    stage.scene.daemon.hand_over()
    stage.manager.forget()
    stage.scene.daemon.start()
    stage.wait_until_known()
    stage.scene.daemon.hand_over()
    assert "new connections are refused: no service manager keeps their sockets" in stage.scene.daemon.log_tail(4)
    with pytest.raises(ConnectionRefusedError):
        stage.scene.lab.guests["vm1"].get(META_DATA)
    stage.scene.daemon.start()
    stage.wait_until_known()
    assert stage.tags() == tags
    assert Identity.asked_by(stage.scene.lab.guests["vm1"]) == Identity.of(1)


def test_a_tap_with_another_owner_when_the_next_daemon_starts_gets_another_tag(stage: Stage) -> None:
    """The tap outlives its owner.

    A request that the old owner sent, and that no worker has read, must not count as the new owner's: otherwise the old
    one could set the new one's password.
    """
    lab, daemon = stage.scene.lab, stage.scene.daemon
    with contextlib.ExitStack() as undo:
        lab.host.ip("tuntap add vnet9 mode tap vnet_hdr")
        undo.callback(lab.host.ip, "link delete vnet9")
        guest = lab.guest("swaps", tap="vnet9", bridge="br0")
        undo.callback(lab.remove, guest)
        daemon.write_domain("vm9", domain(9, "vnet9"))
        undo.callback((daemon.domains / "vm9.yaml").unlink)
        stage.scene.wait_until_known(vnet9=9)
        tags = stage.tags()
        daemon.hand_over()
        stage.start()
        assert stage.tags() == tags  # as long as its owner stays
        daemon.hand_over()
        late = undo.enter_context(KeepAlive(guest, timeout=PATIENCE))
        late.socket.sendall(f"POST {PASSWORD} HTTP/1.1\r\nHost: {SERVICE}\r\nContent-Length: 6\r\n\r\nstolen".encode())
        time.sleep(0.1)
        guest.unplug()
        daemon.write_domain("vm9", domain(8, "vnet9"))
        guest.plug("vnet9")
        stage.start()
        stage.scene.wait_until_known(vnet9=8)
        assert guest.get(PASSWORD).body == b""
        late.socket.sendall(b"more")  # nothing can reach the old owner any more to tell it
        assert late.rest() == b""
        vnet9 = stage.tags()["vnet9"]
        assert vnet9 not in tags.values()
        assert stage.tags() == tags | {"vnet9": vnet9}


# -- kept sockets that are unsound --


def _remove_namespace() -> None:
    ip_batch([f"netns delete {NAME}"])


def _shut(stage: Stage) -> None:
    for name, descriptor in stage.manager.kept:
        assert name.startswith("guests-")
        with socket.socket(fileno=descriptor) as kept:
            kept.shutdown(socket.SHUT_RDWR)
            kept.detach()


def _foreign(stage: Stage) -> None:
    """Keep descriptors under the daemon's name that listen elsewhere, do not listen, are not TCP, or are no sockets."""
    stage.manager.forget()
    elsewhere = socket.create_server(("127.0.0.1", 0))
    one, other = socket.socketpair()
    other.close()
    file = (RUN_NETNS / NAME).open("rb")
    datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for place, each in enumerate((elsewhere, socket.socket(), one, datagram)):
        stage.manager.kept.append((f"guests-{place}", each.detach()))
    stage.manager.kept.append(("guests-4", os.dup(file.fileno())))
    file.close()


UNSOUND: dict[str, Callable[[Stage], None]] = {
    "of a namespace that was deleted": lambda _: _remove_namespace(),
    "shut": _shut,
    "foreign": _foreign,
}


@pytest.mark.parametrize("what", UNSOUND)
def test_unsound_sockets_are_made_anew_and_the_old_ones_dropped(stage: Stage, what: str) -> None:
    stage.kill()
    UNSOUND[what](stage)
    stage.start()
    stage.wait_until_known()
    for number in range(COUNT):
        answer = stage.scene.lab.guests[f"vm{number}"].get(META_DATA)
        assert json.loads(answer.body)["uuid"] == uuid_of(number)
    eventually(lambda: stage.kept() == stage.sockets(), 5)


def _downgrade(stage: Stage) -> None:
    """Make the path, the pins and the sockets those that a daemon of version 0.1 hands over."""
    stage.manager.forget()
    private = stage.scene.private
    private.run("iptables-restore", input=version_0_1.RULES)
    with contextlib.ExitStack() as undo:
        for place, each in enumerate(version_0_1.sockets(private, WORKERS)):
            undo.enter_context(each)
            stage.manager.kept.append((f"guests-{place}", os.dup(each.fileno())))
    _age_programs()
    (BPFFS / NAME / "workers").unlink()


def test_no_guest_is_refused_when_version_0_1_hands_over(stage: Stage) -> None:
    tags = stage.tags()
    stage.scene.daemon.hand_over()
    _downgrade(stage)
    with contextlib.ExitStack() as undo:
        # Of both workers, in the queues of sockets that no rule leads to any more.
        waiting = {
            number: undo.enter_context(KeepAlive(stage.scene.lab.guests[f"vm{number}"], timeout=PATIENCE))
            for number in range(COUNT)
        }
        for connection in waiting.values():
            connection.ask(META_DATA)
        asking = AskingGuests(stage.scene.lab)
        with asking.running(*range(COUNT - 1), keeping=COUNT - 1):
            stage.start()
            for number, connection in waiting.items():
                assert json.loads(connection.answer().body)["uuid"] == uuid_of(number)
            eventually(lambda: asking.answered > 20 * COUNT, PATIENCE)
    assert asking.wrong == []
    assert stage.tags() == tags
    assert len(stage.kept()) == SOCKETS
    assert stage.kept() < stage.sockets()  # the old ones listen for as long as this daemon runs
    stage.scene.daemon.hand_over()
    stage.start()
    assert stage.kept() == stage.sockets()


@pytest.mark.parametrize("workers", [1, 3])
def test_another_number_of_workers_takes_over(stage: Stage, workers: int) -> None:
    daemon = stage.scene.daemon
    config, tags = daemon.config.read_text(), stage.tags()
    stage.kill()
    daemon.config.write_text(config.replace(f"workers = {WORKERS}", f"workers = {workers}"))
    try:
        stage.start()
        asking = AskingGuests(stage.scene.lab)
        with asking.running(*range(COUNT - 1), keeping=COUNT - 1):
            eventually(lambda: asking.answered > 20 * COUNT, PATIENCE)
        assert asking.wrong == []
        assert len(daemon.status()["workers"]) == workers
        assert stage.tags() == tags
        assert len(stage.sockets()) == 2 * workers
        eventually(lambda: stage.kept() == stage.sockets(), 5)
        daemon.hand_over()
    finally:
        daemon.config.write_text(config)
    stage.start()
    stage.wait_until_known()
    assert len(stage.sockets()) == SOCKETS


def test_sockets_that_are_made_anew_while_the_daemon_runs_are_the_ones_kept(stage: Stage) -> None:
    """A compromised worker shut them down."""
    before = stage.sockets()
    _shut(stage)
    (worker, _) = stage.scene.daemon.status()["workers"]
    with contextlib.suppress(ProcessLookupError):  # it may have noticed, and ended by itself
        os.kill(worker["pid"], signal.SIGKILL)
    eventually(lambda: stage.sockets() and stage.sockets() != before, 5)
    eventually(lambda: stage.kept() == stage.sockets(), 5)
    stage.scene.daemon.hand_over()
    stage.start()
    stage.wait_until_known()
    assert Identity.asked_by(stage.scene.lab.guests["vm2"]) == Identity.of(2)
