"""A directory under a running daemon: real inotify, real files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import inotify

from eve_meta.inventory.files.reading import DEBOUNCE
from eve_meta.inventory.files.watch import FileSource
from eve_meta.values.content import content_of
from tests.contracts.fake_reader import make_directory
from tests.unit.inventory.conftest import LongestTurn, Until
from tests.unit.inventory.writing import edit, write

Turn = Callable[[float], None]


class Watched:
    """A source, and how often it called *changed*."""

    def __init__(self, path: Path, reactor: Any) -> None:
        self.source = FileSource(make_directory(path), reactor)
        self.changes = 0

    def start(self) -> None:
        self.source.start(self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def names(self) -> dict[str, str]:
        return {os.path.basename(path): domain.display_name for path, domain in self.source.layers()[0].domains.items()}

    def problems(self) -> list[str]:
        return [str(problem) for problem in self.source.problems()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "etc/domains.d"
    path.mkdir(0o700, parents=True)
    return path


@pytest.fixture
def watched(path: Path, reactor: Any, until: Until, turn: Turn) -> Iterator[Watched]:
    watched = Watched(path, reactor)
    yield watched
    watched.source.stop()
    turn(0.05)


def test_changed_is_called_once_when_all_is_read(watched: Watched, path: Path, until: Until, turn: Turn) -> None:
    for name in "abc":
        write(path / f"{name}.yaml", f"name: {name}\n")
    watched.start()
    until(lambda: watched.changes > 0)
    assert watched.names() == {"a.yaml": "a", "b.yaml": "b", "c.yaml": "c"}
    turn(0.2)
    assert watched.changes == 1


def test_changed_is_called_even_for_an_empty_directory(watched: Watched, until: Until) -> None:
    watched.start()
    until(lambda: watched.changes == 1)


@pytest.mark.parametrize("put", [write, edit])
def test_a_file_comes_changes_and_goes(
    watched: Watched, path: Path, until: Until, put: Callable[[Path, str], None]
) -> None:
    watched.start()
    put(path / "a.yaml", "name: a\n")
    until(lambda: watched.names() == {"a.yaml": "a"})
    put(path / "a.yaml", "name: b\n")
    until(lambda: watched.names() == {"a.yaml": "b"})
    put(path / "a.yaml", "name: [\n")
    until(lambda: len(watched.problems()) == 1)
    assert watched.names() == {"a.yaml": "b"}
    put(path / "a.yaml", "name: c\n")
    until(lambda: watched.names() == {"a.yaml": "c"})
    assert watched.problems() == []
    (path / "a.yaml").unlink()
    until(lambda: watched.names() == {})


def test_a_file_that_is_renamed_stays_one_domain(watched: Watched, path: Path, until: Until) -> None:
    write(path / "a.yaml", "name: a\n")
    watched.start()
    until(lambda: watched.names() == {"a.yaml": "a"})
    (path / "a.yaml").rename(path / "b.yaml")
    until(lambda: watched.names() == {"b.yaml": "a"})
    assert watched.problems() == []


def test_a_burst_is_one_change(watched: Watched, path: Path, until: Until, turn: Turn) -> None:
    watched.start()
    until(lambda: watched.changes == 1)
    for number in range(200):
        write(path / f"{number}.yaml", f"name: n{number}\n")
    until(lambda: len(watched.names()) == 200)
    assert watched.changes == 2


def test_other_files_are_no_change(watched: Watched, path: Path, until: Until, turn: Turn) -> None:
    watched.start()
    until(lambda: watched.changes == 1)
    write(path / "README", "hello")
    turn(0.2)
    assert watched.changes == 1


def test_user_data_beside_below_and_elsewhere(watched: Watched, path: Path, tmp_path: Path, until: Until) -> None:
    texts = {"beside": "beside", "below": "ud/below", "elsewhere": "../../elsewhere/text"}
    (path / "ud").mkdir()
    (tmp_path / "elsewhere").mkdir()
    for name, file in texts.items():
        (path / file).write_text("1")
        (path / file).chmod(0o600)
        write(path / f"{name}.yaml", f"name: {name}\nuser_data_file: {file}\n")
    watched.start()

    def data() -> set[bytes]:
        return {bytes(domain.user_data or b"") for domain in watched.source.layers()[0].domains.values()}

    until(lambda: data() == {b"1"})
    for number, file in enumerate(texts.values()):
        edit(path / file, f"edited {number}")
        until(lambda number=number: f"edited {number}".encode() in data())  # type: ignore[misc]


def test_user_data_whose_directory_comes_later(watched: Watched, path: Path, until: Until) -> None:
    write(path / "a.yaml", "name: a\nuser_data_file: ud/deep/text\n")
    watched.start()
    until(lambda: len(watched.problems()) == 1)
    (path / "ud/deep").mkdir(parents=True)
    write(path / "ud/deep/text", "hello")
    until(
        lambda: [domain.user_data for domain in watched.source.layers()[0].domains.values()] == [content_of(b"hello")]
    )


def test_a_linked_file_that_changes_at_its_own_place(
    watched: Watched, path: Path, tmp_path: Path, until: Until
) -> None:
    (tmp_path / "available").mkdir()
    write(tmp_path / "available/a.yaml", "name: a\n")
    (path / "a.yaml").symlink_to(tmp_path / "available/a.yaml")
    watched.start()
    until(lambda: watched.names() == {"a.yaml": "a"})
    edit(tmp_path / "available/a.yaml", "name: b\n")
    until(lambda: watched.names() == {"a.yaml": "b"})


def test_the_directory_comes_goes_and_comes_back(watched: Watched, path: Path, tmp_path: Path, until: Until) -> None:
    shutil.rmtree(tmp_path / "etc")
    watched.start()
    until(lambda: watched.changes == 1)
    missing = [f"{path}: warning: no such directory; domain files are read as soon as there is one"]
    assert watched.problems() == missing
    for number in range(3):
        path.mkdir(parents=True)
        path.chmod(0o700)
        write(path / "a.yaml", f"name: a{number}\n")
        until(lambda number=number: watched.names() == {"a.yaml": f"a{number}"})  # type: ignore[misc]
        assert watched.problems() == []
        shutil.rmtree(tmp_path / "etc")
        until(lambda: watched.names() == {})
        assert watched.problems() == missing


@pytest.mark.parametrize("which", ["etc", "etc/domains.d"])
def test_a_directory_is_replaced(watched: Watched, path: Path, tmp_path: Path, until: Until, which: str) -> None:
    write(path / "a.yaml", "name: old\n")
    watched.start()
    until(lambda: watched.names() == {"a.yaml": "old"})
    shutil.copytree(tmp_path / which, tmp_path / "next")
    new = tmp_path / "next" / path.relative_to(tmp_path / which)
    write(new / "a.yaml", "name: new\n")
    (tmp_path / which).rename(tmp_path / "before")
    (tmp_path / "next").rename(tmp_path / which)
    until(lambda: watched.names() == {"a.yaml": "new"})
    write(path / "a.yaml", "name: newer\n")
    until(lambda: watched.names() == {"a.yaml": "newer"})


def test_the_kernels_queue_overflows(watched: Watched, path: Path, until: Until) -> None:
    watched.start()
    until(lambda: watched.changes == 1)
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    scratch = path / "scratch"
    scratch.touch()
    # Nobody reads the events meanwhile, and the first one lost is that of the file that matters. Two kinds alternate,
    # because the kernel drops an event that equals the one before.
    for _ in range(limit // 2 + 10):
        os.utime(scratch)
        with scratch.open("a"):
            pass
    write(path / "a.yaml", "name: a\n")
    until(lambda: watched.names() == {"a.yaml": "a"})


def test_without_inotify_files_are_read_and_that_is_reported(
    watched: Watched, path: Path, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise inotify.INotifyError("Failed to add watch")

    monkeypatch.setattr(inotify.INotify, "watch", fail)
    write(path / "a.yaml", "name: a\n")
    watched.start()
    until(lambda: watched.names() == {"a.yaml": "a"})
    message = "cannot watch this directory, so changes are not seen: raise the sysctls fs.inotify.max_user_*"
    assert watched.problems() == [f"{path}: warning: {message}"]


def test_a_defect_in_one_scan_does_not_end_watching(
    watched: Watched, path: Path, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.start()
    until(lambda: watched.changes == 1)
    failed = []

    def fail(*_: object) -> None:
        failed.append(True)
        raise RuntimeError("a defect")

    with monkeypatch.context() as patch:
        patch.setattr("eve_meta.inventory.files.directory.FileReading", fail)
        write(path / "a.yaml", "name: a\n")
        until(lambda: bool(failed))
    write(path / "a.yaml", "name: a\n")
    until(lambda: watched.names() == {"a.yaml": "a"})


def test_after_stop_changed_is_not_called(watched: Watched, path: Path, until: Until, turn: Turn) -> None:
    watched.start()
    write(path / "a.yaml", "name: a\n")
    until(lambda: watched.changes > 0)
    changes = watched.changes
    write(path / "b.yaml", "name: b\n")
    watched.source.stop()
    turn(DEBOUNCE * 4)
    assert watched.changes == changes


def test_four_thousand_files_do_not_block_the_reactor(
    watched: Watched, path: Path, longest_turn: LongestTurn, until: Until
) -> None:
    for number in range(4000):
        (path / f"{number}.yaml").write_text(f"name: n{number}\nnics: [{{tap: t{number}}}]\n")
    watched.start()
    longest = longest_turn(lambda: bool(watched.changes))
    assert len(watched.names()) == 4000
    assert longest < 0.5
