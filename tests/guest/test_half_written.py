"""Incomplete and monstrous domain files: a guest reads the version before or the version after, never a mix."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TextIO

import pytest
from attrs import field, frozen

from harness.guests import Guest
from tests.guest.asking import in_background
from tests.guest.monsters import YAML, harmless_to
from tests.guest.scene import META_DATA, USER_DATA, Scene, domain, eventually, scene, uuid_of

AT_ONCE = 1.0
"""Seconds within which a file that is complete again takes effect."""

HELD = 0.3
"""Seconds for which a file stays incomplete, while others beside it change and the directory is read repeatedly."""

LINES = 20


def text_of(number: int, version: str, tap: str) -> str:
    """Return a domain file as people write it. Each beginning of whole lines is valid YAML once it has a name."""
    script = "".join(f"  echo {version} {line}\n" for line in range(LINES))
    return (
        f"uuid: {uuid_of(number)}\nname: vm{number}\nnics: [{{tap: {tap}}}]\n"
        f"meta: {{version: {version}}}\nuser_data: |\n  #!/bin/sh\n{script}"
    )


def readable_in(version: str) -> set[str]:
    """Return what a guest may read of *version*: its meta, and its script."""
    return {version, "#!/bin/sh\n" + "".join(f"echo {version} {line}\n" for line in range(LINES))}


@frozen
class AskingGuest:
    """A guest that asks all the time; the values that it read, and statuses like "503"."""

    guest: Guest
    number: int
    received: set[str] = field(factory=set)

    def ask(self) -> None:
        for path in (META_DATA, USER_DATA):
            answer = self.guest.get(path)
            if answer.status != 200:
                self.received.add(str(answer.status))
            elif path == USER_DATA:
                self.received.add(answer.body.decode())
            else:
                plain = json.loads(answer.body)
                assert plain["uuid"] == uuid_of(self.number)
                self.received.add(plain.get("meta", {}).get("version", "no version"))

    def ask_on(self, ended: threading.Event) -> None:
        while not ended.wait(0.02):
            self.ask()


@frozen
class Stage(Scene):
    """A victim, whose domain file is broken, and a neighbour, whose file is not."""

    victim: Guest
    neighbour: Guest

    @property
    def file(self) -> Path:
        return self.daemon.domains / "vm0.yaml"

    def hold(self) -> None:
        """Let time pass in which the directory is read often."""
        end = time.monotonic() + HELD
        while time.monotonic() < end:
            self.daemon.write_domain("vm2", domain(2, None, user_data=str(time.monotonic())))
            time.sleep(0.02)

    def knows(self, version: str) -> None:
        def knows() -> bool:
            asking = AskingGuest(self.victim, 0)
            asking.ask()
            return asking.received == readable_in(version)

        eventually(knows, 5)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with scene("emg-half", {"vm1": domain(1, "vnet1")}, started=False) as running:
        victim = running.lab.guest("vm0", tap="vnet0", bridge="br0")
        neighbour = running.lab.guest("vm1", tap="vnet1", bridge="br0")
        yield Stage(running.lab, running.daemon, victim, neighbour)


@contextlib.contextmanager
def written_in_place(stage: Stage, at: int = 12) -> Iterator[None]:
    """Write the first lines, and the rest later: the beginning is a domain with half a script."""
    lines = text_of(0, "new", "vnet0").splitlines(keepends=True)
    with stage.file.open("w") as file:
        _write(file, "".join(lines[:at]))
        yield
        _write(file, "".join(lines[at:]))


@contextlib.contextmanager
def written_over(stage: Stage) -> Iterator[None]:
    """Overwrite the file without truncating it: new lines first, old lines after them, all of it valid YAML."""
    new = text_of(0, "new", "vnet0")
    with stage.file.open("r+") as file:
        _write(file, "".join(new.splitlines(keepends=True)[:12]))
        yield
        _write(file, new[file.tell() :])


def _write(file: TextIO, text: str) -> None:
    file.write(text)
    file.flush()


@contextlib.contextmanager
def truncated_json(stage: Stage) -> Iterator[None]:
    """Close the file after half of its text, like a program that died."""
    whole = json.dumps(domain(0, "vnet0", user_data="half"))
    stage.file.write_text(whole[: len(whole) // 2])
    yield
    stage.file.write_text(text_of(0, "new", "vnet0"))


@contextlib.contextmanager
def empty(stage: Stage) -> Iterator[None]:
    stage.file.write_text("")
    yield
    stage.file.write_text(text_of(0, "new", "vnet0"))


@contextlib.contextmanager
def a_directory(stage: Stage) -> Iterator[None]:
    stage.file.unlink()
    stage.file.mkdir()
    yield
    stage.file.rmdir()
    stage.file.write_text(text_of(0, "new", "vnet0"))


@contextlib.contextmanager
def half_a_script(stage: Stage) -> Iterator[None]:
    """Write half of the file that the domain file names."""
    (script,) = (each for each in readable_in("new") if each.startswith("#!"))
    beside = stage.daemon.domains / "script"
    with beside.open("w") as file:
        _write(file, script[: len(script) // 2])
        text = text_of(0, "new", "vnet0").partition("user_data")[0] + "user_data_file: script\n"
        whole = stage.file.with_suffix(".new")
        whole.write_text(text)
        whole.rename(stage.file)
        yield
        _write(file, script[len(script) // 2 :])


FAULTS: list[Callable[[Stage], AbstractContextManager[None]]] = [
    written_in_place,
    written_over,
    truncated_json,
    empty,
    a_directory,
    half_a_script,
]


def test_a_daemon_that_starts_while_a_file_is_half_written_waits_for_the_rest(stage: Stage) -> None:
    with written_in_place(stage):
        stage.daemon.start()
        stage.wait_until_known(vnet1=1)
        assert stage.domain_is("vnet0", None)
    stage.wait_until_known(vnet0=0)
    stage.knows("new")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_an_incomplete_file_changes_nothing_until_it_is_complete(
    stage: Stage, fault: Callable[[Stage], AbstractContextManager[None]]
) -> None:
    stage.file.write_text(text_of(0, "old", "vnet0"))
    stage.knows("old")
    victim, neighbour = AskingGuest(stage.victim, 0), AskingGuest(stage.neighbour, 1)
    with in_background(victim.ask_on, neighbour.ask_on):
        with fault(stage):
            stage.hold()
            (problem,) = stage.daemon.problems()
            # The file may be found missing before the directory of its name is there: then the guest reads nothing.
            assert victim.received - {"503", "404"} == readable_in("old")
            assert victim.received == readable_in("old") or fault is a_directory
        began = time.monotonic()
        eventually(lambda: readable_in("new") <= victim.received, AT_ONCE)
        print(f"\n{problem}\nthe new version was served after {(time.monotonic() - began) * 1000:.0f} ms")
    assert str(stage.daemon.domains) in problem
    assert victim.received - {"503", "404"} == readable_in("old") | readable_in("new")
    assert neighbour.received == {"no version", domain(1, None)["user_data"]}
    assert stage.daemon.problems() == []


def test_a_new_file_has_no_effect_until_it_is_complete(stage: Stage) -> None:
    stage.file.unlink()
    eventually(lambda: stage.domain_is("vnet0", None), AT_ONCE)
    asking = AskingGuest(stage.victim, 0)
    with in_background(asking.ask_on):
        with written_in_place(stage):
            stage.hold()
            assert asking.received in ({"503"}, {"404"})
        eventually(lambda: readable_in("new") <= asking.received, AT_ONCE)
    assert asking.received - {"503", "404"} == readable_in("new")


def make_monsters(folder: Path) -> list[Path]:
    """Fill *folder* with domain files that are none, each in another way; return their paths."""
    before = set(folder.iterdir())
    for name, text in YAML.items():
        (folder / f"{name}.yaml").write_text(f"name: a\n{text}\n")
    (folder / "bytes.yaml").write_bytes(bytes(range(256)) * 4096)
    with (folder / "gigabytes.yaml").open("wb") as file:
        file.truncate(8 << 30)
    for path in set(folder.iterdir()) - before:
        path.chmod(0o600)
    os.mkfifo(folder / "fifo.yaml")
    os.mknod(folder / "device.yaml", stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket.yaml"))
    for name, target in {"zeros": "/dev/zero", "loop": "loop.yaml", "nowhere": "/nowhere"}.items():
        (folder / f"{name}.yaml").symlink_to(target)
    return sorted(set(folder.iterdir()) - before)


def test_monsters_among_the_files_are_a_problem_each_and_harm_nobody(stage: Stage) -> None:
    stage.file.write_text(text_of(0, "old", "vnet0"))
    stage.knows("old")
    assert stage.daemon.process is not None
    with harmless_to(stage.neighbour, stage.daemon.process.pid):
        monsters = make_monsters(stage.daemon.domains)
        stage.file.write_text(f"name: vm0\n{YAML['aliases of aliases']}")
        faulty = sorted(map(str, [*monsters, stage.file]))
        problems = eventually(lambda: problems_of(stage, len(faulty)), 10)
        asking = AskingGuest(stage.victim, 0)
        asking.ask()
        assert asking.received == readable_in("old")
        stage.file.write_text(text_of(0, "new", "vnet0"))
        stage.knows("new")
    print("\n".join(problems))
    assert sorted(path for path in faulty for problem in problems if problem.startswith(f"{path}:")) == faulty
    assert max(map(len, problems)) < 400
    for monster in monsters:
        monster.unlink()
    eventually(lambda: stage.daemon.problems() == [], 5)


def problems_of(stage: Stage, count: int) -> list[str]:
    """Return the problems that ``status`` shows when there are *count* of them, else nothing."""
    problems = stage.daemon.problems()
    return problems if len(problems) == count else []
