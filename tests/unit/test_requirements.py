"""What setup.cfg requires is there on each distribution: its own package of it, or one that ours brings along."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.texts import ROOT

PINNED = ROOT / "scripts/requirements"
PYTHON = {"debian-12": "3.11", "debian-13": "3.13", "ubuntu-22.04": "3.10", "ubuntu-24.04": "3.12"}
"""The distributions and their Python."""


def required() -> list[Requirement]:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options"]["install_requires"].splitlines()
    texts = (re.sub(r"\s*(^| )#.*", "", line).strip() for line in lines)
    return [Requirement(text) for text in texts if text]


def versions(path: Path) -> dict[str, str]:
    """Return the versions that a file pins, by name."""
    return dict(re.findall(r"^([^\s#=]+)==([^\s;]+)", path.read_text(), re.MULTILINE))


def of_distribution(system: str) -> dict[str, str]:
    """Return the distribution's packages, by the name that PyPI has."""
    lines = (PINNED / f"{system}.distribution").read_text().splitlines()
    return {canonicalize_name(name): package for name, package in map(str.split, lines)}


@pytest.mark.parametrize("system", PYTHON)
def test_what_is_required_is_pinned_or_the_distributions(system: str) -> None:
    pinned, packaged = versions(PINNED / f"{system}.txt"), of_distribution(system)
    assert pinned.keys() & packaged.keys() == set()
    python = {"python_version": PYTHON[system]}
    wanted = [each for each in required() if each.marker is None or each.marker.evaluate(python)]
    for each in wanted:
        name = canonicalize_name(each.name)
        if name not in packaged:
            assert each.specifier.contains(pinned.get(name, "0")), f"{each}: run scripts/pin"
    assert packaged.keys() - {canonicalize_name(each.name) for each in wanted} == set()


@pytest.mark.parametrize("path", sorted(PINNED.glob("*.txt")), ids=lambda path: path.name)
def test_all_that_is_pinned_has_hashes(path: Path) -> None:
    packages = re.split(r"\n(?=\S)", path.read_text().partition("\n")[2])
    assert packages
    for package in packages:
        assert re.fullmatch(r"\S+==\S+( ; [^\\]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+\n?", package), package


def test_a_distribution_without_its_files_is_none() -> None:
    assert {path.stem for path in PINNED.glob("*.distribution")} == set(PYTHON)
