"""A result that is updated change by change equals one that is computed afresh, and costs only what changed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from eve_meta.inventory.files.directory import Directory
from eve_meta.inventory.files.domain_file import DomainFile
from eve_meta.inventory.files.watch import FEW, FileSource
from eve_meta.inventory.merge import Merging
from eve_meta.inventory.source import Layer
from eve_meta.inventory.tap_domains import TapDomains
from eve_meta.inventory.vmm.process import Owner
from eve_meta.inventory.written_taps import WrittenTaps
from eve_meta.values.domain import Domain
from eve_meta.values.nic import Nic
from tests.contracts.fake_reader import make_directory
from tests.unit.inventory.conftest import Until
from tests.unit.inventory.writing import write


class Scene:
    """Five hundred domains, whose files name a tap each.

    :ivar decided: the taps that were decided.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.domains = {f"{n}": Domain(uuid=UUID(int=n + 1), nics=(Nic(tap=f"t{n}"),)) for n in range(500)}
        self.merging = Merging()
        self.written = WrittenTaps()
        self.processes: dict[str, Owner] = {}
        self.tap_domains = TapDomains(self.written, self.processes)
        self.decided: list[str] = []
        self.update()
        decide = TapDomains._decision

        def counting(tap_domains: TapDomains, tap: str) -> object:
            self.decided.append(tap)
            return decide(tap_domains, tap)

        monkeypatch.setattr(TapDomains, "_decision", counting)

    def update(self) -> set[str]:
        """Take the domains over; return the taps whose domain may have changed by that."""
        layers = [Layer(domains=dict(self.domains), written=True)]
        changes = self.merging.update(layers)
        written = self.written.update(layers, changes.differences)
        concerned = self.tap_domains.change(changes.gone, changes.present, *written)
        return concerned | self.tap_domains.replace(self.merging.go_on())

    def domain_of(self, tap: str) -> Domain | None:
        found = self.tap_domains.get(tap)
        return None if found is None else found[1]


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def test_a_domain_with_other_contents_is_merged_and_decided_alone(scene: Scene) -> None:
    before = list(scene.merging.merged)
    changed = scene.domains["7"] = evolve(scene.domains["7"], hostname="changed")
    assert scene.update() == {"t7"}
    assert scene.decided == ["t7"]
    after = scene.merging.merged
    assert [index for index, (old, new) in enumerate(zip(before, after, strict=True)) if old is not new] == [7]
    assert scene.domain_of("t7") is changed


def test_a_new_domain_is_decided_alone_and_so_is_one_that_is_gone(scene: Scene) -> None:
    new = scene.domains["new"] = Domain(uuid=UUID(int=1000), nics=(Nic(tap="new"),))
    assert scene.update() == {"new"}
    assert scene.domain_of("new") is new
    del scene.domains["new"]
    assert scene.update() == {"new"}
    assert scene.domain_of("new") is None
    assert set(scene.decided) == {"new"}


def test_a_domain_with_another_identity_or_tap_is_decided_alone(scene: Scene) -> None:
    scene.domains["7"] = evolve(scene.domains["7"], uuid=UUID(int=1000))
    assert scene.update() == {"t7"}
    moved = scene.domains["7"] = evolve(scene.domains["7"], nics=(Nic(tap="other"),))
    assert scene.update() == {"t7", "other"}
    assert (scene.domain_of("t7"), scene.domain_of("other")) == (None, moved)
    assert set(scene.decided) == {"t7", "other"}


def test_a_domain_whose_file_begins_to_name_taps_loses_all_others_at_once(scene: Scene) -> None:
    """Its contents may have to wait for their turn."""
    scene.domains["new"] = Domain(uuid=UUID(int=1000))
    scene.processes["elsewhere"] = Owner(pid=1, start=1, uuid=UUID(int=1000), name=None)
    scene.update()
    assert scene.domain_of("elsewhere") is not None
    scene.domains["new"] = evolve(scene.domains["new"], nics=(Nic(tap="here"),))
    layers = [Layer(domains=dict(scene.domains), written=True)]
    changes = scene.merging.update(layers)
    concerned = scene.tap_domains.change(
        changes.gone, changes.present, *scene.written.update(layers, changes.differences)
    )
    assert concerned == {"here", "elsewhere"}
    assert scene.domain_of("elsewhere") is None


# -- files --

edits = st.lists(
    st.tuples(
        st.sampled_from(["a.yaml", "b.yaml", "c.yaml"]),
        st.sampled_from(
            [
                None,
                "name: web\n",
                "name: db\n",
                "name: web\nhostname: other\n",
                "name: mail\nnics: [{tap: t0}]\n",
                "name: db\nnics: [{tap: t0}]\n",
                "name: [\n",
                "name: file\nuser_data_file: data.txt\n",
            ]
        ),
    ),
    min_size=1,
    max_size=3,
)


def scan(directory: Directory, suspects: Collection[str] | None = None) -> None:
    for _ in directory.scan(suspects):
        pass


@settings(max_examples=60, deadline=None)
@given(st.lists(edits, min_size=1, max_size=6))
def test_a_scan_of_the_files_that_changed_gives_what_a_scan_of_all_gives(rounds: list[list[tuple[str, str]]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place)
        path.chmod(0o700)
        write(path / "data.txt", "0")
        few, all_of_them = make_directory(path), make_directory(path)
        scan(few)
        scan(all_of_them)
        for number, edited in enumerate(rounds):
            # A file that a domain file names may change on its own.
            write(path / "data.txt", str(number))
            for name, text in edited:
                if text is None:
                    (path / name).unlink(missing_ok=True)
                else:
                    write(path / name, text)
            scan(few, {str(path / name) for name, _ in edited} | {str(path / "data.txt")})
            scan(all_of_them)
            assert list(few.domains.items()) == list(all_of_them.domains.items())
            assert few.problems == all_of_them.problems
            assert few.files.keys() == all_of_them.files.keys()
            assert few.watched() == all_of_them.watched()


@pytest.fixture
def listings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the directories that have been listed."""
    listed: list[str] = []
    listdir = os.listdir

    def counting(path: Any) -> list[str]:
        listed.append(str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", counting)
    return listed


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "domains.d"
    place.mkdir(0o700)
    for number in range(50):
        write(place / f"{number}.yaml", f"name: n{number}\n")
    return place


def test_a_changed_file_is_looked_at_alone(
    place: Path, reactor: Any, until: Until, listings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eve_meta.inventory.files.reading.RACY_NS", 0)
    looked: list[str] = []
    unchanged = DomainFile.unchanged

    def counting(file: DomainFile) -> bool:
        looked.append(os.path.basename(file.path))
        return unchanged(file)

    directory = make_directory(place)
    source = FileSource(directory, reactor)
    source.start(lambda: None)
    try:
        until(lambda: len(directory.domains) == 50)
        monkeypatch.setattr(DomainFile, "unchanged", counting)
        listings.clear()
        write(place / "7.yaml", "name: changed\n")
        until(lambda: directory.domains[str(place / "7.yaml")].name == "changed")
        assert looked == ["7.yaml"]
        assert str(place) not in listings
    finally:
        source.stop()


def test_after_many_events_all_files_are_looked_at(
    place: Path, reactor: Any, until: Until, listings: list[str]
) -> None:
    """A queue of the kernel that overflowed holds at least as many; no event names the files that it lost."""
    directory = make_directory(place)
    source = FileSource(directory, reactor)
    source.start(lambda: None)
    try:
        until(lambda: len(directory.domains) == 50)
        listings.clear()
        for number in range(FEW + 1):
            source._suspect(str(place / f"unknown{number}"))
        write(place / "7.yaml", "name: changed\n")
        until(lambda: directory.domains[str(place / "7.yaml")].name == "changed")
        assert str(place) in listings
    finally:
        source.stop()
