"""The facts about a domain that files describe, as ``eve-meta explain`` gathers them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from eve_meta.admin.gathering import HostView
from eve_meta.cli.known import names_in
from eve_meta.config import SteeringConfig
from eve_meta.explain.facts import Facts, HostFacts
from eve_meta.explain.report import steps
from eve_meta.explain.steps import Verdict
from eve_meta.inventory.files.directory import Directory
from eve_meta.inventory.readers.command import CommandReader
from eve_meta.inventory.source import InventoryProblem

GOOD = "name: web1\nhostname: old.example.org\n"


class Files:
    """A directory of domain files, read as the daemon reads it."""

    def __init__(self, path: Path, reader: CommandReader) -> None:
        self.path = path
        self._reader = reader
        self._directory = Directory(path, reader)

    def write(self, text: str, name: str = "web1.yaml") -> None:
        """Write a file and read the directory."""
        beside = self.path / "new"
        beside.write_text(text)
        beside.chmod(0o600)
        os.replace(beside, self.path / name)
        self._reader.run(self._directory.scan())

    def gather(self, asked_for: str, *refusals: InventoryProblem) -> HostFacts:
        by_uuid = {domain.instance_uuid: (domain, (path,)) for path, domain in self._directory.domains.items()}
        view = HostView(
            names=names_in(self._directory),
            described=lambda domain: by_uuid.get(domain.uuid),
            owners={},
            faults=self._directory.problems,
            refusals=refusals,
            steering=SteeringConfig(),
        )
        return view.gather(asked_for, 0.0)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    with closing(CommandReader()) as reader:
        yield Files(tmp_path, reader)


def test_a_file_that_is_newer_than_what_is_served_is_named_with_its_line(files: Files) -> None:
    files.write(GOOD)
    good = files.gather("web1").domain
    assert good is not None
    assert (good.hostname, good.faults) == ("old.example.org", ())

    files.write("name: web1\nhostnme: new.example.org\n")
    host = files.gather("web1")
    assert host.domain is not None
    assert host.domain.hostname == "old.example.org"
    (fault,) = host.domain.faults
    assert fault.text.startswith(f"{files.path}/web1.yaml:2: hostnme: ")
    (step,) = (step for step in steps(Facts(host=host)) if step.verdict.step == "domain")
    assert step.verdict is Verdict.DOMAIN_OUTDATED
    assert step.text.startswith(fault.text)
    assert step.text.endswith("; meanwhile web1 is served as it was before that (hostname old.example.org)")
    assert step.mend == f"editor {files.path}/web1.yaml"

    files.write(GOOD)
    assert files.gather("web1").domain == good


def test_only_a_domain_without_a_uuid_is_told_by_its_name(files: Files) -> None:
    files.write(GOOD)
    files.write("name: db1\nuuid: 1a831fa7-c50b-4693-a16e-fb8171f1b69e\n", "db1.yaml")
    domains = [files.gather(name).domain for name in ("web1", "db1")]
    assert [domain.by_name for domain in domains if domain is not None] == [True, False]


def test_a_file_that_claims_what_another_has_is_outdated_too(files: Files) -> None:
    files.write(GOOD)
    files.write("name: db1\nhostname: db1\n", "db1.yaml")
    files.write("name: web1\nhostname: db1\n", "db1.yaml")
    host = files.gather("db1")
    assert host.domain is not None
    assert [fault.file for fault in host.domain.faults] == [f"{files.path}/db1.yaml"]


def test_a_file_of_which_no_version_was_good_is_broken(files: Files) -> None:
    files.write("nam: web1\n")
    host = files.gather("web1")
    assert host.domain is None
    assert host.broken[0].startswith(f"{files.path}/web1.yaml:1: nam: ")


def test_a_warning_is_no_fault(files: Files) -> None:
    files.write(GOOD)
    (files.path / "web1.yaml").chmod(0o644)
    files.path.chmod(0o755)
    os.utime(files.path / "web1.yaml")
    host = files.gather("web1")
    assert host.domain is not None
    assert host.domain.faults == ()


def test_a_refusal_belongs_to_the_tap_that_it_names_and_is_no_fault_of_the_file(files: Files) -> None:
    files.write(GOOD + "nics: [{tap: vnet0}]\n")
    refusal = InventoryProblem(file=f"{files.path}/web1.yaml", field="uuid", message="expected … behind vnet0 …")
    host = files.gather("web1", refusal)
    assert host.domain is not None
    assert (host.domain.faults, [tap.problems for tap in host.taps]) == ((), [(str(refusal),)])
