"""The domains that a directory of files makes, and the file that keeps what two files claim."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from eve_meta.inventory.files.directory import Directory
from tests.contracts.fake_reader import FakeReader, make_directory
from tests.unit.inventory.writing import write

UUID1 = "1a831fa7-c50b-4693-a16e-fb8171f1b69e"


def scan(directory: Directory) -> None:
    for _ in directory.scan():
        pass


def names(directory: Directory) -> dict[str, str]:
    """Return the names of the domains, by the names of their files."""
    return {os.path.basename(path): domain.display_name for path, domain in directory.domains.items()}


def problems(directory: Directory) -> list[str]:
    return [str(problem).removeprefix(f"{directory.path}/") for problem in directory.problems]


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    tmp_path.chmod(0o700)
    return make_directory(tmp_path)


def test_only_domain_files_count(directory: Directory) -> None:
    for name in ("a.yaml", "b.yml", "c.json", ".d.yaml", "e.yaml~", "#f.yaml#"):
        write(directory.path / name, f"name: {name[0]}\n")
    (directory.path / ".#g.yaml").symlink_to("user@host.1234:567")  # Emacs' lock of g.yaml
    scan(directory)
    assert names(directory) == {"a.yaml": "a", "b.yml": "b"}
    assert directory.problems == ()


def test_a_broken_file_keeps_its_domain_and_leaves_others_alone(directory: Directory) -> None:
    write(directory.path / "a.yaml", "name: a\n")
    write(directory.path / "b.yaml", "name: b\n")
    scan(directory)
    write(directory.path / "a.yaml", "name: [\n")
    write(directory.path / "b.yaml", "name: b2\n")
    scan(directory)
    assert names(directory) == {"a.yaml": "a", "b.yaml": "b2"}
    assert problems(directory) == ["a.yaml:2:1: YAML: the text ends here within '[' or '{', which is not closed"]
    write(directory.path / "a.yaml", "name: a3\n")
    scan(directory)
    assert names(directory) == {"a.yaml": "a3", "b.yaml": "b2"}
    assert directory.problems == ()


def test_a_deleted_file_takes_its_domain_along(directory: Directory) -> None:
    write(directory.path / "a.yaml", "name: a\n")
    scan(directory)
    (directory.path / "a.yaml").unlink()
    scan(directory)
    assert names(directory) == {}


def test_a_broken_file_that_is_deleted_is_forgotten(directory: Directory) -> None:
    write(directory.path / "a.yaml", "name: a\n")
    scan(directory)
    write(directory.path / "a.yaml", "")
    scan(directory)
    (directory.path / "a.yaml").unlink()
    scan(directory)
    write(directory.path / "a.yaml", "")
    scan(directory)
    assert names(directory) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"uuid: {UUID1}\n", f"1: uuid: expected a uuid that no other file has, got '{UUID1}'"),
        ("hostname: x\nname: web1\n", "2: name: expected a name that no other file has, got 'web1'"),
        ("name: x\nnics:\n- {}\n- tap: vnet0\n", "4: nics[1].tap: expected a tap that no other file has, got 'vnet0'"),
    ],
)
def test_at_first_the_first_file_by_name_keeps_what_two_claim(directory: Directory, text: str, message: str) -> None:
    write(directory.path / "b.yaml", text)
    write(directory.path / "a.yaml", f"uuid: {UUID1}\nname: web1\nnics: [{{tap: vnet0}}]\n")
    scan(directory)
    assert list(names(directory)) == ["a.yaml"]
    assert problems(directory) == [f"b.yaml:{message}, which {directory.path}/a.yaml has"]


def test_the_file_that_had_a_claim_keeps_it(directory: Directory) -> None:
    write(directory.path / "b.yaml", "name: web1\n")
    scan(directory)
    write(directory.path / "a.yaml", "name: web1\n")
    scan(directory)
    assert names(directory) == {"b.yaml": "web1"}
    assert problems(directory) == [
        f"a.yaml:1: name: expected a name that no other file has, got 'web1', which {directory.path}/b.yaml has"
    ]


def test_a_claim_is_granted_once_it_is_free(directory: Directory) -> None:
    write(directory.path / "b.yaml", "name: web1\n")
    scan(directory)
    write(directory.path / "a.yaml", "name: web1\n")
    scan(directory)
    (directory.path / "b.yaml").unlink()
    scan(directory)
    assert names(directory) == {"a.yaml": "web1"}
    assert directory.problems == ()


def test_a_file_with_anothers_claim_keeps_its_old_domain(directory: Directory) -> None:
    write(directory.path / "a.yaml", "name: a\nnics: [{tap: vnet0}]\n")
    write(directory.path / "b.yaml", "name: b\nnics: [{tap: vnet1}]\n")
    scan(directory)
    write(directory.path / "b.yaml", "name: b2\nnics: [{tap: vnet0}]\n")
    scan(directory)
    assert names(directory) == {"a.yaml": "a", "b.yaml": "b"}
    write(directory.path / "c.yaml", "name: c\nnics: [{tap: vnet1}]\n")
    scan(directory)
    # vnet1 still belongs to b, since b.yaml as it is now is not in force.
    assert names(directory) == {"a.yaml": "a", "b.yaml": "b"}
    assert len(directory.problems) == 2


def test_two_files_may_exchange_a_tap(directory: Directory) -> None:
    write(directory.path / "a.yaml", "name: a\nnics: [{tap: vnet0}]\n")
    write(directory.path / "b.yaml", "name: b\nnics: [{tap: vnet1}]\n")
    scan(directory)
    write(directory.path / "a.yaml", "name: a\nnics: [{tap: vnet1}]\n")
    write(directory.path / "b.yaml", "name: b\nnics: [{tap: vnet0}]\n")
    scan(directory)
    assert directory.problems == ()
    assert {d.display_name: d.nics[0].tap for d in directory.domains.values()} == {"a": "vnet1", "b": "vnet0"}


def test_a_file_that_falls_back_pushes_out_the_one_that_took_its_place(directory: Directory) -> None:
    write(directory.path / "a.yaml", "name: a\n")
    write(directory.path / "b.yaml", "name: b\n")
    scan(directory)
    write(directory.path / "b.yaml", "name: a\n")  # is refused, so the domain stays "b" …
    write(directory.path / "c.yaml", "name: b\n")  # … and this is refused, too
    scan(directory)
    assert names(directory) == {"a.yaml": "a", "b.yaml": "b"}
    assert [os.path.basename(problem.file) for problem in directory.problems] == ["b.yaml", "c.yaml"]


def test_thousands_of_copies_do_not_take_for_ever(directory: Directory) -> None:
    for number in range(2000):
        (directory.path / f"{number:04}.yaml").write_text("name: web1\n")
    scan(directory)
    assert names(directory) == {"0000.yaml": "web1"}


def test_a_missing_directory_is_a_warning(tmp_path: Path) -> None:
    directory = make_directory(tmp_path / "domains.d")
    scan(directory)
    assert [str(problem) for problem in directory.problems] == [
        f"{tmp_path}/domains.d: warning: no such directory; domain files are read as soon as there is one"
    ]


def test_a_directory_that_cannot_be_read_keeps_its_domains(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(directory.path / "a.yaml", "name: a\n")
    scan(directory)

    def fail(path: object) -> list[str]:
        raise OSError(5 if path == directory.path else 2, "Input/output error")

    monkeypatch.setattr(os, "listdir", fail)
    scan(directory)
    assert names(directory) == {"a.yaml": "a"}
    assert problems(directory) == [f"{directory.path}: cannot read this directory: Input/output error"]


def test_only_changed_files_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = FakeReader()
    directory = Directory(tmp_path, reader)
    monkeypatch.setattr("eve_meta.inventory.files.reading.RACY_NS", 0)
    for name in "abc":
        write(directory.path / f"{name}.yaml", f"name: {name}\n")
    scan(directory)
    reader.read_names.clear()
    write(directory.path / "b.yaml", "name: b2\n")
    scan(directory)
    assert reader.read_names == [str(directory.path / "b.yaml")]


def test_directories_in_which_changes_matter(directory: Directory, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "secrets").mkdir()
    write(tmp_path / "elsewhere/a.yaml", "name: a\nuser_data_file: secrets/a\n")
    (directory.path / "a.yaml").symlink_to("elsewhere/a.yaml")
    scan(directory)
    profiles = str(tmp_path.with_name("profiles.d"))
    of_files = {str(tmp_path), str(tmp_path / "elsewhere"), str(tmp_path / "secrets")}
    assert directory.watched().keys() == {profiles, *of_files}
