"""A result that is updated change by change equals one that is computed afresh, and costs only what changed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from attrs import evolve, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from eve_meta.inventory.files.directory import Directory
from eve_meta.inventory.files.domain_file import DomainFile
from eve_meta.inventory.files.watch import FEW, FileSource
from eve_meta.inventory.merge import Merged, Merging, merge
from eve_meta.inventory.source import Layer
from eve_meta.inventory.tap_domains import HypervisorAnswers, TapDomains, written_taps
from eve_meta.inventory.vmm.process import Owner
from eve_meta.values.domain import Domain
from eve_meta.values.nic import Nic
from tests.contracts.fake_reader import make_directory
from tests.unit.inventory.conftest import Until
from tests.unit.inventory.writing import write

TAPS = ("t0", "t1", "t2", "t3")
UUIDS = tuple(UUID(int=number) for number in range(1, 4))
NAMES = ("web", "db", "mail")

Step = tuple[str, Any, Any]

owners = st.builds(
    Owner,
    pid=st.integers(1, 3),
    start=st.just(1),
    uuid=st.none() | st.sampled_from(UUIDS),
    name=st.none() | st.sampled_from(NAMES),
    trusted=st.booleans(),
)
layer = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.builds(
        Domain,
        uuid=st.none() | st.sampled_from(UUIDS),
        name=st.sampled_from(NAMES),
        hostname=st.sampled_from(["one", "two"]),
        nics=st.lists(st.sampled_from(TAPS), max_size=2, unique=True).map(
            lambda taps: tuple(Nic(tap=tap) for tap in taps)
        ),
    ),
    max_size=3,
).filter(
    lambda domains: (
        len({d.name for d in domains.values()}) == len(domains)
        and len({d.uuid for d in domains.values() if d.uuid}) == sum(d.uuid is not None for d in domains.values())
    )
)
answers = st.dictionaries(st.sampled_from(TAPS), st.lists(st.sampled_from(["xml a", "xml b"]), max_size=2, unique=True))
steps: st.SearchStrategy[list[Step]] = st.lists(
    st.tuples(st.just("owner"), st.sampled_from(TAPS), st.none() | owners)
    | st.tuples(st.just("answer"), st.sampled_from(TAPS), answers)
    | st.tuples(st.just("file"), st.sampled_from(["a", "b", "c"]), st.sampled_from(["three", "four"])),
    max_size=8,
)


@frozen
class World:
    """What sources know, and the processes."""

    files: dict[str, Domain]
    xml: dict[str, Domain]
    taps: dict[str, Collection[str]]
    processes: dict[str, Owner] = field(factory=dict)

    def layers(self) -> list[Layer]:
        return [Layer(domains=dict(self.files), written=True), Layer(domains=dict(self.xml), written=False)]

    def answers(self) -> list[HypervisorAnswers]:
        return [
            HypervisorAnswers(
                set(self.xml), {t: [o for o in origins if o in self.xml] for t, origins in self.taps.items()}
            )
        ]

    def afresh(self) -> TapDomains:
        merged, _ = merge(self.layers())
        return TapDomains(merged, written_taps(self.layers()), self.answers(), self.processes)


def result(tap_domains: TapDomains) -> tuple[dict[str, Domain], list[str]]:
    taps = {tap: found[1] for tap in TAPS if (found := tap_domains.get(tap)) is not None}
    return taps, sorted(str(problem) for problem in tap_domains.problems)


def domains_of(tap_domains: TapDomains) -> dict[str, Domain | None]:
    return {tap: None if (found := tap_domains.get(tap)) is None else found[1] for tap in TAPS}


@settings(max_examples=300)
@given(layer, layer, answers, st.dictionaries(st.sampled_from(TAPS), owners), steps)
def test_an_update_by_any_changes_equals_a_fresh_decision(
    files: dict[str, Domain],
    xml: dict[str, Domain],
    taps: dict[str, Collection[str]],
    processes: dict[str, Owner],
    changes: list[Step],
) -> None:
    world = World(files, {f"xml {origin}": domain for origin, domain in xml.items()}, taps, processes)
    merging = Merging()
    merging.update(world.layers())
    tap_domains = TapDomains(merging.merged, written_taps(world.layers()), world.answers(), world.processes)
    for kind, which, what in changes:
        before = domains_of(tap_domains)
        concerned: set[str] = set()
        if kind == "owner":
            world.processes.pop(which, None)
            if what is not None:
                world.processes[which] = what
            concerned = tap_domains.decide(which)
        elif kind == "answer":
            world.taps.pop(which, None)
            world.taps.update({which: what[which]} if which in what else {})
            tap_domains.hypervisors = world.answers()
            concerned = tap_domains.decide(which)
        elif which in world.files:
            world.files[which] = evolve(world.files[which], hostname=what)
            replaced = merging.update(world.layers())
            assert replaced is not None
            concerned = tap_domains.replace(replaced)
        assert result(tap_domains) == result(world.afresh())
        after = domains_of(tap_domains)
        # The supervisor refreshes these taps and no others.
        assert {tap for tap in TAPS if after[tap] != before[tap]} <= concerned


def test_a_domain_with_other_contents_is_merged_and_decided_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    domains = {f"{n}": Domain(uuid=UUID(int=n + 1), nics=(Nic(tap=f"t{n}"),)) for n in range(500)}
    merging = Merging()
    merging.update([Layer(domains=domains, written=True)])
    tap_domains = TapDomains(merging.merged, written_taps([Layer(domains=domains, written=True)]), [], {})
    decided: list[str] = []
    decide = TapDomains._decision

    def counting(self: TapDomains, tap: str) -> object:
        decided.append(tap)
        return decide(self, tap)

    monkeypatch.setattr(TapDomains, "_decision", counting)
    before = list(merging.merged)
    changed = {**domains, "7": evolve(domains["7"], hostname="changed")}
    replaced = merging.update([Layer(domains=changed, written=True)])
    assert replaced == {before[7]: merging.merged[7]}
    assert tap_domains.replace(replaced) == {"t7"}
    assert decided == ["t7"]
    found = tap_domains.get("t7")
    assert found is not None
    assert found[1].hostname == "changed"


@pytest.mark.parametrize(
    "change",
    [
        lambda domain: evolve(domain, name="other"),
        lambda domain: evolve(domain, uuid=UUID(int=99)),
        lambda domain: evolve(domain, nics=(Nic(tap="other"),)),
    ],
)
def test_a_domain_with_another_identity_or_tap_makes_all_be_merged(change: Callable[[Domain], Domain]) -> None:
    one = Domain(uuid=UUID(int=1), name="web", nics=(Nic(tap="t0"),))
    merging = Merging()
    merging.update([Layer(domains={"a": one}, written=True)])
    assert merging.update([Layer(domains={"a": change(one)}, written=True)]) is None
    assert [each.domain for each in merging.merged] == [change(one)]
    assert all(isinstance(each, Merged) for each in merging.merged)


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
