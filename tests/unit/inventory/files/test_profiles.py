"""The files of profiles: what they may have, and which file is which profile."""

from __future__ import annotations

from pathlib import Path

import pytest

from eve_meta.inventory.files.profiles import ProfileFiles
from tests.contracts.fake_reader import FakeReader
from tests.unit.inventory.writing import write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "profiles.d"
    path.mkdir(0o700)
    return path


@pytest.fixture
def files(folder: Path) -> ProfileFiles:
    return ProfileFiles(folder, FakeReader())


def scan(files: ProfileFiles) -> list[str]:
    """Scan *files*; return what is wrong."""
    for _ in files.scan():
        pass
    return [str(problem).replace(f"{files.folder.path}/", "") for problem in files.problems]


def test_a_profile_has_the_fields_that_domains_may_share(folder: Path, files: ProfileFiles) -> None:
    write(folder / "web.yaml", "user_data: '#!/bin/sh'\nmeta: {role: web}\ntokens: required\nec2: {region: r}\n")
    write(folder / "empty.yml", "{}\n")
    assert scan(files) == []
    assert files.profiles.known.keys() == {"web", "empty"}
    assert files.profiles.known["web"].part.meta == {"role": "web"}


def test_what_identifies_one_domain_is_refused_with_its_line(folder: Path, files: ProfileFiles) -> None:
    text = "meta: {}\nuuid: 1a831fa7-c50b-4693-a16e-fb8171f1b69e\nname: web1\nnics: [{tap: t1}]\n"
    write(folder / "web.yaml", text + "ec2:\n  instance_id: i-1\nprofiles: [base]\n")
    expected = "expected a field that domains may share; this one belongs in a domain's own file"
    assert scan(files) == [
        f"web.yaml:2: uuid: {expected}",
        f"web.yaml:3: name: {expected}",
        f"web.yaml:4: nics: {expected}",
        f"web.yaml:6: ec2.instance_id: {expected}",
        f"web.yaml:7: profiles: {expected}",
    ]
    assert files.profiles.broken == {"web": str(folder / "web.yaml")}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "web.yaml: expected a profile, which is a mapping of fields to values, got nothing"),
        ("meat: {a: b}\n", "web.yaml:1: meat: unknown key; did you mean 'meta'?"),
        ("meta: [\n", "web.yaml:2:1: YAML: the text ends here within '[' or '{', which is not closed"),
    ],
)
def test_a_broken_file_leaves_its_profile_as_it_was(folder: Path, files: ProfileFiles, text: str, problem: str) -> None:
    write(folder / "web.yaml", "meta: {a: b}\n")
    scan(files)
    good = files.profiles.known["web"]
    write(folder / "web.yaml", text)
    assert scan(files) == [problem]
    assert files.profiles.known == {"web": good}
    assert files.profiles.broken == {}


def test_a_profile_that_has_not_changed_is_the_same_object(folder: Path, files: ProfileFiles) -> None:
    for name in ("a", "b"):
        write(folder / f"{name}.yaml", "meta: {a: b}\n")
    scan(files)
    before = files.profiles.known
    write(folder / "a.yaml", "meta: {a: b} # a comment\n")
    write(folder / "b.yaml", "meta: {a: c}\n")
    scan(files)
    assert files.profiles.known["a"] is before["a"]
    assert files.profiles.known["b"] is not before["b"]


def test_two_files_of_one_name(folder: Path, files: ProfileFiles) -> None:
    write(folder / "web.yaml", "meta: {a: yaml}\n")
    write(folder / "web.yml", "meta: {a: yml}\n")
    expected = "expected a name of 1..255 printable characters that no other file has"
    assert scan(files) == [f"web.yml: {expected}, got the name of web.yaml: it is not read"]
    assert files.profiles.known["web"].part.meta == {"a": "yaml"}


def test_user_data_in_a_file_beside_a_profile(folder: Path, files: ProfileFiles) -> None:
    write(folder / "init.sh", "#!/bin/sh\n")
    write(folder / "web.yaml", "user_data_file: init.sh\n")
    assert scan(files) == []
    assert bytes(files.profiles.known["web"].part.user_data or b"") == b"#!/bin/sh\n"
    write(folder / "init.sh", "#!/bin/bash\n")
    scan(files)
    assert bytes(files.profiles.known["web"].part.user_data or b"") == b"#!/bin/bash\n"


def test_no_directory_is_no_problem(folder: Path, files: ProfileFiles) -> None:
    write(folder / "web.yaml", "{}\n")
    scan(files)
    (folder / "web.yaml").unlink()
    folder.rmdir()
    assert scan(files) == []
    assert files.profiles.known == {}
    assert not files.profiles.unread
