"""What the tests of the package share: to install it, and what must hold wherever it is installed."""

from __future__ import annotations

import json
import re
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from harness import SCRIPTS
from harness.machine import Machine

DOCUMENTS = "/usr/share/doc/eve-meta"

LIST = """
import importlib.metadata, json, sys
found = {}
for each in importlib.metadata.distributions():
    found.setdefault(each.metadata["Name"], [each.version, str(each.locate_file("")), each.requires or []])
print(json.dumps([sys.version.split()[0], sys.path, found]))
"""


def install(machine: Machine, deb: Path) -> None:
    """Install the package as an administrator does; it downloads nothing, because its dependencies are installed."""
    there = machine.root / "root" / deb.name
    there.write_bytes(deb.read_bytes())
    # The running system has the same /root.
    machine.run("apt-get", "-o", "Acquire::http::Proxy=http://127.0.0.1:1", "-y", "install", f"/root/{deb.name}")
    there.unlink()


def assert_python_packages(machine: Machine, system: str) -> None:
    """Assert that what is required is there: what is pinned, as the SBOM has it, or the distribution's."""
    python, path, found = json.loads(machine.run("/usr/lib/eve-meta/bin/python3", "-I", "-c", LIST).stdout)
    assert not [folder for folder in path if folder.startswith("/usr/local")]
    versions = {canonicalize_name(name): version for name, (version, _, _) in found.items()}
    ours = {canonicalize_name(name): each for name, each in found.items() if each[1].startswith("/usr/lib/eve-meta")}
    pins = re.findall(r"^(\S+)==([^\s;]+)", (SCRIPTS / f"requirements/{system}.txt").read_text(), re.MULTILINE)
    assert {name: each[0] for name, each in ours.items()} == {**dict(pins), "eve-meta": found["eve-meta"][0]}
    environment = {"python_version": python.rpartition(".")[0], "python_full_version": python, "extra": ""}
    for name, (_, _, requires) in ours.items():
        for requirement in map(Requirement, requires):
            if requirement.marker is None or requirement.marker.evaluate(environment):
                assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), (
                    name,
                    requirement,
                )
    # 10 MB in each process.
    loads = "import sys, twisted.internet.interfaces; print('pkg_resources' in sys.modules)"
    assert machine.run("/usr/lib/eve-meta/bin/python3", "-I", "-c", loads).stdout == "False\n"
    bom = json.loads(machine.run("cat", f"{DOCUMENTS}/eve-meta.cdx.json").stdout)
    assert bom["bomFormat"] == "CycloneDX"
    listed = {canonicalize_name(each["name"]): each["version"] for each in bom["components"]}
    assert listed == {name: each[0] for name, each in ours.items()}


def assert_documents(machine: Machine) -> None:
    """Assert that each document is where the others, --help and the manual pages say that it is."""
    texts = [machine.run("sh", "-c", f"cat {DOCUMENTS}/*.rst /lib/systemd/system/eve-meta.service").stdout]
    texts.append(machine.run("sh", "-c", "zcat /usr/share/man/man*/eve-meta*").stdout)
    commands = re.findall(r"^  (\w[\w-]*)  ", machine.run("eve-meta", "--help").stdout, re.MULTILINE)
    assert "timeline" in commands
    texts += [machine.run("eve-meta", command, "--help").stdout for command in commands]
    # --help breaks long lines where it must.
    named = set(re.findall(rf"{DOCUMENTS}/[\w./-]+\w", "\n".join(texts)))
    assert {f"{DOCUMENTS}/observing.rst", f"{DOCUMENTS}/examples/prometheus-rules.yml"} <= named
    assert "eve_meta/docs" not in "\n".join(texts)
    there = set(machine.run("find", DOCUMENTS).stdout.split())
    assert named - there == set()


COMPLETE = """
. /usr/share/bash-completion/completions/eve-meta
COMP_WORDS=(eve-meta st) COMP_CWORD=1
_eve_meta_completion eve-meta st eve-meta
echo "${COMPREPLY[@]}"
"""


def assert_completions(machine: Machine) -> None:
    assert machine.run("bash", "-c", COMPLETE).stdout == "status\n"
    for name in ("zsh/vendor-completions/_eve-meta", "fish/vendor_completions.d/eve-meta.fish"):
        assert "_EVE_META_COMPLETE" in machine.run("cat", f"/usr/share/{name}").stdout
